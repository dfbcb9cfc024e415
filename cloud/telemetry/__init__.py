"""The tunnel's other end: reports in, each counted once; the cloud's answers out, each kept until the device has it."""
