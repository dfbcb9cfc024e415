"""The device-facing gateway: answers a Sync from an in-memory release set, over gRPC or a business request's header."""
