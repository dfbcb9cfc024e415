"""Operators that read between elements: resizing, grids, regions of interest.

Rules of this module:

- A resize is separable: each axis that changes is one step, over places and weights that are computed here; nearest is
  a transform or a take.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from device_agent.engine.ops import Dtype
from device_agent.engine.plan.arithmetic import (
    HALVES,
    cast,
    constant,
    take,
    where,
    word_of,
)
from device_agent.engine.plan.context import Site, lowers
from device_agent.engine.plan.ir import Value
from device_agent.engine.plan.planned import PlanError
from device_agent.engine.plan.transforms import axis_of, pick, repeat, runs


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """One axis of a resize: how many elements to how many, the scale that says so, its part of the picture."""

    n: int
    count: int
    scale: float
    start: float = 0.0
    end: float = 1.0

    def source(self, i: int, mode: str) -> float:
        """Where output place i lies on the input."""
        width = self.scale * self.n
        if mode == "align_corners":
            return 0.0 if width == 1 else i * (self.n - 1) / (width - 1)
        if mode == "asymmetric":
            return i / self.scale
        if mode == "tf_crop_and_resize":
            span = (self.end - self.start) * (self.n - 1)
            shift = span / 2 if width == 1 else i * span / (width - 1)
            return shift + self.start * (self.n - 1)
        if mode == "pytorch_half_pixel" and width == 1:
            return -0.5
        offset = 0.0
        if mode == "half_pixel_symmetric":
            offset = self.n / 2 * (1 - self.count / width)
        elif mode not in ("half_pixel", "pytorch_half_pixel"):
            raise PlanError(f"resize knows no coordinates '{mode}'")
        return offset + (i + 0.5) / self.scale - 0.5


def _linear(x: float, _: float) -> float:
    return max(0.0, 1 - abs(x))


def _cubic(x: float, a: float) -> float:
    x = abs(x)
    if x <= 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a if x < 2 else 0.0


def _taps(
    axis: _Axis, site: Site, kernel: Callable[[float, float], float], reach: int
) -> tuple[list[int], list[float], int]:
    """Places and weights of every output place, and how many a place has; outside places are the edge's."""
    mode, outside = site.text("coordinate_transformation_mode"), site.whole("exclude_outside")
    shrink = min(axis.scale, 1.0) if site.whole("antialias") else 1.0
    a = site.real("cubic_coeff_a")
    first = math.floor(-reach / shrink) + 1
    count = 2 - 2 * first
    places: list[int] = []
    weights: list[float] = []
    for i in range(axis.count):
        x = axis.source(i, mode)
        low = (
            math.ceil(x) - 1
        )  # the element left of x, as ONNX has it: a whole x is its right neighbour
        at = range(low + first, low + first + count)
        row = [kernel((k - x) * shrink, a) for k in at]
        if outside:
            row = [w if 0 <= k < axis.n else 0.0 for k, w in zip(at, row, strict=True)]
        total = sum(row) if outside or shrink < 1 else 1.0
        places += [min(max(k, 0), axis.n - 1) for k in at]
        weights += [w / (total or 1.0) for w in row]
    return places, weights, count


_ROUNDINGS: dict[str, Callable[[float], int]] = {
    "round_prefer_floor": lambda x: math.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: math.floor(x + 0.5),
    "floor": math.floor,
    "ceil": math.ceil,
}


