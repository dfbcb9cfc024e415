"""Convolutions of every kind: all become the one convolution that the core has."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from device_agent.engine.ops import Dtype
from device_agent.engine.plan.arithmetic import HALVES, binary, cast, matmul
from device_agent.engine.plan.context import Site, lowers
from device_agent.engine.plan.ir import Builder, Value
from device_agent.engine.plan.planned import PlanError
from device_agent.engine.plan.transforms import (
    cut,
    flip,
    fold_blocks,
    pad_with,
    place,
    repeat,
    reshape,
    take_slice,
    transpose,
)
from device_agent.engine.plan.window import Window, windows_of


def convolve(
    b: Builder, x: Value, w: Value, bias: Value | None, windows: Sequence[Window], group: int
) -> Value:
    """x (N,C,...) by w (M,C/group,...): (N,M,...)."""
    if x.dtype in HALVES:
        wide = [None if v is None else cast(b, v, Dtype.FLOAT32) for v in (x, w, bias)]
        assert wide[0] is not None
        assert wide[1] is not None
        return cast(b, convolve(b, wide[0], wide[1], wide[2], windows, group), x.dtype)
    if group < 1 or x.shape[1] != w.shape[1] * group or w.shape[0] % group or not w.shape[0]:
        raise PlanError(f"{x.shape} does not fit weights {w.shape} in {group} groups")
    shape = (x.shape[0], w.shape[0], *(window.places for window in windows))
    words = [group]
    for window in windows:
        words += [window.stride, window.dilation, window.before, window.after]
    operands = [b.operand(x), b.operand(w)]
    if bias is not None:
        operands.append(b.operand(bias))
    return b.step("convolution", operands, [(x.dtype, shape)], words)[0]


@lowers("conv")
def _conv(site: Site) -> Value:
    x, w = site[0], site[1]
    windows = windows_of(site, x.shape[2:], w.shape[2:])
    return convolve(site.b, x, w, site.maybe(2), windows, site.whole("group"))


@lowers("conv_transpose")
def _conv_transpose(site: Site) -> Value:
    """Inputs are spread by the stride, the weights turned round: an ordinary convolution.

    x (N,C,...), w (C,M/group,...). The spread input is one region in a value of zeros.
    """
    b, x, w, group = site.b, site[0], site[1], site.whole("group")
    sizes, kernel = x.shape[2:], w.shape[2:]
    rank = len(sizes)
    strides = site.wholes("strides") or (1,) * rank
    dilations = site.wholes("dilations") or (1,) * rank
    pads = _transposed_pads(site, sizes, kernel, strides, dilations)
    apart = strides == kernel and all(d == 1 for d in dilations)
    if apart and not any(map(any, pads)):
        return _convolve_apart(b, x, w, site.maybe(2), group)
    spread = tuple((n - 1) * s + 1 if n else 0 for n, s in zip(sizes, strides, strict=True))
    wide = place(b, x, (*x.shape[:2], *spread), [0] * (2 + rank), [1, 1, *strides])
    reach = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
    pairs = [(r - low, r - high) for r, (low, high) in zip(reach, pads, strict=True)]
    wide = pad_with(b, wide, [(0, 0), (0, 0), *pairs])
    channels, filters = w.shape[0] // group, w.shape[1]
    turned = reshape(b, w, (group, channels, filters, *kernel))
    turned = transpose(b, turned, [0, 2, 1, *range(3, 3 + rank)])
    turned = reshape(b, turned, (group * filters, channels, *kernel))
    for axis in range(2, 2 + rank):
        turned = flip(b, turned, axis)
    windows = [
        Window(n, k, 1, d, 0, 0) for n, k, d in zip(wide.shape[2:], kernel, dilations, strict=True)
    ]
    return convolve(b, wide, turned, site.maybe(2), windows, group)


def _convolve_apart(b: Builder, x: Value, w: Value, bias: Value | None, group: int) -> Value:
    """Windows that do not overlap: every place of the kernel is an out-channel, then depth to space."""
    kernel, rank = w.shape[2:], len(w.shape) - 2
    channels, filters, places = w.shape[0] // group, w.shape[1], prod(kernel)
    turned = reshape(b, w, (group, channels, filters * places))
    turned = transpose(b, turned, [0, 2, 1])
    turned = reshape(b, turned, (group * filters * places, channels, *(1,) * rank))
    if bias is not None:
        bias = repeat(b, bias, 0, places)
    windows = [Window(n, 1, 1, 1, 0, 0) for n in x.shape[2:]]
    made = convolve(b, x, turned, bias, windows, group)
    shape = (x.shape[0], group * filters, *kernel, *x.shape[2:])
    pairs = [axis for i in range(rank) for axis in (2 + rank + i, 2 + i)]
    sizes = [n * k for n, k in zip(x.shape[2:], kernel, strict=True)]
    return fold_blocks(b, made, shape, [0, 1, *pairs], (x.shape[0], group * filters, *sizes))


def _transposed_pads(
    site: Site,
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[tuple[int, int]]:
    """What is cut from both ends of the full result; output padding is cut less at the end."""
    rank = len(sizes)
    extra = site.wholes("output_padding") or (0,) * rank
    wanted, mode = site.wholes("output_shape"), site.text("auto_pad")
    full = [
        s * (n - 1) + d * (k - 1) + 1 + e
        for n, k, s, d, e in zip(sizes, kernel, strides, dilations, extra, strict=True)
    ]
    if wanted is None and mode in ("SAME_UPPER", "SAME_LOWER"):
        wanted = tuple(n * s for n, s in zip(sizes, strides, strict=True))
    if wanted is None:
        pads = site.wholes("pads") or (0,) * (2 * rank)
        return [(pads[i], pads[rank + i] - extra[i]) for i in range(rank)]
    out = []
    for i, (have, want) in enumerate(zip(full, wanted[-rank:], strict=True)):
        total = have - want
        less = total // 2
        low, high = (less, total - less) if mode == "SAME_UPPER" else (total - less, less)
        out.append((low, high - extra[i]))
    return out


@lowers("deform_conv")
def _deform_conv(site: Site) -> Value:
    """Columns gathered at shifted places, then a product a group."""
    b, x, w, offsets = site.b, site[0], site[1], site[2]
    bias, mask, group = site.maybe(3), site.maybe(4), site.whole("group")
    if len(x.shape) != 4:
        raise PlanError("deform_conv of pictures only")
    rows, columns = windows_of(site, x.shape[2:], w.shape[2:])
    words = [
        site.whole("offset_group"), rows.size, columns.size, rows.stride, columns.stride, rows.dilation,
        columns.dilation, rows.before, columns.before, rows.places, columns.places,
    ]  # fmt: skip
    operands = [b.operand(x), b.operand(offsets)]
    if mask is not None:
        operands.append(b.operand(mask))
    depth, places = x.shape[1] * rows.size * columns.size, rows.places * columns.places
    gathered = b.step(
        "deformable_gather", operands, [(x.dtype, (x.shape[0], depth, places))], words
    )[0]
    gathered = reshape(b, gathered, (x.shape[0], group, depth // group, places))
    weights = reshape(b, w, (group, w.shape[0] // group, depth // group))
    made = reshape(
        b, matmul(b, weights, gathered), (x.shape[0], w.shape[0], rows.places, columns.places)
    )
    return made if bias is None else binary(b, "add", made, reshape(b, bias, (w.shape[0], 1, 1)))


@lowers("col2_im")
def _col2_im(site: Site) -> Value:
    """Columns back to pictures, what overlaps summed: a sum over window positions of spread slices."""
    b, x = site.b, site[0]
    image, block = site.integers(1), site.integers(2)
    windows = windows_of(site, image, block)
    places = [window.places for window in windows]
    channels, rank = x.shape[1] // prod(block), len(image)
    shape = (x.shape[0], channels, *(w.n + w.before + w.after for w in windows))
    columns = reshape(b, x, (x.shape[0], channels, prod(block), *places))
    total: Value | None = None
    for position in range(prod(block)):
        rest, starts = position, [0] * rank
        for i in reversed(range(rank)):
            rest, at = divmod(rest, block[i])
            starts[i] = at * windows[i].dilation
        part = reshape(b, cut(b, columns, 2, position, 1), (x.shape[0], channels, *places))
        steps = [1, 1, *(window.stride for window in windows)]
        spread = place(b, part, shape, [0, 0, *starts], steps)
        total = spread if total is None else binary(b, "add", total, spread)
    assert total is not None
    first = [0, 0, *(window.before for window in windows)]
    return take_slice(b, total, first, (*shape[:2], *image), [1] * (2 + rank))
