"""Records on their way from the devices to consumers: one interface, an embedded bus and one on Redis Streams."""
