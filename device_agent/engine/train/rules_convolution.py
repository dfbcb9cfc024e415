"""Gradients of convolutions.

Both are convolutions: of the spread result by the turned weights, and of the input by the result with stride and
dilation exchanged (Dumoulin and Visin, 2016).
"""

from __future__ import annotations

from collections.abc import Sequence

from device_agent.engine.plan.arithmetic import (
    reduce,
)
from device_agent.engine.plan.ir import Value
from device_agent.engine.plan.lower_windows import convolve
from device_agent.engine.plan.transforms import (
    flip,
    pad_with,
    place,
    reshape,
    take_slice,
    transpose,
)
from device_agent.engine.plan.window import Window
from device_agent.engine.train.rules import Place, gradient_of


@gradient_of("convolution")
def _convolution(at: Place) -> list[Value | None]:
    sizes, kernel = at.shape(0)[2:], at.shape(1)[2:]
    rows = [at.words[i : i + 4] for i in range(1, len(at.words), 4)]
    windows = [Window(n, size, *row) for n, size, row in zip(sizes, kernel, rows, strict=True)]
    bias = None
    if at.wants(2):
        axes = [0, *range(2, 2 + len(sizes))]
        bias = reduce(at.b, "reduce_sum", at.gradient, axes, keep=False)
    return [
        _of_input(at, windows) if at.wants(0) else None,
        _of_weights(at, windows) if at.wants(1) else None,
        bias,
    ][: len(at)]


def _of_input(at: Place, windows: Sequence[Window]) -> Value:
    b, w, gradient, group = at.b, at[1], at.gradient, at.words[0]
    spread = [(n - 1) * one.stride + 1 for n, one in zip(gradient.shape[2:], windows, strict=True)]
    steps = [1, 1, *(one.stride for one in windows)]
    wide = place(b, gradient, (*gradient.shape[:2], *spread), [0] * len(steps), steps)
    pads = [(0, 0), (0, 0)]
    for n, one in zip(spread, windows, strict=True):
        low = one.reach - 1 - one.before
        pads.append((low, one.n + one.reach - 1 - n - low))
    wide = pad_with(b, wide, pads)
    filters, inner, kernel = w.shape[0] // group, w.shape[1], w.shape[2:]
    turned = reshape(b, w, (group, filters, inner, *kernel))
    turned = transpose(b, turned, [0, 2, 1, *range(3, 3 + len(kernel))])
    turned = reshape(b, turned, (group * inner, filters, *kernel))
    for axis in range(2, 2 + len(kernel)):
        turned = flip(b, turned, axis)
    back = [
        Window(n, one.size, 1, one.dilation, 0, 0)
        for n, one in zip(wide.shape[2:], windows, strict=True)
    ]
    return convolve(b, wide, turned, None, back, group)


def _of_weights(at: Place, windows: Sequence[Window]) -> Value:
    """Batch and channels change places: input channels are the batch, each group sums over the old batch."""
    b, x, gradient, group = at.b, at[0], at.gradient, at.words[0]
    batch, inner, filters = x.shape[0], x.shape[1] // group, gradient.shape[1]
    sizes, places = x.shape[2:], gradient.shape[2:]
    spatial = range(3, 3 + len(sizes))
    given = reshape(b, x, (batch, group, inner, *sizes))
    given = reshape(b, transpose(b, given, [2, 1, 0, *spatial]), (inner, group * batch, *sizes))
    turned = transpose(b, gradient, [1, 0, *range(2, 2 + len(sizes))])
    swapped = [
        Window(one.n, n, one.dilation, one.stride, one.before, one.after)
        for n, one in zip(places, windows, strict=True)
    ]
    made = convolve(b, given, reshape(b, turned, (filters, batch, *places)), None, swapped, group)
    # What the last stride left over would be further positions of the window.
    kernel = [one.size for one in windows]
    made = take_slice(
        b, made, [0] * len(made.shape), [inner, filters, *kernel], [1] * len(made.shape)
    )
    return transpose(b, made, [1, 0, *range(2, 2 + len(sizes))])
