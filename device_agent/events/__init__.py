"""Events: their binary form, and the log that a feeder writes to and tasks read from."""
