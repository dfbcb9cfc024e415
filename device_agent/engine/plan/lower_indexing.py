"""Operators that pick or write by index; and those that make as much as they find."""

from __future__ import annotations

from math import prod

from device_agent.engine.ops import Dtype
from device_agent.engine.plan.arithmetic import (
    HALVES,
    binary,
    cast,
    compare,
    constant,
    take,
    where,
    word_of,
)
from device_agent.engine.plan.context import Site, lowers
from device_agent.engine.plan.fold import Unknown
from device_agent.engine.plan.ir import Builder, Value
from device_agent.engine.plan.planned import PlanError
from device_agent.engine.plan.transforms import axis_of, cut, pick, reshape, runs, transpose

_REDUCTIONS = {"none": 0, "add": 1, "mul": 2, "max": 3, "min": 4}
_RUNS_MAX = 8  # of constant indices: beyond it a take is quicker than its regions


@lowers("gather")
def _gather(site: Site) -> Value:
    """Indices that are known and lie in few runs are a transform; else a take."""
    b, x, indices = site.b, site[0], site[1]
    axis = axis_of(site.whole("axis"), len(x.shape))
    places = _known_places(site, x.shape[axis])
    if places is None:
        return take(b, x, indices, axis)
    shape = x.shape[:axis] + indices.shape + x.shape[axis + 1 :]
    if len(places) == 1:
        return reshape(b, cut(b, x, axis, places[0], 1), shape)
    return reshape(b, pick(b, x, axis, places), shape)


def _known_places(site: Site, n: int) -> list[int] | None:
    indices = site[1]
    if not indices.constant or indices.size == 0 or indices.size > 4096:
        return None
    try:
        places = site.integers(1)
    except Unknown:
        return None
    if not all(-n <= place < n for place in places):
        raise PlanError(f"an index is outside an axis of {n}")
    found = [place % n for place in places]
    return found if len(runs(found)) <= _RUNS_MAX else None


@lowers("gather_elements")
def _gather_elements(site: Site) -> Value:
    """All axes but one may be longer in the data than in the indices: they are cut first."""
    b, x, indices = site.b, site[0], site[1]
    axis = axis_of(site.whole("axis"), len(x.shape))
    for i, n in enumerate(indices.shape):
        if i != axis and n < x.shape[i]:
            x = cut(b, x, i, 0, n)
    operands = [b.operand(x), b.operand(cast(b, indices, Dtype.INT64))]
    return b.step("take_along", operands, [(x.dtype, indices.shape)], [axis])[0]


@lowers("gather_nd")
def _gather_nd(site: Site) -> Value:
    b, x, indices, batch = site.b, site[0], site[1], site.whole("batch_dims")
    depth = indices.shape[-1]
    shape = indices.shape[:-1] + x.shape[batch + depth :]
    operands = [b.operand(x), b.operand(cast(b, indices, Dtype.INT64))]
    return b.step("gather_nd", operands, [(x.dtype, shape)], [batch])[0]


def _reduced_in(b: Builder, site: Site) -> tuple[Value, Value, int]:
    """Data and updates in a type that the reduction takes."""
    x, updates = site[0], site[2]
    how = _REDUCTIONS[site.text("reduction") or "none"]
    if how and x.dtype in HALVES:
        return cast(b, x, Dtype.FLOAT32), cast(b, updates, Dtype.FLOAT32), how
    return x, updates, how


@lowers("scatter_elements")
def _scatter_elements(site: Site) -> Value:
    b, (x, updates, how) = site.b, _reduced_in(site.b, site)
    axis = axis_of(site.whole("axis"), len(x.shape))
    operands = [b.operand(x), b.operand(cast(b, site[1], Dtype.INT64)), b.operand(updates)]
    made = b.step("scatter", operands, [(x.dtype, x.shape)], [axis, how])[0]
    return cast(b, made, site[0].dtype)


@lowers("scatter_nd")
def _scatter_nd(site: Site) -> Value:
    b, (x, updates, how) = site.b, _reduced_in(site.b, site)
    operands = [b.operand(x), b.operand(cast(b, site[1], Dtype.INT64)), b.operand(updates)]
    made = b.step("scatter_nd", operands, [(x.dtype, x.shape)], [how])[0]
    return cast(b, made, site[0].dtype)


