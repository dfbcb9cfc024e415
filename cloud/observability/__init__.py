"""Logs, metrics and traces of the cloud: how they are set up, in one place."""
