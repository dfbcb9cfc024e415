"""The cloud as one process: settings, its home folder, the parts put together, the sockets, start and stop."""
