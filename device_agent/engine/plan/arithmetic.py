"""Steps that compute: what lowerings are written in, with numpy's shapes.

Rules of this module:

- Both operands of a binary step have one dtype; a Python number takes the other's.
- 16-bit floats are computed in float32; integers that a step does not take are computed in a wider type and cut back.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from math import prod

from device_agent.engine.ops import Dtype
from device_agent.engine.plan.fold import FLOATS, encoded
from device_agent.engine.plan.ir import Builder, Number, Shape, Value
from device_agent.engine.plan.planned import PlanError
from device_agent.engine.plan.transforms import axis_of, concat, expand, reshape, transpose

HALVES = frozenset({Dtype.FLOAT16, Dtype.BFLOAT16})
SMALL = frozenset({Dtype.UINT8, Dtype.INT8, Dtype.INT16, Dtype.UINT16, Dtype.BOOL})

type Term = Value | Number


def word_of(number: float) -> int:
    """A float attribute as a plan's word: the bits of a double."""
    return int(struct.unpack("<q", struct.pack("<d", number))[0])


def constant(
    b: Builder, dtype: int, numbers: Sequence[Number], shape: Sequence[int] | None = None
) -> Value:
    """A literal; one axis by default."""
    sizes = (len(numbers),) if shape is None else tuple(shape)
    return b.literal(dtype, sizes, encoded(dtype, numbers))


def scalar(b: Builder, dtype: int, number: Number) -> Value:
    """A literal without axes."""
    return constant(b, dtype, [number], ())


def broadcast(a: Shape, b: Shape) -> Shape:
    """The shape of both together.

    Raises:
        PlanError: they do not match.
    """
    if a == b:
        return a
    longer, shorter = (a, b) if len(a) >= len(b) else (b, a)
    lead = len(longer) - len(shorter)
    out = list(longer)
    for i, n in enumerate(shorter, lead):
        if out[i] != n:
            if out[i] != 1 and n != 1:
                raise PlanError(f"shapes {a} and {b} do not broadcast together")
            out[i] = n if out[i] == 1 else out[i]
    return tuple(out)


def cast(b: Builder, x: Value, dtype: int) -> Value:
    """Another dtype; itself when it has it."""
    if x.dtype == dtype:
        return x
    return b.step("cast", [b.operand(x)], [(dtype, x.shape)], [int(dtype)])[0]


def _pair(b: Builder, x: Term, y: Term) -> tuple[Value, Value]:
    if isinstance(x, Value):
        return x, y if isinstance(y, Value) else scalar(b, x.dtype, y)
    assert isinstance(y, Value)
    return scalar(b, y.dtype, x), y


def binary(b: Builder, op: str, x: Term, y: Term) -> Value:
    """One of add, subtract, multiply, divide, maximum, minimum, power, remainder, ... with broadcasting."""
    p, q = _pair(b, x, y)
    if p.dtype != q.dtype:
        raise PlanError(f"{op} of {Dtype(p.dtype).name} and {Dtype(q.dtype).name}")
    if p.dtype in HALVES:
        made = binary(b, op, cast(b, p, Dtype.FLOAT32), cast(b, q, Dtype.FLOAT32))
        return cast(b, made, p.dtype)
    shape = broadcast(p.shape, q.shape)
    return b.step(op, [b.strided(p), b.strided(q)], [(p.dtype, shape)])[0]


def compare(b: Builder, op: str, x: Term, y: Term) -> Value:
    """equal, less or less_equal."""
    p, q = _pair(b, x, y)
    if p.dtype != q.dtype:
        raise PlanError(f"{op} of {Dtype(p.dtype).name} and {Dtype(q.dtype).name}")
    if p.dtype in HALVES:
        p, q = cast(b, p, Dtype.FLOAT32), cast(b, q, Dtype.FLOAT32)
    shape = broadcast(p.shape, q.shape)
    return b.step(op, [b.strided(p), b.strided(q)], [(Dtype.BOOL, shape)])[0]


