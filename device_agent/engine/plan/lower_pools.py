"""Pooling: windows that keep the largest, the mean or a norm."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from device_agent.engine.ops import Dtype
from device_agent.engine.plan.arithmetic import HALVES, binary, cast, reduce
from device_agent.engine.plan.context import Site, lowers
from device_agent.engine.plan.fold import bits_of
from device_agent.engine.plan.ir import Value
from device_agent.engine.plan.planned import PlanError
from device_agent.engine.plan.transforms import filled, reshape
from device_agent.engine.plan.window import Window, windows_of

_MAXIMUM, _AVERAGE, _POWER = range(3)
_COUNTS_PADDING, _COLUMN_MAJOR, _WANTS_PLACES = 1, 2, 4


def _places(window: Window, ceil: bool) -> int:
    """Places of the window; rounded up, the last must begin on the input or its padding before."""
    if not ceil:
        return window.places
    room = window.n + window.before + window.after - window.reach
    places = -(-room // window.stride) + 1
    if (places - 1) * window.stride >= window.n + window.before:
        places -= 1
    return places


def _pool(site: Site, kind: int, flags: int, power: int = 0) -> list[Value]:
    b, x = site.b, site[0]
    kernel = site.wholes("kernel_shape") or ()
    windows = windows_of(site, x.shape[2:], kernel)
    places = [_places(window, bool(site.whole("ceil_mode"))) for window in windows]
    words = [kind, flags, power]
    for w, count in zip(windows, places, strict=True):
        words += [w.size, w.stride, w.dilation, w.before, w.after, count]
    wide = cast(b, x, Dtype.FLOAT32) if x.dtype in HALVES else x
    shape = (*x.shape[:2], *places)
    found = shape if flags & _WANTS_PLACES else (0,)
    outputs = [(wide.dtype, shape), (Dtype.INT64, found)]
    values, indices = b.step("pool", [b.operand(wide)], outputs, words)
    return [cast(b, values, x.dtype), indices]


@lowers("max_pool")
def _max_pool(site: Site) -> list[Value]:
    flags = _WANTS_PLACES if site.wants(1) else 0
    return _pool(site, _MAXIMUM, flags | (_COLUMN_MAJOR if site.whole("storage_order") else 0))


@lowers("average_pool")
def _average_pool(site: Site) -> Value:
    return _pool(site, _AVERAGE, _COUNTS_PADDING if site.whole("count_include_pad") else 0)[0]


@lowers("lp_pool")
def _lp_pool(site: Site) -> Value:
    return _pool(site, _POWER, 0, site.whole("p"))[0]


@lowers("global_average_pool", "global_max_pool")
def _global(site: Site) -> Value:
    op = "reduce_mean" if site.operator.op == "global_average_pool" else "reduce_max"
    return reduce(site.b, op, site[0], range(2, len(site[0].shape)))


@lowers("global_lp_pool")
def _global_lp(site: Site) -> Value:
    x = site[0]
    words = [_POWER, 0, site.whole("p")]
    flat = reshape(site.b, x, (*x.shape[:2], prod(x.shape[2:])))
    words += [flat.shape[2], 1, 1, 0, 0, 1]
    outputs = [(x.dtype, (*x.shape[:2], 1)), (int(Dtype.INT64), (0,))]
    made = site.b.step("pool", [site.b.operand(flat)], outputs, words)[0]
    return reshape(site.b, made, (*x.shape[:2], *(1 for _ in x.shape[2:])))


@lowers("max_unpool")
def _max_unpool(site: Site) -> Value:
    """Each value goes back to its place; all else is zero."""
    b, x, places = site.b, site[0], site[1]
    kernel = site.wholes("kernel_shape") or ()
    rank = len(kernel)
    strides, pads = site.wholes("strides") or (1,) * rank, site.wholes("pads") or (0,) * (2 * rank)
    inferred = [
        (n - 1) * s + k - pads[i] - pads[rank + i]
        for i, (n, s, k) in enumerate(zip(x.shape[2:], strides, kernel, strict=True))
    ]
    shape = (*x.shape[:2], *inferred)
    if site.maybe(2) is not None:
        places = _moved(site, places, shape)
        shape = site.integers(2)
    zeros = filled(b, x.dtype, (prod(shape),), bits_of(x.dtype, 0))
    operands = [
        b.operand(zeros),
        b.operand(reshape(b, places, (x.size,))),
        b.operand(reshape(b, x, (x.size,))),
    ]
    made = b.step("scatter", operands, [(x.dtype, (prod(shape),))], [0, 0])[0]
    return reshape(b, made, shape)


def _moved(site: Site, places: Value, inferred: Sequence[int]) -> Value:
    """Places count in the result as it is without an output shape; the pictures' corners stay where they are."""
    wanted = site.integers(2)
    if len(wanted) != len(inferred):
        raise PlanError(f"max_unpool to {tuple(wanted)}")
    b, out, stride_in, stride_out = site.b, None, 1, 1
    for have, want in zip(reversed(inferred), reversed(wanted), strict=True):
        digit = binary(b, "remainder", binary(b, "divide", places, stride_in), have)
        part = binary(b, "multiply", digit, stride_out)
        out = part if out is None else binary(b, "add", out, part)
        stride_in, stride_out = stride_in * have, stride_out * want
    assert out is not None
    return out
