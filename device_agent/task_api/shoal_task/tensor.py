# ruff: noqa: A001, A004 - a face: tasks write tensor.max(x)
"""Arrays of numbers: the engine's tensors and operators, by the names of the array API standard.

Tensors never change; operators return new ones. Elements are float32, int32, int64 or uint8; a function of the standard
that is not here needs an operator that the engine does not have. docs/reference/guest.md lists what is.
"""

from device_agent.engine import _core
from device_agent.engine._core import (
    Tensor,
    add,
    argmax,
    clip,
    concat,
    divide,
    exp,
    frombuffer,
    full,
    gemm,
    matmul,
    max,
    maximum,
    mean,
    min,
    minimum,
    multiply,
    negative,
    pow,
    relu,
    sigmoid,
    softmax,
    sqrt,
    subtract,
    sum,
    tanh,
    tensor,
    where,
    zeros,
)

TYPE_CHECKING = False  # not from typing: its import would double the time that a VM takes to load
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Tensor",
    "abs",
    "add",
    "all",
    "any",
    "arange",
    "argmax",
    "argsort",
    "asarray",
    "ceil",
    "clip",
    "concat",
    "cos",
    "cumulative_sum",
    "divide",
    "equal",
    "exp",
    "expand_dims",
    "flip",
    "floor",
    "frombuffer",
    "full",
    "gemm",
    "greater",
    "greater_equal",
    "less",
    "less_equal",
    "linspace",
    "log",
    "log1p",
    "logical_and",
    "logical_not",
    "logical_or",
    "matmul",
    "max",
    "maximum",
    "mean",
    "min",
    "minimum",
    "multiply",
    "negative",
    "not_equal",
    "ones",
    "permute_dims",
    "pow",
    "relu",
    "reshape",
    "round",
    "sigmoid",
    "sin",
    "softmax",
    "sort",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "subtract",
    "sum",
    "take",
    "tanh",
    "tensor",
    "var",
    "where",
    "zeros",
]


def asarray(data: "Tensor | float | Sequence[object]", dtype: str = "float32") -> Tensor:
    """A tensor of nested lists of numbers, or the tensor itself in that dtype."""
    if isinstance(data, Tensor):
        return data.astype(dtype)  # type: ignore[arg-type]  # the engine names a dtype that it does not have
    return tensor(data, dtype)  # type: ignore[arg-type]  # as above


def ones(shape: "int | Sequence[int]", dtype: str = "float32") -> Tensor:
    """All ones."""
    return full(shape, 1, dtype)  # type: ignore[arg-type]  # as above


