"""What a plan is made for: the kernels of one level on one machine, and how many threads run them.

Rules of this module:

- Values only and one question (`floats`), so that the planner needs no core: without a target a plan uses atoms alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from device_agent.engine.plan.costs import Choice, ConvolutionShape, Machine

KERNELS = {
    "convolve": 201, "pack_convolution": 202, "to_blocked": 203, "to_plain": 204, "pack_right": 205, "product": 206,
    "products": 207, "pool_picture": 209, "normalize": 210, "chain": 211, "attention": 212, "row_product": 213,
    "pack_int8": 214, "product_int8": 215, "pack_strassen": 216, "product_strassen": 217,
    "pack_conv_int8": 218, "convolve_int8": 219,
}  # fmt: skip
ALGORITHMS = ("direct", "planar", "depthwise", "winograd", "im2col", "depthwise_plain")
NONE, CLIP, SIGMOID, SILU, TANH, GELU = range(6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The kernels that a plan may use.

    Attributes:
        machine: What they cost here.
        threads: How many run a session.
        floats: For a kernel's command and words: floats of (packed weights, workspace); -1 where it cannot.
        trial: Runs a choice and says how many seconds it took; None when it will not. Without it the model decides.
    """

    machine: Machine
    threads: int
    floats: Callable[[int, Sequence[int]], tuple[int, int]]
    trial: Callable[[ConvolutionShape, Choice], float | None] | None = None
