"""Gradients of movement: what was read from somewhere is added up there again.

Rules of this module:

- The gradient of a region is the region with its two views swapped (Walle, "Compute container"): a raster moves it
  back.
- An element that was read several times gets a sum: axes that repeat it (stride 0) are summed first, and views that
  overlap otherwise are moved back one index of an axis at a time.
- Elements that nobody read get zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from device_agent.engine.plan.arithmetic import binary, reduce
from device_agent.engine.plan.ir import Builder, Operand, Shape, Step, Value
from device_agent.engine.plan.region import strides_of
from device_agent.engine.plan.transforms import cut, reshape

_REGION_WORDS = 12


def seen(b: Builder, operand: Operand) -> Value:
    """An operand as a value of its own shape."""
    base, dtype, shape, shift, strides = operand
    if shift == 0 and base.size == prod(shape) and strides == strides_of(shape):
        return reshape(b, base, shape)
    return _read(b, base, dtype, shape, shift, strides)


def _read(
    b: Builder, base: Value, dtype: int, shape: Shape, start: int, strides: Sequence[int]
) -> Value:
    rows = zip(shape, strides, strides_of(shape), strict=True)
    return b.move(dtype, shape, [(base, start, 0, tuple(rows))])


def returned(b: Builder, gradient: Value, operand: Operand) -> Value:
    """The gradient of an operand's memory, flat, from that of the operand."""
    base, _, shape, shift, strides = operand
    return _put_back(b, gradient, base.size, shift, tuple(zip(shape, strides, strict=True)))


def raster_gradients(b: Builder, step: Step, gradient: Value) -> list[Value | None]:
    """The gradients of a raster's inputs, flat, from that of its result."""
    words = step.attributes
    parts: list[list[Value]] = [[] for _ in step.operands]
    flat = reshape(b, gradient, (gradient.size,))
    for at in range(3, len(words), _REGION_WORDS):
        place, soff, s0, s1, s2, doff, d0, d1, d2, *sizes = words[at : at + _REGION_WORDS]
        part = _read(b, flat, gradient.dtype, tuple(sizes), doff, (d0, d1, d2))
        views = tuple(zip(sizes, (s0, s1, s2), strict=True))
        parts[place].append(_put_back(b, part, step.operands[place][0].size, soff, views))
    return [total(b, of_one) if of_one else None for of_one in parts]


def total(b: Builder, parts: Sequence[Value]) -> Value:
    """The sum of at least one value."""
    out = parts[0]
    for part in parts[1:]:
        out = binary(b, "add", out, part)
    return out


def _put_back(
    b: Builder, gradient: Value, size: int, start: int, views: tuple[tuple[int, int], ...]
) -> Value:
    """A flat value of `size` elements that holds the gradient's at start + sum(i * stride), and zero elsewhere.

    Args:
        gradient: Of the shape that the views' sizes are.
        views: (size, stride) of each axis.
    """
    repeated = [i for i, (n, stride) in enumerate(views) if stride == 0 and n > 1]
    if repeated:
        gradient = reduce(b, "reduce_sum", gradient, repeated)
        views = tuple((1, 0) if i in repeated else view for i, view in enumerate(views))
    crossing = _crossing(views)
    if crossing is not None:
        n, stride = views[crossing]
        rest = (*views[:crossing], (1, 0), *views[crossing + 1 :])
        return total(
            b,
            [
                _put_back(b, cut(b, gradient, crossing, i, 1), size, start + i * stride, rest)
                for i in range(n)
            ],
        )
    axes = tuple(
        (n, source, stride)
        for (n, stride), source in zip(views, strides_of(gradient.shape), strict=True)
    )
    whole = prod(n for n, _ in views) == size
    return b.move(gradient.dtype, (size,), [(gradient, 0, start, axes)], None if whole else 0)


def _crossing(views: tuple[tuple[int, int], ...]) -> int | None:
    """An axis whose steps may land where other axes have been; None when every element has a place of its own."""
    real = sorted((abs(stride), n, i) for i, (n, stride) in enumerate(views) if n > 1)
    reach = 0
    for stride, n, i in real:
        if stride <= reach:
            return i
        reach += stride * (n - 1)
    return None
