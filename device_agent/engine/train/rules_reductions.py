"""Gradients of what makes one number of many, and of what goes along an axis."""

from __future__ import annotations

from math import prod

from device_agent.engine.ops import Dtype
from device_agent.engine.plan.arithmetic import binary, cast, compare, reduce, reduced_shape
from device_agent.engine.plan.ir import Value
from device_agent.engine.plan.transforms import axis_of, expand, flip, reshape
from device_agent.engine.train.rules import Place, gradient_of


def _axes(at: Place) -> list[int]:
    rank = len(at.shape(0))
    return [axis_of(axis, rank) for axis in at.words[1:]] or list(range(rank))


def _kept(at: Place, value: Value) -> Value:
    """A result with the reduced axes still there."""
    return reshape(at.b, value, reduced_shape(at.shape(0), _axes(at), keep=True))


def _spread(at: Place, value: Value) -> Value:
    """A result for each element that it was made of."""
    return expand(at.b, _kept(at, value), at.shape(0))


@gradient_of("reduce_sum")
def _sum(at: Place) -> list[Value | None]:
    return [_spread(at, at.gradient)]


@gradient_of("reduce_mean")
def _mean(at: Place) -> list[Value | None]:
    count = prod(at.shape(0)[axis] for axis in _axes(at))
    return [_spread(at, binary(at.b, "divide", at.gradient, float(max(1, count))))]


@gradient_of("reduce_max", "reduce_min")
def _extreme(at: Place) -> list[Value | None]:
    """Those that are the extreme share its gradient."""
    b, x = at.b, at[0]
    are = cast(b, compare(b, "equal", x, _kept(at, at.out)), Dtype.FLOAT32)
    share = binary(b, "divide", _kept(at, at.gradient), reduce(b, "reduce_sum", are, _axes(at)))
    return [binary(b, "multiply", are, share)]


@gradient_of("reduce_product")
def _product(at: Place) -> list[Value | None]:
    """The product of the others, by division: an element that is zero has no gradient that is a number."""
    b = at.b
    whole = binary(b, "multiply", _kept(at, at.gradient), _kept(at, at.out))
    return [binary(b, "divide", whole, at[0])]


@gradient_of("softmax")
def _softmax(at: Place) -> list[Value | None]:
    """y * (g - sum(g * y))."""
    b, y, axis = at.b, at.out, axis_of(at.words[0], len(at.shape(0)))
    inner = reduce(b, "reduce_sum", binary(b, "multiply", at.gradient, y), [axis])
    return [binary(b, "multiply", y, binary(b, "subtract", at.gradient, inner))]


@gradient_of("cumulative_sum")
def _cumulative_sum(at: Place) -> list[Value | None]:
    """Sums from behind."""
    b, axis = at.b, axis_of(at.words[0], len(at.shape(0)))
    back = flip(b, at.gradient, axis)
    summed = b.step("cumulative_sum", [b.operand(back)], [(back.dtype, back.shape)], [axis])[0]
    return [flip(b, summed, axis)]
