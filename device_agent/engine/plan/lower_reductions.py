"""Operators that make one number of many, and those along one axis."""

from __future__ import annotations

from device_agent.engine.ops import Dtype
from device_agent.engine.plan.arithmetic import (
    HALVES,
    SMALL,
    arg,
    binary,
    cast,
    compare,
    constant,
    reduce,
    reduced_shape,
    softmax,
    unary,
)
from device_agent.engine.plan.context import Site, lowers
from device_agent.engine.plan.fold import bits_of
from device_agent.engine.plan.ir import Builder, Value
from device_agent.engine.plan.transforms import (
    axis_of,
    concat,
    cut,
    filled,
    flip,
    reshape,
)


def _axes(site: Site) -> list[int]:
    """The axes that are reduced: all when none is named, unless that means none."""
    rank = len(site[0].shape)
    axes = site.integers(1) if site.maybe(1) is not None else ()
    if not axes and not site.whole("noop_with_empty_axes"):
        return list(range(rank))
    return [axis_of(axis, rank) for axis in axes]


_LEAST = {
    Dtype.FLOAT32: float("-inf"), Dtype.FLOAT64: float("-inf"), Dtype.FLOAT16: float("-inf"),
    Dtype.BFLOAT16: float("-inf"),
    Dtype.INT32: -(2**31), Dtype.INT64: -(2**63), Dtype.INT8: -128, Dtype.INT16: -(2**15),
}  # fmt: skip
_MOST = {
    Dtype.FLOAT32: float("inf"), Dtype.FLOAT64: float("inf"), Dtype.FLOAT16: float("inf"), Dtype.BFLOAT16: float("inf"),
    Dtype.INT32: 2**31 - 1, Dtype.INT64: 2**63 - 1, Dtype.INT8: 127, Dtype.INT16: 2**15 - 1, Dtype.UINT8: 255,
    Dtype.UINT16: 2**16 - 1, Dtype.UINT32: 2**32 - 1, Dtype.UINT64: 2**64 - 1, Dtype.BOOL: True,
}  # fmt: skip


@lowers("reduce_sum", "reduce_mean", "reduce_max", "reduce_min", "reduce_prod")
def _reduce(site: Site) -> Value:
    b, x, axes, keep = site.b, site[0], _axes(site), bool(site.whole("keepdims"))
    op = site.operator.op
    if op in ("reduce_max", "reduce_min") and axes and x.size == 0:
        bounds = _LEAST if op == "reduce_max" else _MOST
        bits = bits_of(x.dtype, bounds.get(Dtype(x.dtype), 0))
        return filled(b, x.dtype, reduced_shape(x.shape, axes, keep), bits)
    return reduce(b, {"reduce_prod": "reduce_product"}.get(op, op), x, axes, keep=keep)


@lowers("reduce_l1", "reduce_l2", "reduce_log_sum", "reduce_sum_square")
def _reduce_of(site: Site) -> Value:
    b, x, axes, keep = site.b, site[0], _axes(site), bool(site.whole("keepdims"))
    op = site.operator.op
    x = cast(b, x, Dtype.FLOAT32) if x.dtype in HALVES else x
    if op == "reduce_l1":
        x = unary(b, "absolute", x)
    elif op in ("reduce_l2", "reduce_sum_square"):
        x = binary(b, "multiply", x, x)
    made = reduce(b, "reduce_sum", x, axes, keep=keep)
    if op == "reduce_l2":
        made = _in_float(b, "sqrt", made)
    elif op == "reduce_log_sum":
        made = _in_float(b, "logarithm", made)
    return cast(b, made, site[0].dtype)


def _in_float(b: Builder, op: str, x: Value) -> Value:
    """A function of floats over what may be integers."""
    floats = x.dtype in (Dtype.FLOAT32, Dtype.FLOAT64)
    return unary(b, op, x if floats else cast(b, x, Dtype.FLOAT64))


