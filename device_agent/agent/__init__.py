"""The agent: the loop that syncs, pulls, verifies, installs, runs and reports."""
