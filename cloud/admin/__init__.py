"""Operators: one set of functions (operations/) below three faces, REST, gRPC and the `shoal` command."""
