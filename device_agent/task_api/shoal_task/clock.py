"""The time, as the device is sure of it.

Rules of this module:

- `wall_ms` is corrected by what the cloud told the agent; `time.time` is what the device believes, and may be far off.
"""

import time

from shoal_task.border import ask


def wall_ms() -> int:
    """Milliseconds since 1970."""
    return int(ask("clock.wall_ms", b""))


def monotonic_ns() -> int:
    """Nanoseconds since some start, which never go back: for distances, and for the same field of an event."""
    return time.monotonic_ns()
