"""What an operator can do, once: each function checks the caller's scope; the faces above only translate."""
