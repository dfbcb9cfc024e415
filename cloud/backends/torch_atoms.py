"""What each atom of the engine is in torch: a table from name to function.

Rules of this module:

- A function takes tensors and attribute words and returns new tensors; where they go is the session's business.
- Meanings are the core's: integers wrap and divide toward zero, what does not fit a cast is clipped, and indices are
  checked before they reach a device that would end the process over them.
- An atom that is not in the table is refused when a session is made, and the core runs the stage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from device_agent.engine.ops import Dtype
from device_agent.engine.plan.words import number_of

type Words = Sequence[int]
type Atom = Callable[[Sequence[Tensor], Words], Tensor]

DTYPES = {
    Dtype.FLOAT32: torch.float32, Dtype.FLOAT64: torch.float64, Dtype.FLOAT16: torch.float16,
    Dtype.BFLOAT16: torch.bfloat16, Dtype.INT64: torch.int64, Dtype.INT32: torch.int32, Dtype.INT16: torch.int16,
    Dtype.INT8: torch.int8, Dtype.UINT8: torch.uint8, Dtype.BOOL: torch.bool,
}  # fmt: skip
_MAXIMUM, _AVERAGE, _POWER = range(3)
_COUNTS_PADDING = 1
_WINDOW_WORDS = 6


def _unary(function: Callable[[Tensor], Tensor]) -> Atom:
    return lambda given, _words: function(given[0])


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Atom:
    return lambda given, _words: function(given[0], given[1])


def _divide(a: Tensor, b: Tensor) -> Tensor:
    if a.is_floating_point():
        return torch.div(a, b)
    if bool((b == 0).any()):
        raise ValueError("an integer is divided by zero")
    return torch.div(a, b, rounding_mode="trunc")


def _relu(x: Tensor) -> Tensor:
    return torch.relu(x) if x.is_floating_point() else x.clamp_min(0)


def _clip(given: Sequence[Tensor], words: Words) -> Tensor:
    low, high = number_of(words[0]), number_of(words[1])
    if given[0].is_floating_point():
        return given[0].clamp(low, high)
    least = torch.iinfo(given[0].dtype)
    return given[0].clamp(int(max(low, least.min)), int(min(high, least.max)))


def _cast(given: Sequence[Tensor], words: Words) -> Tensor:
    x, dtype = given[0], DTYPES[Dtype(words[0])]
    if dtype == torch.bool:
        return x != 0
    if dtype.is_floating_point or not x.is_floating_point():
        return x.to(dtype)
    bounds, wide = torch.iinfo(dtype), x.double()
    inside = wide.nan_to_num(nan=0.0).clamp(float(bounds.min), float(bounds.max))
    # The largest int64 is no double: what reaches it is put there by hand.
    over = wide >= float(bounds.max)
    return torch.where(over, bounds.max, inside.masked_fill(over, 0.0).to(dtype))


def _is_infinite(given: Sequence[Tensor], words: Words) -> Tensor:
    positive, negative = words
    found = torch.isinf(given[0])
    if not positive:
        found &= given[0] < 0
    return found if negative else found & (given[0] > 0)


def _gemm(given: Sequence[Tensor], words: Words) -> Tensor:
    alpha, beta = number_of(words[0]), number_of(words[1])
    a = given[0].mT if words[2] else given[0]
    b = given[1].mT if words[3] else given[1]
    if len(given) == 3 and beta != 0:
        return torch.addmm(given[2], a, b, beta=beta, alpha=alpha)
    made = a @ b
    return made if alpha == 1 else alpha * made


def _convolution(given: Sequence[Tensor], words: Words) -> Tensor:
    x, w = given[0], given[1]
    windows = [words[i : i + 4] for i in range(1, len(words), 4)]
    strides, dilations = ([one[i] for one in windows] for i in (0, 1))
    if all(before == after for _, _, before, after in windows):
        padding = [before for _, _, before, _ in windows]
    else:
        padding = [0] * len(windows)
        x = torch.nn.functional.pad(x, [n for one in reversed(windows) for n in one[2:]])
    convolve = (torch.conv1d, torch.conv2d, torch.conv3d)[len(windows) - 1]
    bias = given[2] if len(given) == 3 else None
    return convolve(x, w, bias, strides, padding, dilations, words[0])


def _axes(x: Tensor, words: Words) -> list[int]:
    return [axis % x.dim() for axis in words[1:]] or list(range(x.dim()))


def _reduction(function: Callable[..., Tensor]) -> Atom:
    def reduce(given: Sequence[Tensor], words: Words) -> Tensor:
        x = given[0]
        if x.dim() == 0:
            return x.clone()
        return function(x, dim=_axes(x, words), keepdim=bool(words[0]))

    return reduce


def _sum(x: Tensor, *, dim: list[int], keepdim: bool) -> Tensor:
    return x.sum(dim=dim, keepdim=keepdim, dtype=x.dtype)


def _product(x: Tensor, *, dim: list[int], keepdim: bool) -> Tensor:
    for axis in sorted(dim, reverse=True):
        x = x.prod(dim=axis, keepdim=keepdim, dtype=x.dtype)
    return x


def _extreme(function: Callable[..., Tensor]) -> Atom:
    return lambda given, words: function(given[0], dim=words[0], keepdim=bool(words[1]))


def _softmax(given: Sequence[Tensor], words: Words) -> Tensor:
    return torch.softmax(given[0], words[0])


def _pool(given: Sequence[Tensor], words: Words) -> Tensor:
    """Windows as a strided view of the padded input, reduced over their own axes."""
    kind, flags, power = words[:3]
    windows = [words[i : i + _WINDOW_WORDS] for i in range(3, len(words), _WINDOW_WORDS)]
    x = given[0]
    if kind == _MAXIMUM:
        least = -torch.inf if x.is_floating_point() else torch.iinfo(x.dtype).min
        return _in_windows(x, windows, least, least).amax(_last(windows))
    if kind == _POWER:
        powers = _in_windows(x.abs().pow(power), windows, 0, 0).sum(_last(windows))
        return powers.pow(1.0 / power)
    total = _in_windows(x, windows, 0, 0).sum(_last(windows))
    ones = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
    counts = _in_windows(ones, windows, 1 if flags & _COUNTS_PADDING else 0, 0)
    return total / counts.sum(_last(windows))


def _last(windows: Sequence[Words]) -> list[int]:
    return list(range(-len(windows), 0))


def _in_windows(x: Tensor, windows: Sequence[Words], padding: float, beyond: float) -> Tensor:
    """(batch, channels, places..., window positions...): `beyond` is what lies past the padding at the end."""
    inner: list[int] = []
    outer: list[int] = []
    for n, (size, stride, dilation, before, after, places) in zip(
        x.shape[2:], windows, strict=True
    ):
        inner = [before, after, *inner]
        reach = (places - 1) * stride + dilation * (size - 1) + 1
        outer = [0, max(0, reach - n - before - after), *outer]
    pad = torch.nn.functional.pad
    x = pad(pad(x, inner, value=padding), outer, value=beyond).contiguous()
    steps = x.stride()
    counts, sizes = [one[5] for one in windows], [one[0] for one in windows]
    strides = [one[1] * step for one, step in zip(windows, steps[2:], strict=True)]
    reaches = [one[2] * step for one, step in zip(windows, steps[2:], strict=True)]
    return x.as_strided((*x.shape[:2], *counts, *sizes), (*steps[:2], *strides, *reaches))


def _sorted(given: Sequence[Tensor], words: Words) -> Tensor:
    return torch.sort(given[0], dim=words[0], descending=bool(words[1]), stable=True).indices


def _within(indices: Tensor, n: int) -> Tensor:
    """Indices that count from the end turned round; raises ValueError where one is outside."""
    outside = (indices < -n) | (indices >= n)
    if bool(outside.any()):
        raise ValueError(f"index {int(indices[outside].flatten()[0])} is outside an axis of {n}")
    return torch.where(indices < 0, indices + n, indices)


def _take(given: Sequence[Tensor], words: Words) -> Tensor:
    x, indices = given
    axis = words[0] % x.dim()
    flat = torch.index_select(x, axis, _within(indices, x.shape[axis]).flatten())
    return flat.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def _take_along(given: Sequence[Tensor], words: Words) -> Tensor:
    x, indices = given
    return torch.gather(x, words[0], _within(indices, x.shape[words[0]]))


ATOMS: dict[str, Atom] = {
    "add": _binary(torch.add), "subtract": _binary(torch.sub), "multiply": _binary(torch.mul),
    "divide": _binary(_divide), "maximum": _binary(torch.maximum), "minimum": _binary(torch.minimum),
    "power": _binary(torch.pow), "remainder": _binary(torch.remainder), "truncated_remainder": _binary(torch.fmod),
    "bit_and": _binary(torch.bitwise_and), "bit_or": _binary(torch.bitwise_or), "bit_xor": _binary(torch.bitwise_xor),
    "bit_not": _unary(torch.bitwise_not),
    "equal": _binary(torch.eq), "less": _binary(torch.lt), "less_equal": _binary(torch.le),
    "logical_and": _binary(torch.logical_and), "logical_or": _binary(torch.logical_or),
    "logical_xor": _binary(torch.logical_xor), "logical_not": _unary(torch.logical_not),
    "where": lambda given, _words: torch.where(given[0], given[1], given[2]),
    "relu": _unary(_relu), "negative": _unary(torch.neg), "clip": _clip, "cast": _cast,
    "absolute": _unary(torch.abs), "sign": _unary(torch.sign), "is_nan": _unary(torch.isnan), "is_inf": _is_infinite,
    "log1p": _unary(torch.log1p), "sigmoid": _unary(torch.sigmoid), "tanh": _unary(torch.tanh),
    "exp": _unary(torch.exp), "sqrt": _unary(torch.sqrt), "logarithm": _unary(torch.log),
    "floor": _unary(torch.floor), "ceil": _unary(torch.ceil), "round": _unary(torch.round),
    "sine": _unary(torch.sin), "cosine": _unary(torch.cos), "tangent": _unary(torch.tan),
    "arc_sine": _unary(torch.asin), "arc_cosine": _unary(torch.acos), "arc_tangent": _unary(torch.atan),
    "hyperbolic_sine": _unary(torch.sinh), "hyperbolic_cosine": _unary(torch.cosh),
    "area_sine": _unary(torch.asinh), "area_cosine": _unary(torch.acosh), "area_tangent": _unary(torch.atanh),
    "error_function": _unary(torch.erf),
    "matmul": _binary(torch.matmul), "gemm": _gemm, "convolution": _convolution,
    "reduce_sum": _reduction(_sum), "reduce_mean": _reduction(torch.mean), "reduce_max": _reduction(torch.amax),
    "reduce_min": _reduction(torch.amin), "reduce_product": _reduction(_product),
    "argmax": _extreme(torch.argmax), "argmin": _extreme(torch.argmin), "softmax": _softmax, "pool": _pool,
    "cumulative_sum": lambda given, words: torch.cumsum(given[0], words[0], dtype=given[0].dtype),
    "cumulative_product": lambda given, words: torch.cumprod(given[0], words[0], dtype=given[0].dtype),
    "argsort": _sorted, "take": _take, "take_along": _take_along,
}  # fmt: skip
