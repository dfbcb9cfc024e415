# ruff: noqa: A001 - the names are those of the array API standard
"""Functions of arrays that are made of the engine's operators. Tasks reach them as `tensor.stack`, `tensor.var` …

Rules of this module:

- Names and meanings are those of the array API standard 2024.12 (data-apis.org) where it has them; what is left out is
  listed in docs/reference/guest.md.
- It is loaded when a task first uses one of its functions: most tasks need only `tensor`.
"""

from collections.abc import Sequence

from device_agent.engine import _core
from shoal_task.tensor import Tensor

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Literal

    type Dtype = Literal["float32", "int32", "int64", "uint8", "bool"]
    type Axes = int | Sequence[int] | None

__all__ = [
    "all",
    "any",
    "arange",
    "asarray",
    "astype",
    "count_nonzero",
    "expand_dims",
    "flip",
    "isfinite",
    "isnan",
    "linspace",
    "ones",
    "permute_dims",
    "reshape",
    "sign",
    "sort",
    "square",
    "squeeze",
    "stack",
    "std",
    "tile",
    "var",
]

# --- making ----------------------------------------------------------------------------------------------------------


def ones(shape: int | Sequence[int], dtype: "Dtype" = "float32") -> Tensor:
    """An array of ones."""
    return _core.full(shape, 1, dtype)


def arange(
    start: float, stop: float | None = None, step: float = 1, dtype: "Dtype | None" = None
) -> Tensor:
    """Numbers from start up to, not including, stop; int64 when all three are integers, else float32.

    Raises:
        ValueError: step is 0.
    """
    if stop is None:
        start, stop = 0, start
    if step == 0:
        raise ValueError("the step is 0; the numbers would never reach stop")
    count = max(0, -int(-(stop - start) // step))
    whole = isinstance(start, int) and isinstance(stop, int) and isinstance(step, int)
    values = [start + step * i for i in range(count)]
    return _core.tensor(values, dtype or ("int64" if whole else "float32"))


def linspace(
    start: float, stop: float, num: int, dtype: "Dtype" = "float32", *, endpoint: bool = True
) -> Tensor:
    """`num` numbers at equal distances from start to stop, which is the last one unless `endpoint` is False."""
    gaps = num - 1 if endpoint else num
    return _core.tensor([start + (stop - start) * i / (gaps or 1) for i in range(num)], dtype)


def asarray(data: "Tensor | float | Sequence[object]", dtype: "Dtype" = "float32") -> Tensor:
    """A tensor of nested lists of numbers, or the tensor itself in that dtype."""
    if isinstance(data, Tensor):
        return data.astype(dtype)
    return _core.tensor(data, dtype)  # type: ignore[arg-type]  # the engine refuses what is no number


# --- shape -----------------------------------------------------------------------------------------------------------


def reshape(x: Tensor, shape: int | Sequence[int]) -> Tensor:
    """The same elements in another shape; one axis may be -1."""
    return x.reshape(shape)


def permute_dims(x: Tensor, axes: Sequence[int]) -> Tensor:
    """The axes in another order."""
    return x.transpose(axes)


def astype(x: Tensor, dtype: "Dtype") -> Tensor:
    """The elements in another dtype; what does not fit is clipped."""
    return x.astype(dtype)


def expand_dims(x: Tensor, axis: int = 0) -> Tensor:
    """A new axis of size 1 before axis `axis`.

    Raises:
        IndexError: there is no such place.
    """
    at = axis + x.ndim + 1 if axis < 0 else axis
    if not 0 <= at <= x.ndim:
        raise IndexError(f"axis {axis} is outside the {x.ndim + 1} axes of the result")
    return x.reshape((*x.shape[:at], 1, *x.shape[at:]))


def squeeze(x: Tensor, axis: int | Sequence[int]) -> Tensor:
    """Without the axes named, which have size 1.

    Raises:
        ValueError: an axis has another size, or is not there.
    """
    named = {_axis(one, x.ndim) for one in ((axis,) if isinstance(axis, int) else axis)}
    for one in named:
        if x.shape[one] != 1:
            raise ValueError(f"axis {one} of shape {x.shape} has not length 1")
    return x.reshape([size for one, size in enumerate(x.shape) if one not in named])


def flip(x: Tensor, axis: "Axes" = None) -> Tensor:
    """Backwards along axes; along all by default. A view."""
    wanted = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    named = {_axis(one, x.ndim) for one in wanted}
    return x[tuple(slice(None, None, -1 if one in named else 1) for one in range(x.ndim))]


def stack(arrays: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Arrays of one shape, side by side along a new axis."""
    return _core.concat([expand_dims(x, axis) for x in arrays], axis)


def tile(x: Tensor, repetitions: Sequence[int]) -> Tensor:
    """x beside itself so many times along each of the last axes."""
    lead = max(0, len(repetitions) - x.ndim)
    shape = (1,) * lead + x.shape
    times = (1,) * (len(shape) - len(repetitions)) + tuple(repetitions)
    out = x.reshape(shape)
    for axis, count in enumerate(times):
        if count != 1:
            out = _core.concat([out] * count, axis) if count > 0 else out[_none_of(axis)]
    return out


# --- numbers ---------------------------------------------------------------------------------------------------------


def square(x: Tensor) -> Tensor:
    """x times x."""
    return x * x


def sign(x: Tensor) -> Tensor:
    """-1, 0 or 1; not-a-number stays so."""
    zero = x - x  # also where x is not a number
    return _core.where(x > 0, zero + 1, _core.where(x < 0, zero - 1, zero))


def isnan(x: Tensor) -> Tensor:
    """Whether an element is not a number."""
    return x != x


def isfinite(x: Tensor) -> Tensor:
    """Whether an element is neither infinite nor not-a-number."""
    return (x - x) == 0


# --- many to few -----------------------------------------------------------------------------------------------------


def any(x: Tensor, axis: "Axes" = None, keepdims: bool = False) -> Tensor:
    """Whether any element is true (not zero)."""
    return count_nonzero(x, axis, keepdims) > 0


def all(x: Tensor, axis: "Axes" = None, keepdims: bool = False) -> Tensor:
    """Whether every element is true (not zero)."""
    return count_nonzero(x.astype("bool") ^ True, axis, keepdims) == 0


def count_nonzero(x: Tensor, axis: "Axes" = None, keepdims: bool = False) -> Tensor:
    """How many elements are true (not zero); int64."""
    return _core.sum(x.astype("bool").astype("int64"), axis, keepdims)


def var(x: Tensor, axis: "Axes" = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """Variance: the mean of squared distances from the mean, over n - correction."""
    distance = x - _core.mean(x, axis, True)
    squares = _core.sum(distance * distance, axis, keepdims)
    count = x.size // (squares.size or 1)
    return squares / (count - correction)


def std(x: Tensor, axis: "Axes" = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """Standard deviation: the root of the variance."""
    return _core.sqrt(var(x, axis, correction, keepdims))


def sort(x: Tensor, axis: int = -1, descending: bool = False) -> Tensor:
    """Sorted along an axis; equals keep their order, what is not a number comes last."""
    return _core.take_along_axis(x, _core.argsort(x, axis, descending=descending), axis)


def _axis(axis: int, ndim: int) -> int:
    at = axis + ndim if axis < 0 else axis
    if not 0 <= at < ndim:
        raise ValueError(f"axis {axis} is not one of {ndim}")
    return at


def _none_of(axis: int) -> tuple[slice, ...]:
    return (*(slice(None),) * axis, slice(0, 0))
