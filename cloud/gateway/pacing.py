"""When a device comes back. Pure.

Rules of this module:

- The interval is the short one while a release is on its way, the long one else.
- Above the rate that the gateway is made for, intervals stretch until the rate comes back to it.
- Jitter goes by the device's id: a fleet that starts at once spreads out, and one device keeps its rhythm.
"""

from cloud.gateway.settings import PacingSettings

# A device's place is the first byte of its id, which is a hash already.
PREFIX_CHARS = 2
PREFIXES = tuple(f"{place:02x}" for place in range(256))
PLACES = len(PREFIXES)
# Pressure is told in steps of a quarter, so that answers can be made beforehand.
PRESSURE_STEPS = 4


def next_sync_after_ms(
    settings: PacingSettings, *, place: int, stepping: bool, pressure: float = 1.0
) -> int:
    """Milliseconds until the device's next Sync.

    Args:
        place: From the device's id, 0 to PLACES - 1.
        stepping: A release is on its way.
        pressure: What the interval is multiplied by; below one it does not count.
    """
    base = base_ms(settings, stepping=stepping)
    stretched = min(base * max(1.0, pressure), settings.interval_ms_max)
    # From -1 at the first place to +1 at the last.
    offset = 2 * place / (PLACES - 1) - 1
    return max(1, round(stretched * (1 + offset * settings.jitter_ppm / 1_000_000)))


def base_ms(settings: PacingSettings, *, stepping: bool) -> int:
    """The interval without pressure."""
    return settings.stepping_interval_ms if stepping else settings.interval_ms


class Load:
    """How far Syncs are ahead of the rate that the gateway is made for: a bucket that each fills and time empties.

    What is in the bucket is added to the interval, so that those who call now come back one after the other at that
    rate, and a fleet settles where its devices / interval is just that rate. (Stretching by the rate of the last second
    settles at a multiple of it, and lets a herd through twice.)
    """

    __slots__ = ("_at_ms", "_lag_ms", "_lag_ms_max", "_slot_ms")

    def __init__(self, settings: PacingSettings) -> None:
        self._slot_ms = 1_000 / settings.syncs_per_s_max
        self._lag_ms_max = float(settings.interval_ms_max)
        self._lag_ms = 0.0
        self._at_ms = 0

    def count(self, now_ms: int, base_ms: int) -> int:
        """Counts a Sync; gives the pressure on an interval of `base_ms`, in steps of 1 / PRESSURE_STEPS."""
        lag_ms = self._lag_ms
        if now_ms != self._at_ms:
            # A clock that goes back empties nothing; one that goes ahead empties all.
            lag_ms = max(0.0, lag_ms - max(0, now_ms - self._at_ms))
            self._at_ms = now_ms
        lag_ms += self._slot_ms
        if lag_ms > self._lag_ms_max:
            lag_ms = self._lag_ms_max
        self._lag_ms = lag_ms
        if lag_ms * PRESSURE_STEPS < base_ms:
            return PRESSURE_STEPS
        return PRESSURE_STEPS + int(lag_ms * PRESSURE_STEPS // base_ms)