def logical(b: Builder, op: str, x: Value, y: Value) -> Value:
    """logical_and, logical_or, logical_xor."""
    shape = broadcast(x.shape, y.shape)
    return b.step(op, [b.strided(x), b.strided(y)], [(Dtype.BOOL, shape)])[0]


def invert(b: Builder, x: Value) -> Value:
    """not x."""
    return b.step("logical_not", [b.operand(x)], [(Dtype.BOOL, x.shape)])[0]


def where(b: Builder, condition: Value, x: Term, y: Term) -> Value:
    """x where the condition holds, else y."""
    p, q = _pair(b, x, y)
    if p.dtype != q.dtype:
        raise PlanError(f"where of {Dtype(p.dtype).name} and {Dtype(q.dtype).name}")
    shape = broadcast(condition.shape, broadcast(p.shape, q.shape))
    operands = [b.strided(condition), b.strided(p), b.strided(q)]
    return b.step("where", operands, [(p.dtype, shape)])[0]


def unary(b: Builder, op: str, x: Value, attributes: Sequence[int] = ()) -> Value:
    """A function of one number."""
    if x.dtype in HALVES:
        return cast(b, unary(b, op, cast(b, x, Dtype.FLOAT32), attributes), x.dtype)
    return b.step(op, [b.operand(x)], [(x.dtype, x.shape)], attributes)[0]


def asked(b: Builder, op: str, x: Value, attributes: Sequence[int] = ()) -> Value:
    """is_nan or is_inf."""
    if x.dtype in HALVES:
        x = cast(b, x, Dtype.FLOAT32)
    return b.step(op, [b.operand(x)], [(Dtype.BOOL, x.shape)], attributes)[0]


def clip(b: Builder, x: Value, low: float, high: float) -> Value:
    """x, at least low and at most high."""
    return unary(b, "clip", x, [word_of(low), word_of(high)])


# --- many to one -----------------------------------------------------------------------------------------------------


def reduced_shape(shape: Shape, axes: Sequence[int], keep: bool) -> Shape:
    """What is left of a shape."""
    gone = set(axes)
    if keep:
        return tuple(1 if i in gone else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in gone)


def reduce(b: Builder, op: str, x: Value, axes: Sequence[int], *, keep: bool = True) -> Value:
    """reduce_sum, reduce_mean, reduce_max, reduce_min or reduce_product over axes."""
    axes = sorted(axis_of(axis, len(x.shape)) for axis in axes)
    if not axes:
        return x
    if x.dtype in HALVES:
        return cast(b, reduce(b, op, cast(b, x, Dtype.FLOAT32), axes, keep=keep), x.dtype)
    if x.dtype in SMALL:
        return cast(b, reduce(b, op, cast(b, x, Dtype.INT32), axes, keep=keep), x.dtype)
    if op == "reduce_mean" and x.dtype not in FLOATS:
        count = prod(x.shape[axis] for axis in axes)
        return binary(b, "divide", reduce(b, "reduce_sum", x, axes, keep=keep), count)
    shape = reduced_shape(x.shape, axes, keep)
    return b.step(op, [b.operand(x)], [(x.dtype, shape)], [int(keep), *axes])[0]


def arg(b: Builder, op: str, x: Value, axis: int, *, keep: bool = True) -> Value:
    """argmax or argmin: int64."""
    if x.dtype in HALVES:
        x = cast(b, x, Dtype.FLOAT32)
    axis = axis_of(axis, len(x.shape))
    shape = reduced_shape(x.shape, [axis], keep)
    return b.step(op, [b.operand(x)], [(Dtype.INT64, shape)], [axis, int(keep)])[0]


