"""Finds attention among steps: softmax(Q @ K * scale + mask) @ V, as exporters spell it out.

Rules of this module:

- Nobody else reads what lies between. A transposition of the result that one raster makes is taken along: the kernel
  writes each row where it belongs.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from device_agent.engine.plan.fuse import Readers, is_float, scalar_of, whole
from device_agent.engine.plan.ir import Operand, Shape, Step, Value, spread, stride_at
from device_agent.engine.plan.matrices import batched, joined
from device_agent.engine.plan.region import Axes

_REGION = 12  # words of one in a raster, as native/session/plan.h has them


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """What attends to what.

    Attributes:
        heads: How many there are, in two axes.
        queries: (heads, m, k).
        keys: (heads, k, n).
        values: (heads, n, width).
        mask: Added to the scores, (*heads, m, n), or None.
        scale: Of the scores.
        out: What holds the result.
        steps: Elements from one to the next of either axis of heads, and from row to row, in the result.
        parts: The steps that say so, in order.
    """

    heads: tuple[int, int]
    queries: Operand
    keys: Operand
    values: Operand
    mask: Operand | None
    scale: float
    out: Value
    steps: tuple[int, int, int]
    parts: tuple[Step, ...]


def attention_from(scores: Step, readers: Readers) -> Attention | None:
    """The attention whose scores a product makes."""
    a, b = scores.operands
    scale, parts = scaled(scores, readers)
    mask: Operand | None = None
    follower = readers.only(parts[-1].outputs[0])
    if follower is not None and follower.op == "add" and is_float(follower):
        mask = _other(follower, parts[-1].outputs[0])
        if mask is None:
            return None
        parts.append(follower)
        follower = readers.only(follower.outputs[0])
    made = parts[-1].outputs[0]
    if follower is None or not _is_softmax(follower, made):
        return None
    last = readers.only(follower.outputs[0])
    if last is None or last.op != "matmul" or not whole(last.operands[0], follower.outputs[0]):
        return None
    v = last.operands[1]
    if last.operands[0][2] != made.shape or v[2][:-2] != made.shape[:-2] or not is_float(last):
        return None
    parts += [follower, last]
    queries, keys, values = batched(a), batched(b), batched(v)
    heads, spread_mask = _heads(mask, made.shape)
    if queries is None or keys is None or values is None or heads is None:
        return None
    out, steps = _placed(last, heads, readers, parts)
    return Attention(
        heads=heads, queries=queries, keys=keys, values=values, mask=spread_mask, scale=scale, out=out,
        steps=steps, parts=tuple(parts),
    )  # fmt: skip


def scaled(product: Step, readers: Readers) -> tuple[float, list[Step]]:
    """The number that a product is multiplied with behind it, and the steps of both."""
    out = product.outputs[0]
    step = readers.only(out)
    if step is None or step.op not in ("multiply", "divide") or not is_float(step):
        return 1.0, [product]
    if step.outputs[0].shape != out.shape or not whole(step.operands[0], out):
        return 1.0, [product]
    number = scalar_of(step.operands[1])
    if number is None or (step.op == "divide" and number == 0):
        return 1.0, [product]
    return (number if step.op == "multiply" else 1.0 / number), [product, step]


def _other(step: Step, value: Value) -> Operand | None:
    """The operand that is not the value, which keeps its shape."""
    if step.outputs[0].shape != value.shape:
        return None
    for mine, other in (step.operands, step.operands[::-1]):
        if whole(mine, value) and mine[2] == value.shape and other[0] is not value:
            return other
    return None


def _is_softmax(step: Step, value: Value) -> bool:
    rank = len(value.shape)
    last = step.op == "softmax" and step.attributes[0] in (-1, rank - 1)
    return last and is_float(step) and whole(step.operands[0], value)


def _heads(mask: Operand | None, shape: Shape) -> tuple[tuple[int, int] | None, Operand | None]:
    """How heads lie in two axes, and the mask along them."""
    if mask is None:
        return (1, prod(shape[:-2])), None
    strides = spread(mask, shape)
    lead = [(1, 0), (1, 0), *joined(shape[:-2], strides[:-2])]
    if len(lead) > 4 or strides[-1] not in (0, 1) or min(strides) < 0:
        return None, None
    (outer, outer_step), (inner, inner_step) = lead[-2:]
    value, dtype, _, shift, _ = mask
    sizes = (outer, inner, *shape[-2:])
    return (outer, inner), (value, dtype, sizes, shift, (outer_step, inner_step, *strides[-2:]))


def _placed(
    last: Step, heads: tuple[int, int], readers: Readers, parts: list[Step]
) -> tuple[Value, tuple[int, int, int]]:
    """What holds the result, and its steps: a raster's if one moves it as a whole, which becomes a part."""
    out = last.outputs[0]
    m, width = out.shape[-2:]
    inner = (heads[1] * m * width, m * width, width)
    raster = readers.only(out)
    if raster is None or raster.op != "raster" or raster.outputs[0].size != out.size:
        return out, inner
    words = raster.attributes
    if words[0] or words[2] != 1 or not whole(raster.operands[0], out):
        return out, inner
    _, source, *rest = words[3 : 3 + _REGION]
    froms, to, tos, sizes = rest[:3], rest[3], rest[4:7], rest[7:10]
    if source or to or prod(sizes) != out.size:
        return out, inner
    axes: Axes = tuple(zip(sizes, tos, froms, strict=True))
    found = [stride_at(axes, n, s) for n, s in zip((*heads, m, width), (*inner, 1), strict=True)]
    outer_step, inner_step, row, column = found
    if outer_step is None or inner_step is None or row is None:
        return out, inner
    if column != 1 and width > 1:
        return out, inner
    parts.append(raster)
    return raster.outputs[0], (outer_step, inner_step, row)
