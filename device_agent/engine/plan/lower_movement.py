"""Operators that only move elements: each becomes regions."""

from __future__ import annotations

from math import prod

from device_agent.engine.ops import Dtype
from device_agent.engine.plan.arithmetic import broadcast, constant
from device_agent.engine.plan.context import Site, lowers
from device_agent.engine.plan.fold import bits_of, encoded
from device_agent.engine.plan.ir import Given, Value
from device_agent.engine.plan.planned import PlanError
from device_agent.engine.plan.transforms import (
    axis_of,
    concat,
    cut,
    expand,
    filled,
    flip,
    fold_blocks,
    pad_by,
    pad_with,
    reshape,
    split,
    take_slice,
    tile,
    transpose,
)


@lowers("identity")
def _identity(site: Site) -> Value:
    return site[0]


@lowers("reshape")
def _reshape(site: Site) -> Value:
    x, wanted = site[0], list(site.integers(1))
    if not site.whole("allowzero"):
        wanted = [x.shape[i] if n == 0 and i < len(x.shape) else n for i, n in enumerate(wanted)]
    if wanted.count(-1) > 1 or any(n < -1 for n in wanted):
        raise PlanError(f"shape {tuple(wanted)} cannot be")
    if -1 in wanted:
        rest = prod(n for n in wanted if n != -1)
        if rest == 0 or x.size % rest:
            raise PlanError(f"shape {x.shape} does not reshape to {tuple(wanted)}")
        wanted[wanted.index(-1)] = x.size // rest
    return reshape(site.b, x, wanted)


@lowers("flatten")
def _flatten(site: Site) -> Value:
    x, axis = site[0], site.whole("axis")
    axis = axis + len(x.shape) if axis < 0 else axis
    return reshape(site.b, x, (prod(x.shape[:axis]), prod(x.shape[axis:])))


@lowers("squeeze")
def _squeeze(site: Site) -> Value:
    x = site[0]
    if site.maybe(1) is None:
        return reshape(site.b, x, [n for n in x.shape if n != 1])
    gone = {axis_of(axis, len(x.shape)) for axis in site.integers(1)}
    if any(x.shape[axis] != 1 for axis in gone):
        raise PlanError(f"squeeze takes axes of size 1 from {x.shape}")
    return reshape(site.b, x, [n for i, n in enumerate(x.shape) if i not in gone])


@lowers("unsqueeze")
def _unsqueeze(site: Site) -> Value:
    x, axes = site[0], site.integers(1)
    rank = len(x.shape) + len(axes)
    new = {axis_of(axis, rank) for axis in axes}
    if len(new) != len(axes):
        raise PlanError("unsqueeze names an axis twice")
    sizes = iter(x.shape)
    return reshape(site.b, x, [1 if i in new else next(sizes) for i in range(rank)])


@lowers("transpose")
def _transpose(site: Site) -> Value:
    perm = site.wholes("perm")
    return transpose(site.b, site[0], range(len(site[0].shape))[::-1] if perm is None else perm)


@lowers("concat")
def _concat(site: Site) -> Value:
    return concat(site.b, site.all, site.whole("axis"))