def softmax(b: Builder, x: Value, axis: int) -> Value:
    """exp(x) over its sum along an axis."""
    axis = axis_of(axis, len(x.shape))
    if x.dtype in HALVES:
        return cast(b, softmax(b, cast(b, x, Dtype.FLOAT32), axis), x.dtype)
    if x.dtype == Dtype.FLOAT32:
        return b.step("softmax", [b.operand(x)], [(x.dtype, x.shape)], [axis])[0]
    shifted = binary(b, "subtract", x, reduce(b, "reduce_max", x, [axis]))
    powers = unary(b, "exp", shifted)
    return binary(b, "divide", powers, reduce(b, "reduce_sum", powers, [axis]))


# --- products --------------------------------------------------------------------------------------------------------


def matmul(b: Builder, x: Value, y: Value) -> Value:
    """Matrix product with numpy's rules for one axis and for leading ones."""
    if x.dtype != y.dtype:
        raise PlanError(f"matmul of {Dtype(x.dtype).name} and {Dtype(y.dtype).name}")
    if not x.shape or not y.shape:
        raise PlanError("matmul needs at least one axis")
    if x.dtype in HALVES:
        made = matmul(b, cast(b, x, Dtype.FLOAT32), cast(b, y, Dtype.FLOAT32))
        return cast(b, made, x.dtype)
    if x.dtype in SMALL:
        raise PlanError(f"matmul of {Dtype(x.dtype).name}")
    if len(y.shape) == 1:
        made = matmul(b, x, reshape(b, y, (*y.shape, 1)))
        return reshape(b, made, made.shape[:-1])
    if len(x.shape) == 1:
        made = matmul(b, reshape(b, x, (1, *x.shape)), y)
        return reshape(b, made, (*made.shape[:-2], made.shape[-1]))
    if x.shape[-1] != y.shape[-2]:
        raise PlanError(f"matmul of {x.shape} and {y.shape}: the inner axes differ")
    shape = (*broadcast(x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-1])
    operands = [b.strided(x, rows=True), b.strided(y, rows=True)]
    return b.step("matmul", operands, [(x.dtype, shape)])[0]


def swap_last(b: Builder, x: Value) -> Value:
    """The last two axes exchanged."""
    rank = len(x.shape)
    return transpose(b, x, [*range(rank - 2), rank - 1, rank - 2])


# --- by indices ------------------------------------------------------------------------------------------------------


def take(b: Builder, x: Value, indices: Value, axis: int) -> Value:
    """The slices of x at int64 indices of an axis."""
    axis = axis_of(axis, len(x.shape))
    shape = x.shape[:axis] + indices.shape + x.shape[axis + 1 :]
    operands = [b.operand(x), b.operand(cast(b, indices, Dtype.INT64))]
    return b.step("take", operands, [(x.dtype, shape)], [axis])[0]


def stack(b: Builder, parts: Sequence[Value], axis: int) -> Value:
    """Values side by side along a new axis."""
    rank = len(parts[0].shape) + 1
    axis = axis_of(axis, rank)
    grown = [reshape(b, p, (*p.shape[:axis], 1, *p.shape[axis:])) for p in parts]
    return concat(b, grown, axis)


def chain(b: Builder, op: str, terms: Sequence[Value]) -> Value:
    """A binary step over any number of operands."""
    total = terms[0]
    for term in terms[1:]:
        total = binary(b, op, total, term)
    return total


def over_axis(b: Builder, x: Value, axis: int, function: Callable[[Value], Value]) -> Value:
    """A function of the last axis, applied to another one."""
    rank = len(x.shape)
    axis = axis_of(axis, rank)
    perm = [i for i in range(rank) if i != axis] + [axis]
    back = [perm.index(i) for i in range(rank)]
    return transpose(b, function(transpose(b, x, perm)), back)


def broadcast_all(b: Builder, values: Sequence[Value]) -> list[Value]:
    """All in the shape of all together."""
    shape: Shape = ()
    for value in values:
        shape = broadcast(shape, value.shape)
    return [expand(b, value, shape) for value in values]
