"""The control plane: takes tasks from operators and brings them to fleets of devices."""
