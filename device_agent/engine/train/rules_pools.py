"""Gradients of pools.

They go position by position of the window: each is a strided slice of the padded input, and moves back as one.
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
    unary,
    where,
)
from device_agent.engine.plan.fold import bits_of
from device_agent.engine.plan.ir import Builder, Value
from device_agent.engine.plan.transforms import pad_with, place, take_slice
from device_agent.engine.plan.window import Window
from device_agent.engine.train.rules import Place, gradient_of
from device_agent.engine.train.views import total

_MAXIMUM, _AVERAGE = range(2)
_COUNTS_PADDING = 1
_WINDOW_WORDS = 6


@dataclass(frozen=True, slots=True)
class _Axis:
    """A window and its places; rounded up, those are more than fit."""

    window: Window
    places: int

    @property
    def room(self) -> tuple[int, int]:
        """Padding so that every position of every place is inside."""
        one = self.window
        end = (self.places - 1) * one.stride + one.reach
        return one.before, max(0, end - one.n - one.before)

    def counted(self, *, padding: bool) -> list[int]:
        """Of each place, how many positions a mean counts."""
        one = self.window
        low, high = (
            (0, one.before + one.n + one.after) if padding else (one.before, one.before + one.n)
        )
        return [
            sum(low <= o * one.stride + k * one.dilation < high for k in range(one.size))
            for o in range(self.places)
        ]


@gradient_of("pool")
def _pool(at: Place) -> list[Value | None]:
    kind, flags = at.words[:2]
    rows = [at.words[i : i + _WINDOW_WORDS] for i in range(3, len(at.words), _WINDOW_WORDS)]
    axes = [
        _Axis(Window(n, *row[:-1]), row[-1]) for n, row in zip(at.shape(0)[2:], rows, strict=True)
    ]
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
    return product(*(range(axis.window.size) for axis in axes))


def _padded(at: Place, axes: Sequence[_Axis], fill: float) -> Value:
    pads = [(0, 0), (0, 0), *(axis.room for axis in axes)]
    return pad_with(at.b, at[0], pads, bits_of(Dtype.FLOAT32, fill))


def _slice(b: Builder, padded: Value, axes: Sequence[_Axis], position: Sequence[int]) -> Value:
    starts = [0, 0, *(k * axis.window.dilation for k, axis in zip(position, axes, strict=True))]
    counts = [*padded.shape[:2], *(axis.places for axis in axes)]
    return take_slice(b, padded, starts, counts, [1, 1, *(axis.window.stride for axis in axes)])


def _back(at: Place, part: Value, axes: Sequence[_Axis], position: Sequence[int]) -> Value:
    shape = (*part.shape[:2], *(axis.window.n + sum(axis.room) for axis in axes))
    starts = [0, 0, *(k * axis.window.dilation for k, axis in zip(position, axes, strict=True))]
    return place(at.b, part, shape, starts, [1, 1, *(axis.window.stride for axis in axes)])


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
    norm = where(b, compare(b, "equal", at.out, 0.0), 1.0, at.out)  # of zeros alone: no slope
    for position in _positions(axes):
        x = _slice(b, padded, axes, position)
        slope = unary(b, "sign", x)
        if power > 1:
            ratio = binary(b, "divide", unary(b, "absolute", x), norm)
            slope = binary(b, "multiply", slope, binary(b, "power", ratio, float(power - 1)))
        yield _back(at, binary(b, "multiply", at.gradient, slope), axes, position)
