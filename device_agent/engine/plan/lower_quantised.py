"""Integers that stand for numbers: scaled, rounded to even, saturated; and products of them."""

from __future__ import annotations

from device_agent.engine.ops import Dtype
from device_agent.engine.plan.arithmetic import HALVES, binary, cast, clip, matmul, unary
from device_agent.engine.plan.context import Site, lowers
from device_agent.engine.plan.ir import Builder, Value
from device_agent.engine.plan.lower_windows import convolve
from device_agent.engine.plan.planned import PlanError
from device_agent.engine.plan.transforms import axis_of, cut, expand, reshape
from device_agent.engine.plan.window import windows_of

_RANGES = {
    Dtype.UINT8: (0, 255), Dtype.INT8: (-128, 127), Dtype.UINT16: (0, 65535), Dtype.INT16: (-32768, 32767),
}  # fmt: skip


def _spread(b: Builder, x: Value, given: Value, axis: int, block: int) -> Value:
    """A scale or zero point, shaped to broadcast against x: one for all, one an axis place, or one a block."""
    if given.size == 1 and len(given.shape) <= 1:
        return reshape(b, given, ())
    axis = axis_of(axis, len(x.shape))
    if len(given.shape) == 1:
        shape = [given.size if i == axis else 1 for i in range(len(x.shape))]
        return reshape(b, given, shape)
    size = block or -(-x.shape[axis] // given.shape[axis])
    before, after = given.shape[: axis + 1], given.shape[axis + 1 :]
    grown = expand(b, reshape(b, given, (*before, 1, *after)), (*before, size, *after))
    whole = reshape(b, grown, (*given.shape[:axis], given.shape[axis] * size, *after))
    return cut(b, whole, axis, 0, x.shape[axis])


def _quantised(b: Builder, scaled: Value, zero: Value | None, dtype: int) -> Value:
    """Rounded, moved by the zero point, saturated."""
    if dtype not in _RANGES:
        raise PlanError(f"quantisation to {Dtype(dtype).name}")
    rounded = unary(b, "round", scaled)
    if zero is not None:
        rounded = binary(b, "add", rounded, cast(b, zero, Dtype.FLOAT32))
    return cast(b, clip(b, rounded, *_RANGES[Dtype(dtype)]), dtype)


@lowers("quantize_linear")
def _quantize(site: Site) -> Value:
    b, x, zero = site.b, site[0], site.maybe(2)
    axis, block = site.whole("axis"), site.whole("block_size")
    dtype = zero.dtype if zero is not None else site.whole("output_dtype") or Dtype.UINT8
    scale = _spread(b, x, cast(b, site[1], Dtype.FLOAT32), axis, block)
    scaled = binary(b, "divide", cast(b, x, Dtype.FLOAT32), scale)
    moved = None if zero is None else _spread(b, x, zero, axis, block)
    return _quantised(b, scaled, moved, dtype)


@lowers("dequantize_linear")
def _dequantize(site: Site) -> Value:
    b, x, scale, zero = site.b, site[0], site[1], site.maybe(2)
    axis, block = site.whole("axis"), site.whole("block_size")
    whole = cast(b, x, Dtype.INT32)
    if zero is not None:
        whole = binary(b, "subtract", whole, cast(b, _spread(b, x, zero, axis, block), Dtype.INT32))
    wide = Dtype.FLOAT32 if scale.dtype in HALVES else scale.dtype
    factor = cast(b, _spread(b, x, scale, axis, block), wide)
    made = binary(b, "multiply", cast(b, whole, wide), factor)
    return cast(b, made, site.whole("output_dtype") or scale.dtype)


@lowers("quantized_mat_mul")
def _quantised_product(site: Site) -> Value:
    """One step: a plan of any kernels rounds alike."""
    b, x, w, scale = site.b, site[0], site[1], site[2]
    if not x.shape or len(w.shape) != 2 or x.shape[-1] != w.shape[0] or scale.shape != w.shape[1:]:
        raise PlanError(f"a quantised product of {x.shape}, {w.shape} and scales {scale.shape}")
    if (x.dtype, w.dtype, scale.dtype) != (Dtype.FLOAT32, Dtype.INT8, Dtype.FLOAT32):
        raise PlanError("a quantised product takes float32, weights of int8 and scales of float32")
    operands = [b.operand(x), b.strided(w, rows=True), b.operand(scale)]
    return b.step("quantized_matmul", operands, [(x.dtype, (*x.shape[:-1], w.shape[1]))])[0]


@lowers("quantized_conv")
def _quantised_convolution(site: Site) -> Value:
    """One step, as a product is."""
    b, x, w, scale = site.b, site[0], site[1], site[2]
    if len(x.shape) != 4 or len(w.shape) != 4 or site.whole("group") != 1:
        raise PlanError("a quantised convolution is of pictures in one group")
    if x.shape[1] != w.shape[1] or scale.shape != w.shape[:1]:
        raise PlanError(f"a quantised convolution of {x.shape}, {w.shape}, scales {scale.shape}")
    if (x.dtype, w.dtype, scale.dtype) != (Dtype.FLOAT32, Dtype.INT8, Dtype.FLOAT32):
        raise PlanError(
            "a quantised convolution takes float32, weights of int8 and scales of float32"
        )
    windows = windows_of(site, x.shape[2:], w.shape[2:])
    if windows[1].dilation != 1:
        raise PlanError("a quantised convolution's columns lie beside each other")
    shape = (x.shape[0], w.shape[0], *(window.places for window in windows))
    words = [1]
    for window in windows:
        words += [window.stride, window.dilation, window.before, window.after]
    operands = [b.operand(x), b.operand(w), b.operand(scale)]
    return b.step("quantized_convolution", operands, [(x.dtype, shape)], words)[0]


def _moved(b: Builder, x: Value, zero: Value | None) -> Value:
    """x without its zero point, in int32; `zero` broadcasts already."""
    whole = cast(b, x, Dtype.INT32)
    return whole if zero is None else binary(b, "subtract", whole, cast(b, zero, Dtype.INT32))


def _a_row(b: Builder, given: Value | None) -> Value | None:
    """A number a row of the left matrix."""
    if given is None or given.size == 1 or len(given.shape) != 1:
        return given if given is None or given.size != 1 else reshape(b, given, ())
    return reshape(b, given, (given.size, 1))


def _one(b: Builder, given: Value | None) -> Value | None:
    """A number for all loses its axis."""
    return reshape(b, given, ()) if given is not None and given.size == 1 else given


@lowers("mat_mul_integer")
def _mat_mul_integer(site: Site) -> Value:
    b = site.b
    left = _moved(b, site[0], _a_row(b, site.maybe(2)))
    return matmul(b, left, _moved(b, site[1], _one(b, site.maybe(3))))


@lowers("q_linear_mat_mul")
def _q_linear_mat_mul(site: Site) -> Value:
    b = site.b
    left = _moved(b, site[0], _a_row(b, site[2]))
    right = _moved(b, site[3], _one(b, site[5]))
    product = cast(b, matmul(b, left, right), Dtype.FLOAT32)
    row, column, out = _a_row(b, site[1]), _one(b, site[4]), _one(b, site[6])
    assert row is not None
    assert column is not None
    assert out is not None
    scales = [cast(b, scale, Dtype.FLOAT32) for scale in (row, column, out)]
    factor = binary(b, "divide", binary(b, "multiply", scales[0], scales[1]), scales[2])
    return _quantised(b, binary(b, "multiply", product, factor), _one(b, site[7]), site[7].dtype)


def _a_channel(b: Builder, given: Value, rank: int) -> Value:
    """A number an output channel, first axis of the weights and second of the result."""
    if given.size == 1:
        return reshape(b, given, ())
    return reshape(b, given, (given.size, *(1,) * (rank - 1)))


@lowers("conv_integer")
def _conv_integer(site: Site) -> Value:
    b, x, w = site.b, site[0], site[1]
    windows = windows_of(site, x.shape[2:], w.shape[2:])
    zero = site.maybe(3)
    spread = None if zero is None else _a_channel(b, zero, len(w.shape))
    left = _moved(b, x, _one(b, site.maybe(2)))
    return convolve(b, left, _moved(b, w, spread), None, windows, site.whole("group"))


@lowers("q_linear_conv")
def _q_linear_conv(site: Site) -> Value:
    b, x, w = site.b, site[0], site[3]
    windows = windows_of(site, x.shape[2:], w.shape[2:])
    left = _moved(b, x, _one(b, site[2]))
    right = _moved(b, w, _a_channel(b, site[5], len(w.shape)))
    whole = convolve(b, left, right, site.maybe(8), windows, site.whole("group"))
    scales = binary(
        b, "multiply", reshape(b, site[1], ()), _a_channel(b, site[4], len(x.shape) - 1)
    )
    factor = binary(b, "divide", scales, reshape(b, site[6], ()))
    scaled = binary(b, "multiply", cast(b, whole, Dtype.FLOAT32), factor)
    return _quantised(b, scaled, _one(b, site[7]), site[7].dtype)
