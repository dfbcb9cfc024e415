"""Transforms: each gives a virtual value, regions over what it was given.

Rules of this module:

- Shapes and places are numbers by now; what an operator's inputs say was read before.
- Axes may be negative; `axis_of` refuses what is outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import prod

from device_agent.engine.plan.ir import Builder, Given, Shape, Value
from device_agent.engine.plan.planned import PlanError
from device_agent.engine.plan.region import strides_of
from device_agent.engine.settings import PLAN_LIMITS


def axis_of(axis: int, rank: int) -> int:
    """The axis from the front.

    Raises:
        PlanError: there is none.
    """
    if not -rank <= axis < rank:
        raise PlanError(f"there is no axis {axis} in a tensor of {rank} axes")
    return axis % rank


def _counted(b: Builder) -> None:
    b.moves += 1


def reshape(b: Builder, x: Value, shape: Sequence[int]) -> Value:
    """The same elements in another shape; never moves any."""
    shape = tuple(shape)
    if shape == x.shape:
        return x
    if prod(shape) != x.size:
        raise PlanError(f"shape {x.shape} does not reshape to {shape}")
    return b.move(x.dtype, shape, [(x, 0, 0, ((x.size, 1, 1),))])


def reinterpret(b: Builder, x: Value, dtype: int) -> Value:
    """The same bits as elements of another dtype of the same size."""
    return b.move(dtype, x.shape, [(x, 0, 0, ((x.size, 1, 1),))])


def transpose(b: Builder, x: Value, perm: Sequence[int]) -> Value:
    """Axes in another order."""
    perm = [axis_of(axis, len(x.shape)) for axis in perm]
    if sorted(perm) != list(range(len(x.shape))):
        raise PlanError(f"{tuple(perm)} does not name each axis of {x.shape} once")
    if perm == list(range(len(perm))):
        return x
    _counted(b)
    shape = tuple(x.shape[axis] for axis in perm)
    strides = strides_of(x.shape)
    axes = [
        (n, strides[axis], out) for n, axis, out in zip(shape, perm, strides_of(shape), strict=True)
    ]
    return b.move(x.dtype, shape, [(x, 0, 0, axes)])


def take_slice(
    b: Builder, x: Value, starts: Sequence[int], counts: Sequence[int], steps: Sequence[int]
) -> Value:
    """`counts` elements of each axis from `starts` on, `steps` apart; all inside."""
    shape = tuple(counts)
    if shape == x.shape and all(step == 1 for step in steps):
        return x
    _counted(b)
    strides = strides_of(x.shape)
    offset = sum(start * stride for start, stride in zip(starts, strides, strict=True))
    axes = [
        (n, stride * step, out)
        for n, stride, step, out in zip(shape, strides, steps, strides_of(shape), strict=True)
    ]
    return b.move(x.dtype, shape, [(x, offset, 0, axes)])


def cut(b: Builder, x: Value, axis: int, start: int, count: int, step: int = 1) -> Value:
    """A slice of one axis."""
    rank = len(x.shape)
    starts, counts, steps = [0] * rank, list(x.shape), [1] * rank
    starts[axis], counts[axis], steps[axis] = start, count, step
    return take_slice(b, x, starts, counts, steps)


def flip(b: Builder, x: Value, axis: int) -> Value:
    """An axis the other way round."""
    return cut(b, x, axis, max(0, x.shape[axis] - 1), x.shape[axis], -1)


def concat(b: Builder, parts: Sequence[Value], axis: int) -> Value:
    """Values one after the other along an axis."""
    first = parts[0]
    axis = axis_of(axis, len(first.shape))
    if len(parts) == 1:
        return first
    _counted(b)
    for part in parts:
        same = part.dtype == first.dtype and len(part.shape) == len(first.shape)
        if not same or part.shape[:axis] + part.shape[axis + 1 :] != (
            first.shape[:axis] + first.shape[axis + 1 :]
        ):
            raise PlanError(f"{part.shape} and {first.shape} do not concatenate on axis {axis}")
    ends = list(accumulate(part.shape[axis] for part in parts))
    shape = (*first.shape[:axis], ends[-1], *first.shape[axis + 1 :])
    out = strides_of(shape)
    before, block = prod(shape[:axis]), out[axis]
    given: list[Given] = []
    for part, end in zip(parts, ends, strict=True):
        width = part.shape[axis] * block
        axes = ((before, width, shape[axis] * block), (width, 1, 1))
        given.append((part, 0, end * block - width, axes))
    return b.move(first.dtype, shape, given)


def split(b: Builder, x: Value, axis: int, sizes: Sequence[int]) -> list[Value]:
    """Parts of an axis."""
    axis = axis_of(axis, len(x.shape))
    if sum(sizes) != x.shape[axis] or any(size < 0 for size in sizes):
        raise PlanError(f"axis {axis} of {x.shape} does not split into {tuple(sizes)}")
    starts = [0, *accumulate(sizes)]
    return [cut(b, x, axis, start, size) for start, size in zip(starts, sizes, strict=False)]


def expand(b: Builder, x: Value, shape: Sequence[int]) -> Value:
    """Repeated as numpy broadcasts; `shape` is the result's."""
    shape = tuple(shape)
    if shape == x.shape:
        return x
    _counted(b)
    lead = len(shape) - len(x.shape)
    sizes = (1,) * lead + x.shape
    if lead < 0 or any(have not in (1, n) for have, n in zip(sizes, shape, strict=True)):
        raise PlanError(f"shape {x.shape} does not broadcast to {shape}")
    axes = [
        (n, 0 if have == 1 else stride, out)
        for n, have, stride, out in zip(
            shape, sizes, strides_of(sizes), strides_of(shape), strict=True
        )
    ]
    return b.move(x.dtype, shape, [(x, 0, 0, axes)])


