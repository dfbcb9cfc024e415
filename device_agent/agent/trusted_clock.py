"""The device's clock as the cloud mended it."""

from device_agent.clock import Clock


class TrustedClock:
    """A clock whose wall time is corrected by an offset that the cloud's answers set.

    Attributes:
        offset_ms: Added to the device's wall clock.
    """

    def __init__(self, clock: Clock, offset_ms: int) -> None:
        self._clock = clock
        self.offset_ms = offset_ms

    def wall_ms(self) -> int:
        """Milliseconds since 1970, corrected."""
        return self._clock.wall_ms() + self.offset_ms

    def raw_wall_ms(self) -> int:
        """Milliseconds since 1970 as the device believes."""
        return self._clock.wall_ms()

    def monotonic_ns(self) -> int:
        """Nanoseconds since some start, which never goes back."""
        return self._clock.monotonic_ns()

    def monotonic_ms(self) -> int:
        """Milliseconds of the same."""
        return self._clock.monotonic_ns() // 1_000_000