@lowers("split")
def _split(site: Site) -> list[Value]:
    x = site[0]
    axis = axis_of(site.whole("axis"), len(x.shape))
    if site.maybe(1) is not None:
        return split(site.b, x, axis, site.integers(1))
    count, n = site.whole("num_outputs") or len(site.operator.outputs), x.shape[axis]
    size = -(-n // count)
    sizes = [max(0, min(size, n - i * size)) for i in range(count)]
    return split(site.b, x, axis, sizes)


@lowers("slice")
def _slice(site: Site) -> Value:
    x = site[0]
    rank = len(x.shape)
    starts, ends = site.integers(1), site.integers(2)
    axes = site.integers(3) if site.maybe(3) is not None else tuple(range(len(starts)))
    steps = site.integers(4) if site.maybe(4) is not None else (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise PlanError("slice takes a start, an end and a step for each axis")
    firsts, counts, strides = [0] * rank, list(x.shape), [1] * rank
    for given, start, end, step in zip(axes, starts, ends, steps, strict=True):
        axis = axis_of(given, rank)
        if step == 0:
            raise PlanError("a slice with step 0 goes nowhere")
        places = range(x.shape[axis])[slice(start, end, step)]
        firsts[axis] = places.start if len(places) else 0
        counts[axis], strides[axis] = len(places), step
    return take_slice(site.b, x, firsts, counts, strides)


@lowers("pad")
def _pad(site: Site) -> Value:
    b, x, mode = site.b, site[0], site.text("mode")
    rank, pads = len(x.shape), site.integers(1)
    axes = [axis_of(axis, rank) for axis in _axes(site, 3, rank)]
    if len(pads) != 2 * len(axes):
        raise PlanError(f"pad takes two numbers an axis, not {len(pads)} for {len(axes)}")
    pairs = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        pairs[axis] = (pads[i], pads[len(axes) + i])
    if mode == "constant":
        value = site.maybe(2)
        fill = 0
        if value is not None and value.size:
            fill = bits_of(value.dtype, site.numbers(2)[0])
        return pad_with(b, x, pairs, fill)
    cuts = [(min(0, low), min(0, high)) for low, high in pairs]
    x = pad_with(b, x, cuts)
    for axis, (low, high) in enumerate(pairs):
        if low > 0 or high > 0:
            x = pad_by(b, x, axis, max(0, low), max(0, high), mode)
    return x


def _axes(site: Site, place: int, rank: int) -> tuple[int, ...]:
    """Axes that an input names; all when it is left out."""
    return tuple(range(rank)) if site.maybe(place) is None else site.integers(place)


@lowers("expand")
def _expand(site: Site) -> Value:
    x = site[0]
    return expand(site.b, x, broadcast(x.shape, site.integers(1)))


@lowers("tile")
def _tile(site: Site) -> Value:
    return tile(site.b, site[0], site.integers(1))


@lowers("depth_to_space")
def _depth_to_space(site: Site) -> Value:
    x, block = site[0], site.whole("blocksize")
    n, c, h, w = x.shape
    depth = c // (block * block)
    result = (n, depth, h * block, w * block)
    if site.text("mode") == "DCR":
        shape = (n, block, block, depth, h, w)
        return fold_blocks(site.b, x, shape, (0, 3, 4, 1, 5, 2), result)
    return fold_blocks(site.b, x, (n, depth, block, block, h, w), (0, 1, 4, 2, 5, 3), result)


@lowers("space_to_depth")
def _space_to_depth(site: Site) -> Value:
    x, block = site[0], site.whole("blocksize")
    n, c, h, w = x.shape
    shape = (n, c, h // block, block, w // block, block)
    result = (n, c * block * block, h // block, w // block)
    perm = (0, 3, 5, 1, 2, 4) if site.text("mode") != "CRD" else (0, 1, 3, 5, 2, 4)
    return fold_blocks(site.b, x, shape, perm, result)


@lowers("trilu")
def _trilu(site: Site) -> Value:
    """Rows of a triangle: a region each; all else is zero."""
    b, x = site.b, site[0]
    k, upper = site.integer(1) if site.maybe(1) is not None else 0, site.whole("upper")
    rows, columns = x.shape[-2:]
    batch = prod(x.shape[:-2])
    given: list[Given] = []
    for row in range(rows):
        low, high = (max(0, row + k), columns) if upper else (0, min(columns, row + k + 1))
        if low < high and batch:
            axes = ((batch, rows * columns, rows * columns), (high - low, 1, 1))
            given.append((x, row * columns + low, row * columns + low, axes))
    return b.move(x.dtype, x.shape, given, 0)


@lowers("reverse_sequence")
def _reverse_sequence(site: Site) -> Value:
    """For each sequence its first elements the other way round: two slices, then all together."""
    b, x = site.b, site[0]
    batch, time = site.whole("batch_axis"), site.whole("time_axis")
    parts = []
    for i, length in enumerate(site.integers(1)):
        one = cut(b, x, batch, i, 1)
        head = flip(b, cut(b, one, time, 0, length), time)
        parts.append(concat(b, [head, cut(b, one, time, length, x.shape[time] - length)], time))
    return concat(b, parts, batch)


# --- what is known of a tensor before it is computed -----------------------------------------------------------------


@lowers("shape")
def _shape(site: Site) -> Value:
    shape = site[0].shape
    end = site.attribute("end")
    return constant(site.b, Dtype.INT64, shape[site.whole("start") : end])


@lowers("size")
def _size(site: Site) -> Value:
    return constant(site.b, Dtype.INT64, [site[0].size], ())


@lowers("range")
def _range(site: Site) -> Value:
    start, limit, delta = (site.numbers(i)[0] for i in range(3))
    if delta == 0:
        raise PlanError("a range with step 0 has no end")
    count = max(0, -int(-(limit - start) // delta))
    if count > 1 << 24:
        raise PlanError("a range of more than 16 million numbers")
    return constant(site.b, site[0].dtype, [start + i * delta for i in range(count)])


@lowers("constant_of_shape")
def _constant_of_shape(site: Site) -> Value:
    element = site[1]
    return filled(
        site.b, element.dtype, site.integers(0), bits_of(element.dtype, site.numbers(1)[0])
    )


@lowers("eye_like")
def _eye_like(site: Site) -> Value:
    """Ones on a diagonal: one region of one literal."""
    b, (rows, columns), k = site.b, site[0].shape, site.whole("k")
    dtype = site.whole("dtype") or site[0].dtype
    top, left = max(0, -k), max(0, k)
    count = max(0, min(rows - top, columns - left))
    one = b.literal(dtype, (), encoded(dtype, [1]))
    axes = ((count, 0, columns + 1),)
    return b.move(dtype, (rows, columns), [(one, 0, top * columns + left, axes)], 0)


@lowers("narrow")
def _narrow(site: Site) -> Value:
    """The first `count` places of an axis."""
    x = site[0]
    axis = axis_of(site.whole("axis"), len(x.shape))
    return cut(site.b, x, axis, 0, site.integer(1))