def _resized(site: Site, x: Value, i: int, axis: _Axis) -> Value:
    b, mode = site.b, site.text("mode")
    if mode == "nearest":
        rounding = _ROUNDINGS[site.text("nearest_mode")]
        coordinates = site.text("coordinate_transformation_mode")
        at = [rounding(axis.source(k, coordinates)) for k in range(axis.count)]
        places = [min(max(k, 0), axis.n - 1) for k in at]
        times, rest = divmod(axis.count, axis.n)
        if not rest and places == [k // times for k in range(axis.count)]:
            return repeat(b, x, i, times)
        if len(runs(places)) <= 64:
            return pick(b, x, i, places)
        return take(b, x, constant(b, Dtype.INT64, places), i)
    kernel, reach = {"linear": (_linear, 1), "cubic": (_cubic, 2)}[mode]
    wide = cast(b, x, Dtype.FLOAT32)
    places, weights, taps = _taps(axis, site, kernel, reach)
    rows = constant(b, Dtype.INT64, places, (axis.count, taps))
    factors = constant(b, Dtype.FLOAT32, weights, (axis.count, taps))
    shape = (*x.shape[:i], axis.count, *x.shape[i + 1 :])
    operands = [b.operand(wide), b.operand(rows), b.operand(factors)]
    return b.step("interpolate", operands, [(Dtype.FLOAT32, shape)], [i])[0]


def _axes(site: Site, named: Sequence[int]) -> list[_Axis]:
    x = site[0]
    sizes = [x.shape[axis] for axis in named]
    roi: Sequence[float] = ()
    if site.text("coordinate_transformation_mode") == "tf_crop_and_resize":
        roi = [float(number) for number in site.numbers(1)]
    if site.maybe(3) is not None and site[3].size:
        wanted = site.integers(3)
        scales = [want / n for want, n in zip(wanted, sizes, strict=True)]
        policy = site.text("keep_aspect_ratio_policy")
        if policy != "stretch":
            scale = min(scales) if policy == "not_larger" else max(scales)
            scales = [scale] * len(sizes)
            wanted = tuple(math.floor(scale * n + 0.5) for n in sizes)
    else:
        scales = [float(number) for number in site.numbers(2)]
        wanted = tuple(math.floor(scale * n) for scale, n in zip(scales, sizes, strict=True))
    rows = zip(sizes, wanted, scales, strict=True)
    half = len(sizes)
    return [
        _Axis(n=n, count=count, scale=scale, start=roi[k], end=roi[half + k])
        if roi
        else _Axis(n=n, count=count, scale=scale)
        for k, (n, count, scale) in enumerate(rows)
    ]


@lowers("resize")
def _resize(site: Site) -> Value:
    b, x = site.b, site[0]
    rank = len(x.shape)
    named = [axis_of(axis, rank) for axis in site.wholes("axes") or range(rank)]
    made, crops = x, []
    for i, axis in zip(named, _axes(site, named), strict=True):
        cropped = (axis.start, axis.end) != (0.0, 1.0)
        if axis.n != axis.count or axis.scale != 1 or cropped:
            made = _resized(site, made, i, axis)
        if cropped:
            crops.append((i, axis))
    made = cast(b, made, x.dtype)
    for i, axis in crops:
        made = _outside(site, made, i, axis)
    return made


def _outside(site: Site, made: Value, i: int, axis: _Axis) -> Value:
    """Places that lie outside the picture take the extrapolation value."""
    b = site.b
    inside = [0 <= axis.source(k, "tf_crop_and_resize") <= axis.n - 1 for k in range(axis.count)]
    shape = [axis.count if k == i else 1 for k in range(len(made.shape))]
    mask = constant(b, Dtype.BOOL, inside, shape)
    return where(b, mask, made, site.real("extrapolation_value"))


@lowers("grid_sample")
def _grid_sample(site: Site) -> Value:
    b, x, grid = site.b, cast(site.b, site[0], Dtype.FLOAT32), cast(site.b, site[1], Dtype.FLOAT32)
    mode = {"nearest": 0, "linear": 1, "bilinear": 1, "cubic": 2, "bicubic": 2}[site.text("mode")]
    padding = {"zeros": 0, "border": 1, "reflection": 2}[site.text("padding_mode")]
    shape = (*x.shape[:2], *grid.shape[1:-1])
    words = [mode, padding, site.whole("align_corners")]
    operands = [b.operand(x), b.operand(grid)]
    made = b.step("grid_sample", operands, [(x.dtype, shape)], words)[0]
    return cast(b, made, site[0].dtype)


@lowers("roi_align")
def _roi_align(site: Site) -> Value:
    b, x, boxes = site.b, site[0], site[1]
    pictures = cast(b, site[2], Dtype.INT64)
    height, width = site.whole("output_height"), site.whole("output_width")
    half = site.text("coordinate_transformation_mode") == "half_pixel"
    words = [
        height, width, site.whole("sampling_ratio"), int(site.text("mode") == "max"), int(half),
        word_of(site.real("spatial_scale")),
    ]  # fmt: skip
    if x.dtype in HALVES:
        raise PlanError("roi_align takes float32")
    operands = [b.operand(x), b.operand(boxes), b.operand(pictures)]
    shape = (boxes.shape[0], x.shape[1], height, width)
    return b.step("roi_align", operands, [(x.dtype, shape)], words)[0]
