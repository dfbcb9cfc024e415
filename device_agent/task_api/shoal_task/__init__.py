"""The guest API: what a task imports inside its VM, and an author in an editor and unit tests."""
