"""State: one schema for SQLite and PostgreSQL, and the transactions over it."""
