"""What the example reports, as pure functions: accuracy with its interval, and the share that was escalated.

Rules of this module:

- Intervals are Wilson's at 95 %, which hold near 100 % where the usual ones do not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z_95 = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """`hits` out of `total`, with a 95 % interval."""

    hits: int
    total: int

    @property
    def value(self) -> float:
        """The share itself, 0 to 1."""
        return self.hits / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's score interval."""
        share, n = self.value, self.total
        scale = 1 + Z_95**2 / n
        centre = (share + Z_95**2 / (2 * n)) / scale
        half = Z_95 * math.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n * n)) / scale
        return min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.1%} ({self.hits}/{self.total}; 95 % interval {low:.1%} to {high:.1%})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What came of one digit: the label it has, the device's own, and the cloud's where it was asked."""

    truth: int
    device: int
    cloud: int | None = None


def device_only(readings: Sequence[Reading]) -> Share:
    """Accuracy if the device's own answers stood everywhere."""
    return Share(hits=sum(r.device == r.truth for r in readings), total=len(readings))


def collaborative(readings: Sequence[Reading]) -> Share:
    """Accuracy of the device where it was confident and of the cloud where it was asked."""
    hits = sum((r.device if r.cloud is None else r.cloud) == r.truth for r in readings)
    return Share(hits=hits, total=len(readings))


def never_left(readings: Sequence[Reading]) -> Share:
    """The share of digits whose pixels stayed on the device."""
    return Share(hits=sum(r.cloud is None for r in readings), total=len(readings))


def threshold_for(confidences: Sequence[float], share: float) -> float:
    """The confidence below which about `share` of these digits fall; those are escalated.

    Raises:
        ValueError: there is nothing to choose on, or the share is not in (0, 1).
    """
    if not confidences or not 0 < share < 1:
        raise ValueError(
            f"a share in (0, 1) of at least one digit, not {share} of {len(confidences)}"
        )
    ordered = sorted(confidences)
    return ordered[min(len(ordered) - 1, round(share * len(ordered)))]
