"""A clock that a test moves."""


class ManualClock:
    """Wall and monotonic time that stand still until told.

    Example:
        clock = ManualClock()
        clock.advance_ms(1_000)
    """

    def __init__(self, wall_ms: int = 1_800_000_000_000) -> None:
        self._wall_ms = wall_ms
        self._monotonic_ns = 1_000_000_000

    def wall_ms(self) -> int:
        return self._wall_ms

    def monotonic_ns(self) -> int:
        return self._monotonic_ns

    def advance_ms(self, ms: int) -> None:
        """Time goes on."""
        self._wall_ms += ms
        self._monotonic_ns += ms * 1_000_000

    def set_wall_ms(self, wall_ms: int) -> None:
        """The wall clock jumps; monotonic time does not."""
        self._wall_ms = wall_ms
