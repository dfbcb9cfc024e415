"""The thread-level Python VM: an interpreter and a GIL of its own for each task version."""
