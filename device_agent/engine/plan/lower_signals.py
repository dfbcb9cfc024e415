"""Fourier transforms over the core's fft, which takes complex numbers as (..., n, 2)."""

from __future__ import annotations

from device_agent.engine.ops import Dtype
from device_agent.engine.plan.arithmetic import binary, cast, unary
from device_agent.engine.plan.context import Site, lowers
from device_agent.engine.plan.ir import Builder, Value
from device_agent.engine.plan.planned import PlanError
from device_agent.engine.plan.region import strides_of
from device_agent.engine.plan.transforms import (
    axis_of,
    concat,
    cut,
    flip,
    pad_with,
    reshape,
    transpose,
)


def _complex(b: Builder, x: Value) -> Value:
    """Numbers as (..., 2): imaginary parts of zero where there are none."""
    x = cast(b, x, Dtype.FLOAT32)
    if x.shape[-1] == 2:
        return x
    if x.shape[-1] != 1:
        raise PlanError(f"a signal's last axis is 1 or 2, not {x.shape[-1]}")
    return pad_with(b, x, [*((0, 0) for _ in x.shape[:-1]), (0, 1)])


def _sized(b: Builder, x: Value, axis: int, n: int) -> Value:
    """An axis cut or padded with zeros."""
    have = x.shape[axis]
    if have >= n:
        return cut(b, x, axis, 0, n)
    return pad_with(b, x, [(0, n - have if i == axis else 0) for i in range(len(x.shape))])


def _fft(b: Builder, x: Value, axis: int, inverse: int) -> Value:
    """Along any axis of (..., 2)."""
    rank = len(x.shape)
    order = [*(i for i in range(rank - 1) if i != axis), axis, rank - 1]
    back = [order.index(i) for i in range(rank)]
    turned = transpose(b, x, order)
    made = b.step("fft", [b.operand(turned)], [(x.dtype, turned.shape)], [inverse])[0]
    return transpose(b, made, back)


def _mirrored(b: Builder, x: Value, axis: int, n: int) -> Value:
    """The whole spectrum of a real signal from its first half: the rest is its conjugate."""
    half = cut(b, x, axis, 0, n // 2 + 1)
    count = n - n // 2 - 1
    rest = flip(b, cut(b, half, axis, 1, count), axis)
    last = len(x.shape) - 1
    conjugate = [cut(b, rest, last, 0, 1), unary(b, "negative", cut(b, rest, last, 1, 1))]
    return concat(b, [half, concat(b, conjugate, last)], axis)


@lowers("dft")
def _dft(site: Site) -> Value:
    b, x = site.b, site[0]
    rank = len(x.shape)
    axis = axis_of(site.integer(2) if site.maybe(2) is not None else -2, rank)
    inverse, onesided = site.whole("inverse"), site.whole("onesided")
    given = site.maybe(1) is not None
    n = site.integer(1) if given else x.shape[axis]
    signal = _complex(b, x)
    if inverse and onesided:
        n = n if given else 2 * (x.shape[axis] - 1)
        made = _fft(b, _mirrored(b, _sized(b, signal, axis, n // 2 + 1), axis, n), axis, 1)
        return cast(b, cut(b, made, rank - 1, 0, 1), x.dtype)
    made = _fft(b, _sized(b, signal, axis, n), axis, inverse)
    if onesided:
        made = cut(b, made, axis, 0, n // 2 + 1)
    return cast(b, made, x.dtype)


@lowers("stft")
def _stft(site: Site) -> Value:
    """Frames overlap: one region whose strides say so. Then a window, and a transform a frame."""
    b, x, step = site.b, site[0], site.integer(1)
    window = site.maybe(2)
    length = site.integer(3) if site.maybe(3) is not None else (window.size if window else 0)
    batch, n, parts = x.shape
    frames = (n - length) // step + 1
    shape = (batch, frames, length, parts)
    strides = (n * parts, step * parts, parts, 1)
    axes = list(zip(shape, strides, strides_of(shape), strict=True))
    framed = b.move(x.dtype, shape, [(x, 0, 0, axes)])
    if window is not None:
        framed = binary(b, "multiply", framed, reshape(b, cast(b, window, x.dtype), (length, 1)))
    made = _fft(b, _complex(b, framed), 2, 0)
    if site.whole("onesided"):
        made = cut(b, made, 2, 0, length // 2 + 1)
    return cast(b, made, x.dtype)
