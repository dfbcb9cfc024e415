"""How long work that is done over and over rests in between: by what it takes, one slow turn aside."""

MS_NS = 1_000_000


class Rest:
    """Keeps work below a share of a process's time, and what it shows young.

    A turn may take long because the machine did something else: a first connection, a browser that starts beside it.
    The rest goes by the quicker of the last two turns, so that only work that is dear by itself is done rarely.
    """

    def __init__(self, factor: int, ms_min: int) -> None:
        """Begins without a turn.

        Args:
            factor: A rest is this many times as long as a turn takes.
            ms_min: It is at least this long, in milliseconds.
        """
        self._factor = factor
        self._ns_min = ms_min * MS_NS
        self._took_ns = 0  # before the first turn none was slow

    def after_ns(self, took_ns: int) -> int:
        """The rest after a turn, in nanoseconds."""
        quicker_ns = min(took_ns, self._took_ns)
        self._took_ns = took_ns
        return max(self._ns_min, quicker_ns * self._factor)