def arange(start: float, stop: float | None = None, step: float = 1) -> Tensor:
    """start, start + step, … before stop, as float32; with one number, from 0 to it."""
    if stop is None:
        start, stop = 0, start
    count = int(-((start - stop) // step)) if step else 0
    if not step:
        raise ValueError("step is 0; the numbers would never reach stop")
    return tensor([start + step * number for number in range(count)] if count > 0 else [])


def linspace(start: float, stop: float, num: int, *, endpoint: bool = True) -> Tensor:
    """`num` numbers at equal distances from start to stop, which is the last one unless `endpoint` is False."""
    gaps = num - 1 if endpoint else num
    return tensor([start + (stop - start) * number / (gaps or 1) for number in range(num)])


def reshape(x: Tensor, shape: "int | Sequence[int]") -> Tensor:
    """The same elements in another shape; one axis may be -1."""
    return x.reshape(shape)


def permute_dims(x: Tensor, axes: "Sequence[int]") -> Tensor:
    """The axes in another order."""
    return x.transpose(axes)


def expand_dims(x: Tensor, axis: int = 0) -> Tensor:
    """With a new axis of length 1 at `axis`."""
    at = axis + x.ndim + 1 if axis < 0 else axis
    if not 0 <= at <= x.ndim:
        raise IndexError(f"axis {axis} is outside the {x.ndim + 1} axes of the result")
    return x.reshape((*x.shape[:at], 1, *x.shape[at:]))


def squeeze(x: Tensor, axis: int) -> Tensor:
    """Without `axis`, whose length must be 1."""
    at = axis + x.ndim if axis < 0 else axis
    if not 0 <= at < x.ndim or x.shape[at] != 1:
        raise ValueError(f"axis {axis} of shape {x.shape} has not length 1")
    return x.reshape((*x.shape[:at], *x.shape[at + 1 :]))


def stack(tensors: "Sequence[Tensor]", axis: int = 0) -> Tensor:
    """Tensors of one shape along a new axis."""
    return concat([expand_dims(one, axis) for one in tensors], axis)


def flip(x: Tensor, axis: int) -> Tensor:
    """The elements along `axis` in reverse."""
    at = axis + x.ndim if axis < 0 else axis
    return x[(slice(None),) * at + (slice(None, None, -1),)]


def abs(x: Tensor) -> Tensor:
    """Without signs."""
    return maximum(x, negative(x))


def square(x: Tensor) -> Tensor:
    """Each element times itself."""
    return multiply(x, x)


def var(x: Tensor, axis: "int | Sequence[int] | None" = None, keepdims: bool = False) -> Tensor:
    """The mean squared distance from the mean."""
    return mean(square(subtract(x, mean(x, axis, True))), axis, keepdims)


def std(x: Tensor, axis: "int | Sequence[int] | None" = None, keepdims: bool = False) -> Tensor:
    """The square root of `var`."""
    return sqrt(var(x, axis, keepdims))


def equal(a: "Tensor | float", b: "Tensor | float") -> Tensor:
    """1 where a is b, else 0, as uint8; so are the other comparisons."""
    return _core.compare("equal", a, b)


def not_equal(a: "Tensor | float", b: "Tensor | float") -> Tensor:
    """1 where a is not b; not-a-number is no number, not even itself."""
    return _core.compare("not_equal", a, b)


def less(a: "Tensor | float", b: "Tensor | float") -> Tensor:
    """1 where a is less than b."""
    return _core.compare("less", a, b)


def less_equal(a: "Tensor | float", b: "Tensor | float") -> Tensor:
    """1 where a is at most b."""
    return _core.compare("less_equal", a, b)


def greater(a: "Tensor | float", b: "Tensor | float") -> Tensor:
    """1 where a is more than b."""
    return _core.compare("less", b, a)


def greater_equal(a: "Tensor | float", b: "Tensor | float") -> Tensor:
    """1 where a is at least b."""
    return _core.compare("less_equal", b, a)


def logical_and(a: Tensor, b: Tensor) -> Tensor:
    """1 where both are."""
    return minimum(a, b)


def logical_or(a: Tensor, b: Tensor) -> Tensor:
    """1 where one is."""
    return maximum(a, b)


def logical_not(x: Tensor) -> Tensor:
    """1 where x is 0."""
    return subtract(1, x)


def any(x: Tensor, axis: "int | Sequence[int] | None" = None, keepdims: bool = False) -> Tensor:
    """1 where one along the axes is."""
    return max(x.astype("int32"), axis, keepdims).astype("uint8")


def all(x: Tensor, axis: "int | Sequence[int] | None" = None, keepdims: bool = False) -> Tensor:
    """1 where all along the axes are."""
    return min(x.astype("int32"), axis, keepdims).astype("uint8")


def log(x: Tensor) -> Tensor:
    """The natural logarithm."""
    return _core.map("log", x)


def log1p(x: Tensor) -> Tensor:
    """The natural logarithm of 1 + x, also where x is small."""
    return _core.map("log1p", x)


def sin(x: Tensor) -> Tensor:
    """The sine."""
    return _core.map("sin", x)


def cos(x: Tensor) -> Tensor:
    """The cosine."""
    return _core.map("cos", x)


def floor(x: Tensor) -> Tensor:
    """The next whole number below."""
    return _core.map("floor", x)


def ceil(x: Tensor) -> Tensor:
    """The next whole number above."""
    return _core.map("ceil", x)


def round(x: Tensor) -> Tensor:
    """The nearest whole number; of two, the even one."""
    return _core.map("round", x)


def take(x: Tensor, indices: "Tensor | Sequence[int]", axis: int) -> Tensor:
    """The elements of an axis that `indices` name, in their order; negative ones count from the end."""
    return _core.take(x, asarray(indices, "int64"), axis)


def cumulative_sum(x: Tensor, axis: int = -1) -> Tensor:
    """Each element and all before it along the axis."""
    return _core.cumulative_sum(x, axis)


def argsort(x: Tensor, axis: int = -1, *, descending: bool = False) -> Tensor:
    """The places that would sort the axis; equal elements keep their order, not-a-number comes last."""
    return _core.argsort(x, axis, descending)


def sort(x: Tensor, axis: int = -1, *, descending: bool = False) -> Tensor:
    """The elements of each line along the axis, in order."""
    at = axis + x.ndim if axis < 0 else axis
    others = [other for other in range(x.ndim) if other != at]
    lines = x.transpose((*others, at))
    flat = lines.reshape((-1, x.shape[at])) if x.size else lines.reshape((0, x.shape[at]))
    done = concat(
        [expand_dims(_core.take(line, _core.argsort(line, 0, descending), 0), 0) for line in flat]
        or [flat]
    )
    back = sorted(range(x.ndim), key=(*others, at).__getitem__)
    return done.reshape(lines.shape).transpose(back)
