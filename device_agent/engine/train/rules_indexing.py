"""Gradients of what picks elements by indices."""

from __future__ import annotations

from math import prod

from device_agent.engine.plan.ir import Builder, Value
from device_agent.engine.plan.transforms import axis_of, expand, filled, reshape, transpose
from device_agent.engine.train.rules import Place, gradient_of

_ADD = 1  # scatter's reduction


@gradient_of("take")
def _take(at: Place) -> list[Value | None]:
    """Each slice is added where it was taken from: an embedding's gradient."""
    b, indices, shape = at.b, at[1], at.shape(0)
    axis = axis_of(at.words[0], len(shape))
    before, n, after = prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])
    slices = reshape(b, at.gradient, (before, indices.size, after))
    rows = reshape(b, transpose(b, slices, [1, 0, 2]), (indices.size, before * after))
    places = expand(b, reshape(b, indices, (indices.size, 1)), rows.shape)
    summed = _added(b, (n, before * after), places, rows, 0)
    back = transpose(b, reshape(b, summed, (n, before, after)), [1, 0, 2])
    return [reshape(b, back, shape), None]


@gradient_of("take_along")
def _take_along(at: Place) -> list[Value | None]:
    axis = axis_of(at.words[0], len(at.shape(0)))
    return [_added(at.b, at.shape(0), at[1], at.gradient, axis), None]


def _added(b: Builder, shape: tuple[int, ...], places: Value, values: Value, axis: int) -> Value:
    """Zeros with the values added at their places along an axis."""
    operands = [
        b.operand(filled(b, values.dtype, shape, 0)),
        b.operand(places),
        b.operand(values),
    ]
    return b.step("scatter", operands, [(values.dtype, shape)], [axis, _ADD])[0]