def tile(b: Builder, x: Value, repeats: Sequence[int]) -> Value:
    """Each axis again and again."""
    if len(repeats) != len(x.shape):
        raise PlanError(f"tile of {x.shape} takes a number an axis, not {tuple(repeats)}")
    _counted(b)
    shape = tuple(n * times for n, times in zip(x.shape, repeats, strict=True))
    axes = []
    rows = zip(x.shape, repeats, strides_of(x.shape), strides_of(shape), strict=True)
    for n, times, stride, out in rows:
        axes += [(times, 0, n * out), (n, stride, out)]
    return b.move(x.dtype, shape, [(x, 0, 0, axes)])


def repeat(b: Builder, x: Value, axis: int, times: int) -> Value:
    """Each element of an axis `times` times, one beside the other."""
    _counted(b)
    n, block = x.shape[axis], prod(x.shape[axis + 1 :])
    shape = (*x.shape[:axis], n * times, *x.shape[axis + 1 :])
    axes = (
        (prod(x.shape[:axis]), n * block, n * times * block),
        (n, block, times * block),
        (times, 0, block),
        (block, 1, 1),
    )
    return b.move(x.dtype, shape, [(x, 0, 0, axes)])


def pad_with(b: Builder, x: Value, pads: Sequence[tuple[int, int]], fill: int = 0) -> Value:
    """Elements of bits `fill` around; negative pads cut."""
    keep = [(max(0, -low), max(0, -high)) for low, high in pads]
    counts = [n - low - high for n, (low, high) in zip(x.shape, keep, strict=True)]
    if any(n < 0 for n in counts):
        raise PlanError(f"pads {tuple(pads)} cut more than {x.shape} has")
    x = take_slice(b, x, [low for low, _ in keep], counts, [1] * len(counts))
    more = [(max(0, low), max(0, high)) for low, high in pads]
    shape = tuple(n + low + high for n, (low, high) in zip(x.shape, more, strict=True))
    if shape == x.shape:
        return x
    return place(b, x, shape, [low for low, _ in more], [1] * len(shape), fill)


def place(
    b: Builder, x: Value, shape: Shape, starts: Sequence[int], steps: Sequence[int], fill: int = 0
) -> Value:
    """x inside a bigger value, its elements `steps` apart; all else has bits `fill`."""
    _counted(b)
    out = strides_of(shape)
    offset = sum(start * stride for start, stride in zip(starts, out, strict=True))
    axes = [
        (n, stride, step * to)
        for n, stride, step, to in zip(x.shape, strides_of(x.shape), steps, out, strict=True)
    ]
    return b.move(x.dtype, shape, [(x, 0, offset, axes)], fill)


def pad_by(b: Builder, x: Value, axis: int, low: int, high: int, mode: str) -> Value:
    """An axis with more of itself at its ends: `edge`, `reflect` or `wrap`."""
    if low + high > PLAN_LIMITS.pads_max:
        raise PlanError(f"a pad of {low} and {high} elements by mode {mode} is too long")
    n = x.shape[axis]
    if (low or high) and n == 0:
        raise PlanError("an empty axis cannot be padded with itself")
    places = [_source(i, n, mode) for i in range(-low, n + high)]
    return pick(b, x, axis, places)


def _source(i: int, n: int, mode: str) -> int:
    if mode == "edge":
        return min(max(i, 0), n - 1)
    if mode == "wrap":
        return i % n
    if n == 1:
        return 0
    i %= 2 * (n - 1)
    return i if i < n else 2 * (n - 1) - i


def pick(b: Builder, x: Value, axis: int, places: Sequence[int]) -> Value:
    """Elements of an axis by place: a region for each run of places a step apart."""
    _counted(b)
    shape = (*x.shape[:axis], len(places), *x.shape[axis + 1 :])
    block, out = prod(x.shape[axis + 1 :]), prod(shape[axis:])
    before = prod(x.shape[:axis])
    given: list[Given] = []
    for at, start, count, step in runs(places):
        axes = (
            (before, x.shape[axis] * block, out),
            (count, step * block, block),
            (block, 1, 1),
        )
        given.append((x, start * block, at * block, axes))
    return b.move(x.dtype, shape, given)


def runs(places: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Places as (position, first place, how many, step) of runs with one step."""
    out, at = [], 0
    while at < len(places):
        step = places[at + 1] - places[at] if at + 1 < len(places) else 1
        end = at + 1
        while end < len(places) and places[end] - places[end - 1] == step:
            end += 1
        out.append((at, places[at], end - at, step))
        at = end
    return out


def fold_blocks(b: Builder, x: Value, shape: Shape, perm: Sequence[int], result: Shape) -> Value:
    """Reshape, transpose, reshape: space to depth and its kin."""
    return reshape(b, transpose(b, reshape(b, x, shape), perm), result)


def filled(b: Builder, dtype: int, shape: Shape, bits: int) -> Value:
    """One element again and again."""
    return b.move(dtype, shape, [], bits)
