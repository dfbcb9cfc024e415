"""Gradients of convolutions and pools.

Rules of this module:

- Both gradients of a convolution are convolutions: of the spread result by the turned weights, and of the input by the
  result with stride and dilation exchanged (Dumoulin and Visin, 2016).
- A pool's gradient goes position by position of its window: each is a strided slice, and moves back as one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from device_agent.engine.ops import Dtype
from device_agent.engine.plan.arithmetic import (
    binary,
    compare,
    constant,
    invert,
    logical,
    reduce,
    where,
)
from device_agent.engine.plan.fold import bits_of
from device_agent.engine.plan.ir import Builder, Value
from device_agent.engine.plan.lower_windows import convolve
from device_agent.engine.plan.transforms import (
    flip,
    pad_with,
    place,
    reshape,
    take_slice,
    transpose,
)
from device_agent.engine.plan.window import Window
from device_agent.engine.train.rules import Place, gradient_of
from device_agent.engine.train.views import total

_MAXIMUM, _AVERAGE = range(2)
_COUNTS_PADDING = 1
_WINDOW_WORDS = 6


@gradient_of("convolution")
def _convolution(at: Place) -> list[Value | None]:
    sizes, kernel = at.shape(0)[2:], at.shape(1)[2:]
    rows = [at.words[i : i + 4] for i in range(1, len(at.words), 4)]
    windows = [Window(n, size, *row) for n, size, row in zip(sizes, kernel, rows, strict=True)]
    bias = None
    if at.wants(2):
        axes = [0, *range(2, 2 + len(sizes))]
        bias = reduce(at.b, "reduce_sum", at.gradient, axes, keep=False)
    return [
        _of_input(at, windows) if at.wants(0) else None,
        _of_weights(at, windows) if at.wants(1) else None,
        bias,
    ][: len(at)]


def _of_input(at: Place, windows: Sequence[Window]) -> Value:
    b, w, gradient, group = at.b, at[1], at.gradient, at.words[0]
    spread = [(n - 1) * one.stride + 1 for n, one in zip(gradient.shape[2:], windows, strict=True)]
    steps = [1, 1, *(one.stride for one in windows)]
    wide = place(b, gradient, (*gradient.shape[:2], *spread), [0] * len(steps), steps)
    pads = [(0, 0), (0, 0)]
    for n, one in zip(spread, windows, strict=True):
        low = one.reach - 1 - one.before
        pads.append((low, one.n + one.reach - 1 - n - low))
    wide = pad_with(b, wide, pads)
    filters, inner, kernel = w.shape[0] // group, w.shape[1], w.shape[2:]
    turned = reshape(b, w, (group, filters, inner, *kernel))
    turned = transpose(b, turned, [0, 2, 1, *range(3, 3 + len(kernel))])
    turned = reshape(b, turned, (group * inner, filters, *kernel))
    for axis in range(2, 2 + len(kernel)):
        turned = flip(b, turned, axis)
    back = [
        Window(n, one.size, 1, one.dilation, 0, 0)
        for n, one in zip(wide.shape[2:], windows, strict=True)
    ]
    return convolve(b, wide, turned, None, back, group)


def _of_weights(at: Place, windows: Sequence[Window]) -> Value:
    """Batch and channels change places: input channels are the batch, each group sums over the old batch."""
    b, x, gradient, group = at.b, at[0], at.gradient, at.words[0]
    batch, inner, filters = x.shape[0], x.shape[1] // group, gradient.shape[1]
    sizes, places = x.shape[2:], gradient.shape[2:]
    spatial = range(3, 3 + len(sizes))
    given = reshape(b, x, (batch, group, inner, *sizes))
    given = reshape(b, transpose(b, given, [2, 1, 0, *spatial]), (inner, group * batch, *sizes))
    turned = transpose(b, gradient, [1, 0, *range(2, 2 + len(sizes))])
    swapped = [
        Window(one.n, n, one.dilation, one.stride, one.before, one.after)
        for n, one in zip(places, windows, strict=True)
    ]
    made = convolve(b, given, reshape(b, turned, (filters, batch, *places)), None, swapped, group)
    # What the last stride left over would be further positions of the window.
    kernel = [one.size for one in windows]
    made = take_slice(
        b, made, [0] * len(made.shape), [inner, filters, *kernel], [1] * len(made.shape)
    )
    return transpose(b, made, [1, 0, *range(2, 2 + len(sizes))])


@dataclass(frozen=True, slots=True)
class _Axis:
    n: int
    size: int
    stride: int
    dilation: int
    before: int
    after: int
    places: int

    @property
    def room(self) -> tuple[int, int]:
        """Padding so that every position of every place is inside."""
        reach = (self.places - 1) * self.stride + self.dilation * (self.size - 1) + 1
        return self.before, max(0, reach - self.n - self.before)

    def counted(self, *, padding: bool) -> list[int]:
        """Of each place, how many positions a mean counts."""
        low, high = (
            (0, self.n + self.before + self.after)
            if padding
            else (self.before, self.before + self.n)
        )
        return [
            sum(low <= o * self.stride + k * self.dilation < high for k in range(self.size))
            for o in range(self.places)
        ]


@gradient_of("pool")
def _pool(at: Place) -> list[Value | None]:
    kind, flags = at.words[:2]
    rows = [at.words[i : i + _WINDOW_WORDS] for i in range(3, len(at.words), _WINDOW_WORDS)]
    axes = [_Axis(n, *row) for n, row in zip(at.shape(0)[2:], rows, strict=True)]
    if kind == _MAXIMUM:
        parts = _maximum_parts(at, axes)
    elif kind == _AVERAGE:
        parts = _average_parts(at, axes, padding=bool(flags & _COUNTS_PADDING))
    else:
        parts = _power_parts(at, axes)
    padded = total(at.b, list(parts))
    cut = [0, 0, *(axis.room[0] for axis in axes)]
    return [take_slice(at.b, padded, cut, at.shape(0), [1] * len(cut))]


def _positions(axes: Sequence[_Axis]) -> Iterator[tuple[int, ...]]:
    return product(*(range(axis.size) for axis in axes))


def _padded(at: Place, axes: Sequence[_Axis], fill: float) -> Value:
    pads = [(0, 0), (0, 0), *(axis.room for axis in axes)]
    return pad_with(at.b, at[0], pads, bits_of(Dtype.FLOAT32, fill))


def _slice(b: Builder, padded: Value, axes: Sequence[_Axis], position: Sequence[int]) -> Value:
    starts = [0, 0, *(k * axis.dilation for k, axis in zip(position, axes, strict=True))]
    counts = [*padded.shape[:2], *(axis.places for axis in axes)]
    return take_slice(b, padded, starts, counts, [1, 1, *(axis.stride for axis in axes)])


def _back(at: Place, part: Value, axes: Sequence[_Axis], position: Sequence[int]) -> Value:
    shape = (*part.shape[:2], *(axis.n + sum(axis.room) for axis in axes))
    starts = [0, 0, *(k * axis.dilation for k, axis in zip(position, axes, strict=True))]
    return place(at.b, part, shape, starts, [1, 1, *(axis.stride for axis in axes)])


def _maximum_parts(at: Place, axes: Sequence[_Axis]) -> Iterator[Value]:
    """The first position that holds the maximum has the gradient."""
    b, free = at.b, None
    padded = _padded(at, axes, float("-inf"))
    for position in _positions(axes):
        holds = compare(b, "equal", _slice(b, padded, axes, position), at.out)
        first = holds if free is None else logical(b, "logical_and", holds, free)
        free = (
            invert(b, holds) if free is None else logical(b, "logical_and", free, invert(b, holds))
        )
        yield _back(at, where(b, first, at.gradient, 0.0), axes, position)


def _average_parts(at: Place, axes: Sequence[_Axis], *, padding: bool) -> Iterator[Value]:
    b, share = at.b, at.gradient
    for i, axis in enumerate(axes):
        counts = [float(max(1, count)) for count in axis.counted(padding=padding)]
        shape = [1] * (2 + len(axes))
        shape[2 + i] = axis.places
        share = binary(b, "divide", share, constant(b, Dtype.FLOAT32, counts, shape))
    for position in _positions(axes):
        yield _back(at, share, axes, position)


def _power_parts(at: Place, axes: Sequence[_Axis]) -> Iterator[Value]:
    """y = (sum |x|^p)^(1/p): g * sign(x) * (|x| / y)^(p - 1)."""
    b, power = at.b, at.words[2]
    padded = _padded(at, axes, 0.0)
    for position in _positions(axes):
        x = _slice(b, padded, axes, position)
        slope = b.step("sign", [b.operand(x)], [(x.dtype, x.shape)])[0]
        if power > 1:
            size = b.step("absolute", [b.operand(x)], [(x.dtype, x.shape)])[0]
            ratio = binary(b, "divide", size, at.out)
            slope = binary(b, "multiply", slope, binary(b, "power", ratio, float(power - 1)))
        yield _back(at, binary(b, "multiply", at.gradient, slope), axes, position)
