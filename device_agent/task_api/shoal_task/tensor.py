# ruff: noqa: A001, A004 - a face: tasks write tensor.max(x)
"""Arrays of numbers: the engine's tensors and operators, by the names of the array API standard.

Tensors never change; operators return new ones. Elements are float32, int32, int64 or uint8; a function of the standard
that is not here needs an operator that the engine does not have. docs/reference/guest.md lists what is.
"""

TYPE_CHECKING = False  # not from typing: its import would double the time that a VM takes to load

from device_agent.engine._core import (  # noqa: E402 - after the flag that stands for typing's
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
    relu,
    sigmoid,
    softmax,
    sqrt,
    subtract,
    sum,
    tanh,
    tensor,
    zeros,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Tensor",
    "abs",
    "add",
    "arange",
    "argmax",
    "asarray",
    "clip",
    "concat",
    "divide",
    "exp",
    "expand_dims",
    "flip",
    "frombuffer",
    "full",
    "gemm",
    "linspace",
    "matmul",
    "max",
    "maximum",
    "mean",
    "min",
    "minimum",
    "multiply",
    "negative",
    "ones",
    "permute_dims",
    "relu",
    "reshape",
    "sigmoid",
    "softmax",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "subtract",
    "sum",
    "tanh",
    "tensor",
    "var",
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
