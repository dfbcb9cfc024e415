"""When a device comes back. Pure.

Rules of this module:

- The interval is the short one while a release is on its way, the long one else.
- Above the rate that the gateway is made for, intervals stretch in proportion, so that the rate comes back to it.
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
        pressure: Rate over the rate that the gateway is made for; below one it does not count.
    """
    base = settings.stepping_interval_ms if stepping else settings.interval_ms
    stretched = min(base * max(1.0, pressure), settings.interval_ms_max)
    # From -1 at the first place to +1 at the last.
    offset = 2 * place / (PLACES - 1) - 1
    return max(1, round(stretched * (1 + offset * settings.jitter_ppm / 1_000_000)))


class Load:
    """Rate of Syncs, second by second, as pressure on the gateway."""

    __slots__ = ("_count", "_per_s_max", "_second", "level")

    def __init__(self, settings: PacingSettings) -> None:
        self._per_s_max = settings.syncs_per_s_max
        self._second = 0
        self._count = 0
        # Pressure in steps of 1 / PRESSURE_STEPS.
        self.level = PRESSURE_STEPS

    def count(self, now_ms: int) -> int:
        """Counts a Sync; gives the level of the last full second, or of this one once it is higher."""
        second = now_ms // 1000
        if second != self._second:
            self.level = self._level() if second == self._second + 1 else PRESSURE_STEPS
            self._second = second
            self._count = 0
        self._count += 1
        return self.level

    def _level(self) -> int:
        return max(PRESSURE_STEPS, self._count * PRESSURE_STEPS // self._per_s_max)
