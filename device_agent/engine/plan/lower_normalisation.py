"""Normalisation: statistics over some axes, then a scale and an offset."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from device_agent.engine.ops import Dtype
from device_agent.engine.plan.arithmetic import (
    HALVES,
    binary,
    cast,
    compare,
    reduce,
    unary,
    where,
)
from device_agent.engine.plan.context import Site, lowers
from device_agent.engine.plan.fold import bits_of
from device_agent.engine.plan.ir import Builder, Value
from device_agent.engine.plan.transforms import axis_of, cut, filled, pad_with, reshape


def _wide(site: Site) -> Value:
    x = site[0]
    return cast(site.b, x, Dtype.FLOAT32) if x.dtype in HALVES else x


def _standardised(
    b: Builder, x: Value, axes: Sequence[int], epsilon: float
) -> tuple[Value, Value, Value]:
    """(x - mean) / sqrt(variance + epsilon); the mean; the inverse deviation."""
    mean = reduce(b, "reduce_mean", x, axes)
    centred = binary(b, "subtract", x, mean)
    variance = reduce(b, "reduce_mean", binary(b, "multiply", centred, centred), axes)
    inverse = binary(b, "divide", 1, unary(b, "sqrt", binary(b, "add", variance, epsilon)))
    return binary(b, "multiply", centred, inverse), mean, inverse


def _along(b: Builder, x: Value, rank: int, dtype: int) -> Value:
    """A number a channel, shaped to broadcast against (N, C, ...)."""
    return cast(b, reshape(b, x, (x.size, *(1,) * (rank - 2))), dtype)


@lowers("batch_normalization")
def _batch(site: Site) -> Value:
    """One scale and one offset a channel, which are computed once when the statistics are constants."""
    b, x = site.b, _wide(site)
    rank = len(x.shape)
    scale, bias, mean, variance = (cast(b, site[i], x.dtype) for i in range(1, 5))
    deviation = unary(b, "sqrt", binary(b, "add", variance, site.real("epsilon")))
    factor = binary(b, "divide", scale, deviation)
    offset = binary(b, "subtract", bias, binary(b, "multiply", mean, factor))
    if rank == 1:
        return cast(b, binary(b, "add", binary(b, "multiply", x, factor), offset), site[0].dtype)
    scaled = binary(b, "multiply", x, _along(b, factor, rank, x.dtype))
    return cast(b, binary(b, "add", scaled, _along(b, offset, rank, x.dtype)), site[0].dtype)


@lowers("layer_normalization")
def _layer(site: Site) -> list[Value]:
    b, x = site.b, _wide(site)
    axis = axis_of(site.whole("axis"), len(x.shape))
    made, mean, inverse = _standardised(b, x, range(axis, len(x.shape)), site.real("epsilon"))
    made = binary(b, "multiply", made, cast(b, site[1], x.dtype))
    bias = site.maybe(2)
    if bias is not None:
        made = binary(b, "add", made, cast(b, bias, x.dtype))
    return [cast(b, made, site[0].dtype), mean, inverse]


@lowers("rms_normalization")
def _rms(site: Site) -> Value:
    b, x = site.b, _wide(site)
    axes = range(axis_of(site.whole("axis"), len(x.shape)), len(x.shape))
    mean = reduce(b, "reduce_mean", binary(b, "multiply", x, x), axes)
    root = unary(b, "sqrt", binary(b, "add", mean, site.real("epsilon")))
    made = cast(b, binary(b, "divide", x, root), site[0].dtype)
    return binary(b, "multiply", made, cast(b, site[1], made.dtype))


@lowers("instance_normalization")
def _instance(site: Site) -> Value:
    b, x = site.b, _wide(site)
    rank = len(x.shape)
    made, _, _ = _standardised(b, x, range(2, rank), site.real("epsilon"))
    made = binary(b, "multiply", made, _along(b, site[1], rank, x.dtype))
    return cast(b, binary(b, "add", made, _along(b, site[2], rank, x.dtype)), site[0].dtype)


@lowers("group_normalization")
def _group(site: Site) -> Value:
    b, x, groups = site.b, _wide(site), site.whole("num_groups")
    rank = len(x.shape)
    rows = reshape(b, x, (x.shape[0], groups, prod(x.shape[1:]) // groups))
    made, _, _ = _standardised(b, rows, [2], site.real("epsilon"))
    made = reshape(b, made, x.shape)
    made = binary(b, "multiply", made, _along(b, site[1], rank, x.dtype))
    return cast(b, binary(b, "add", made, _along(b, site[2], rank, x.dtype)), site[0].dtype)


@lowers("lp_normalization")
def _lp(site: Site) -> Value:
    """By the norm along an axis; where that is 0, zero."""
    b, x, axis = site.b, _wide(site), site.whole("axis")
    if site.whole("p") == 1:
        norm = reduce(b, "reduce_sum", unary(b, "absolute", x), [axis])
    else:
        norm = unary(b, "sqrt", reduce(b, "reduce_sum", binary(b, "multiply", x, x), [axis]))
    zero = compare(b, "equal", norm, 0)
    made = binary(b, "divide", x, where(b, zero, 1, norm))
    return cast(b, where(b, zero, 0, made), site[0].dtype)


@lowers("lrn")
def _lrn(site: Site) -> Value:
    """x / (bias + alpha / size * sum of squares over neighbouring channels) ^ beta."""
    b, x, size = site.b, _wide(site), site.whole("size")
    squares = binary(b, "multiply", x, x)
    low, high = (size - 1) // 2, size - 1 - (size - 1) // 2
    padded = pad_with(b, squares, [(0, 0), (low, high), *((0, 0) for _ in x.shape[2:])])
    total = filled(b, x.dtype, x.shape, bits_of(x.dtype, 0))
    for i in range(size):
        total = binary(b, "add", total, cut(b, padded, 1, i, x.shape[1]))
    scaled = binary(b, "multiply", total, site.real("alpha") / size)
    base = binary(b, "add", scaled, site.real("bias"))
    power = binary(b, "power", base, site.real("beta"))
    return cast(b, binary(b, "divide", x, power), site[0].dtype)
