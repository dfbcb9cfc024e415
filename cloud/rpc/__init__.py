"""What every gRPC face of the cloud needs: who is calling, and how an error of the catalogue leaves the process."""
