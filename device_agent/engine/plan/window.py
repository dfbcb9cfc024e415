"""What operators that slide a window share: its sizes, strides, dilations and paddings from their attributes.

Rules of this module:

- Spatial axes are those after batch and channels; of each axis one `Window`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from device_agent.engine.plan.context import Site
from device_agent.engine.plan.planned import PlanError


@dataclass(frozen=True, slots=True)
class Window:
    """A window on one axis: elements in, window size, stride, dilation, padding before and after."""

    n: int
    size: int
    stride: int
    dilation: int
    before: int
    after: int

    def __post_init__(self) -> None:
        if min(self.size, self.stride, self.dilation) < 1 or min(self.before, self.after) < -self.n:
            raise PlanError(
                f"a window of {self.size}, {self.stride} apart, {self.dilation} between its elements, "
                f"with pads {self.before} and {self.after} cannot be"
            )

    @property
    def reach(self) -> int:
        """Elements from the first to the last position of the window."""
        return self.dilation * (self.size - 1) + 1

    @property
    def places(self) -> int:
        """How many places the window has."""
        room = self.n + self.before + self.after - self.reach
        if room < 0:
            raise PlanError(f"a window of {self.reach} does not fit {self.n} padded elements")
        return room // self.stride + 1


def windows_of(site: Site, sizes: Sequence[int], kernel: Sequence[int]) -> list[Window]:
    """A window for each spatial axis."""
    rank = len(sizes)
    strides = site.wholes("strides") or (1,) * rank
    dilations = site.wholes("dilations") or (1,) * rank
    pads = site.wholes("pads") or (0,) * (2 * rank)
    if not len(strides) == len(dilations) == len(kernel) == rank or len(pads) != 2 * rank:
        raise PlanError(f"a window of {len(kernel)} axes over {rank}")
    out = []
    for i, n in enumerate(sizes):
        pair = _auto(site.text("auto_pad"), n, kernel[i], strides[i], dilations[i])
        before, after = pair or (pads[i], pads[rank + i])
        out.append(Window(n, kernel[i], strides[i], dilations[i], before, after))
    return out


def _auto(mode: str, n: int, size: int, stride: int, dilation: int) -> tuple[int, int] | None:
    """Paddings that a mode asks for; None when attributes say them."""
    if mode == "VALID":
        return 0, 0
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        return None
    places = -(-n // max(stride, 1))
    total = max(0, (places - 1) * stride + dilation * (size - 1) + 1 - n)
    half = total // 2
    return (half, total - half) if mode == "SAME_UPPER" else (total - half, half)
