"""What the agent keeps on disk: one SQLite file, and one transaction for whatever must be true together."""
