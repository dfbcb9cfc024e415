"""The registry: which tasks there are, in which versions, of which files."""
