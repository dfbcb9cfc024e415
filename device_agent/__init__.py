"""What runs on a device. Importing this package has no effects."""
