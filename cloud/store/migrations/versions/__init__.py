"""One module a revision, numbered; a released one never changes."""
