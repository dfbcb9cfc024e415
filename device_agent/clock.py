"""Time is passed in: whoever needs it takes a Clock, so that a test or a simulation can own it."""

import time
from typing import Protocol


class Clock(Protocol):
    """Wall and monotonic time."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970, which may jump."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds since some start, which never goes back."""
        ...


class SystemClock:
    """The clock of the operating system."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970, which may jump."""
        return time.time_ns() // 1_000_000

    def monotonic_ns(self) -> int:
        """Nanoseconds since boot."""
        return time.monotonic_ns()