@lowers("reduce_log_sum_exp")
def _reduce_log_sum_exp(site: Site) -> Value:
    """max + log(sum(e^(x - max))): nothing overflows. Of nothing it is the logarithm of 0."""
    b, x, axes, keep = site.b, site[0], _axes(site), bool(site.whole("keepdims"))
    wide = cast(b, x, Dtype.FLOAT32) if x.dtype in HALVES else x
    wide = wide if wide.dtype in (Dtype.FLOAT32, Dtype.FLOAT64) else cast(b, x, Dtype.FLOAT64)
    if x.size == 0:
        return cast(
            b, unary(b, "logarithm", reduce(b, "reduce_sum", wide, axes, keep=keep)), x.dtype
        )
    most = reduce(b, "reduce_max", wide, axes)
    powers = unary(b, "exp", binary(b, "subtract", wide, most))
    made = binary(b, "add", unary(b, "logarithm", reduce(b, "reduce_sum", powers, axes)), most)
    return cast(b, reshape(b, made, reduced_shape(x.shape, axes, keep)), x.dtype)


@lowers("arg_max", "arg_min")
def _arg(site: Site) -> Value:
    """The last of equals is the first from behind."""
    b, x = site.b, site[0]
    op, keep = site.operator.op.replace("_", ""), bool(site.whole("keepdims"))
    axis = axis_of(site.whole("axis"), len(x.shape))
    if not site.whole("select_last_index"):
        return arg(b, op, x, axis, keep=keep)
    from_behind = arg(b, op, flip(b, x, axis), axis, keep=keep)
    return binary(b, "subtract", x.shape[axis] - 1, from_behind)


@lowers("softmax")
def _softmax(site: Site) -> Value:
    return softmax(site.b, site[0], site.whole("axis"))


@lowers("log_softmax")
def _log_softmax(site: Site) -> Value:
    b, axis = site.b, site.whole("axis")
    x = cast(b, site[0], Dtype.FLOAT32) if site[0].dtype in HALVES else site[0]
    shifted = binary(b, "subtract", x, reduce(b, "reduce_max", x, [axis]))
    total = reduce(b, "reduce_sum", unary(b, "exp", shifted), [axis])
    return cast(b, binary(b, "subtract", shifted, unary(b, "logarithm", total)), site[0].dtype)


@lowers("hardmax")
def _hardmax(site: Site) -> Value:
    """1 at the first of the largest, else 0."""
    b, x = site.b, site[0]
    axis = axis_of(site.whole("axis"), len(x.shape))
    n = x.shape[axis]
    shape = [n if i == axis else 1 for i in range(len(x.shape))]
    places = constant(b, Dtype.INT64, range(n), shape)
    hit = compare(b, "equal", places, arg(b, "argmax", x, axis))
    return cast(b, hit, x.dtype)


@lowers("cum_sum", "cum_prod")
def _cumulative(site: Site) -> Value:
    b, x, axis = site.b, site[0], axis_of(site.integer(1), len(site[0].shape))
    product = site.operator.op == "cum_prod"
    op = "cumulative_product" if product else "cumulative_sum"
    wide = Dtype.FLOAT32 if x.dtype in HALVES else Dtype.INT32 if x.dtype in SMALL else x.dtype
    made = cast(b, x, wide)
    if site.whole("reverse"):
        made = flip(b, made, axis)
    made = b.step(op, [b.operand(made)], [(wide, x.shape)], [axis])[0]
    if site.whole("exclusive") and x.shape[axis]:
        shape = tuple(1 if i == axis else n for i, n in enumerate(x.shape))
        first = filled(b, wide, shape, bits_of(wide, int(product)))
        made = concat(b, [first, cut(b, made, axis, 0, x.shape[axis] - 1)], axis)
    return cast(b, flip(b, made, axis) if site.whole("reverse") else made, x.dtype)


@lowers("top_k")
def _top_k(site: Site) -> list[Value]:
    b, x = site.b, site[0]
    axis, k = axis_of(site.whole("axis"), len(x.shape)), site.integer(1)
    wide = cast(b, x, Dtype.FLOAT32) if x.dtype in HALVES else x
    shape = tuple(k if i == axis else n for i, n in enumerate(x.shape))
    outputs = [(wide.dtype, shape), (Dtype.INT64, shape)]
    words = [axis, k, site.whole("largest")]
    values, places = b.step("top_k", [b.operand(wide)], outputs, words)
    return [cast(b, values, x.dtype), places]


@lowers("det")
def _det(site: Site) -> Value:
    x = site[0]
    return site.b.step("determinant", [site.b.operand(x)], [(x.dtype, x.shape[:-2])])[0]
