"""The REST face: FastAPI over operations/, OpenAPI 3.1, server-sent events, and the console's files."""
