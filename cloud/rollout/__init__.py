"""Releases: a pure machine of stages, and the service that keeps it in the store."""
