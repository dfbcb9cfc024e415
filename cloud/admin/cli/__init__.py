"""The `shoal` command: thin over the REST API, with one form of output, errors and exit codes."""
