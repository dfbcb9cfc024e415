"""Backends of the tensor engine that a device does not have; device_agent.engine.backend knows the registered ones."""
