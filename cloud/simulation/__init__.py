"""Trying tasks before any device gets them, in a cloud-side copy of the devices' VM."""