@lowers("tensor_scatter")
def _tensor_scatter(site: Site) -> Value:
    """Each batch's update goes into the cache at its own place, round the end when circular."""
    b, past, update = site.b, site[0], site[1]
    axis = axis_of(site.whole("axis"), len(past.shape))
    batch, length, count = past.shape[0], past.shape[axis], update.shape[axis]
    starts = site.integers(2) if site.maybe(2) is not None else (0,) * batch
    rows = []
    for i, start in enumerate(starts):
        for k in range(count):
            place = (start + k) % length if site.text("mode") == "circular" else start + k
            rows += [i, place]
    order = [0, axis, *(i for i in range(1, len(past.shape)) if i != axis)]
    back = [order.index(i) for i in range(len(order))]
    data, news = transpose(b, past, order), transpose(b, update, order)
    indices = constant(b, Dtype.INT64, rows, (batch, count, 2))
    operands = [b.operand(data), b.operand(indices), b.operand(news)]
    return transpose(b, b.step("scatter_nd", operands, [(data.dtype, data.shape)], [0])[0], back)


@lowers("one_hot")
def _one_hot(site: Site) -> Value:
    """Whether each place is the index, then one of two values."""
    b, indices, depth = site.b, cast(site.b, site[0], Dtype.INT64), site.integer(1)
    rank = len(indices.shape) + 1
    axis = axis_of(site.whole("axis"), rank)
    sizes = (*indices.shape[:axis], 1, *indices.shape[axis:])
    places = constant(
        b, Dtype.INT64, range(depth), [depth if i == axis else 1 for i in range(rank)]
    )
    wrapped = where(b, compare(b, "less", indices, 0), binary(b, "add", indices, depth), indices)
    hit = compare(b, "equal", reshape(b, wrapped, sizes), places)
    off, on = (reshape(b, cut(b, site[2], 0, i, 1), ()) for i in (0, 1))
    return where(b, hit, on, off)


# --- as much as they find --------------------------------------------------------------------------------------------


@lowers("non_zero_all")
def _non_zero(site: Site) -> list[Value]:
    b, x = site.b, site[0]
    x = cast(b, x, Dtype.FLOAT32) if x.dtype in HALVES else x
    outputs = [(Dtype.INT64, (len(x.shape), x.size)), (Dtype.INT64, (1,))]
    return b.step("nonzero", [b.operand(x)], outputs)


@lowers("compress_all")
def _compress(site: Site) -> list[Value]:
    """The places where the condition holds, then a take; what is past the count takes the first."""
    b, x, condition = site.b, site[0], site[1]
    axis = site.attribute("axis")
    if axis is None:
        x, axis = reshape(b, x, (x.size,)), 0
    axis = axis_of(axis, len(x.shape))
    n = condition.size
    places, count = b.step(
        "nonzero", [b.operand(condition)], [(Dtype.INT64, (1, n)), (Dtype.INT64, (1,))]
    )
    valid = compare(b, "less", constant(b, Dtype.INT64, range(n)), count)
    return [take(b, x, where(b, valid, reshape(b, places, (n,)), 0), axis), count]


@lowers("unique_all")
def _unique(site: Site) -> list[Value]:
    """Of rows (the slices of an axis, or all elements): values, first places, kinds, counts; how many there are."""
    b, x, axis = site.b, site[0], site.attribute("axis")
    x = cast(b, x, Dtype.FLOAT32) if x.dtype in HALVES else x
    rows = reshape(b, x, (x.size, 1))
    if axis is None:
        x, axis = reshape(b, x, (x.size,)), 0
    else:
        axis = axis_of(axis, len(x.shape))
        order = [axis, *(i for i in range(len(x.shape)) if i != axis)]
        first = transpose(b, x, order)
        rows = reshape(b, first, (first.shape[0], prod(first.shape[1:])))
    n = rows.shape[0]
    outputs = [(Dtype.INT64, (n,))] * 3 + [(Dtype.INT64, (1,))]
    places, kinds, counts, count = b.step(
        "unique", [b.operand(rows)], outputs, [site.whole("sorted")]
    )
    valid = compare(b, "less", constant(b, Dtype.INT64, range(n)), count)
    safe = where(b, valid, places, 0)
    values = cast(b, take(b, x, safe, axis), site[0].dtype)
    return [values, places, kinds, counts, count]


@lowers("non_max_suppression_all")
def _suppression(site: Site) -> list[Value]:
    b, boxes, scores = site.b, site[0], site[1]
    most = site.integer(2) if site.maybe(2) is not None else 0
    overlap = float(site.numbers(3)[0]) if site.maybe(3) is not None else 0.0
    least = float(site.numbers(4)[0]) if site.maybe(4) is not None else float("-inf")
    count = scores.shape[0] * scores.shape[1] * max(0, min(most, scores.shape[2]))
    words = [most, site.whole("center_point_box"), word_of(overlap), word_of(least)]
    outputs = [(Dtype.INT64, (count, 3)), (Dtype.INT64, (1,))]
    operands = [b.operand(boxes), b.operand(scores)]
    return b.step("non_max_suppression", operands, outputs, words)
