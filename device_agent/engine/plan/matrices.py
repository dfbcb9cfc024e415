"""Matrices among operands: the two sides of a product as the kernels take them."""

from __future__ import annotations

from math import prod

from device_agent.engine.plan.arithmetic import HALVES, word_of
from device_agent.engine.plan.ir import Operand, Step
from device_agent.engine.plan.region import strides_of

_FLOPS_MIN = 4096  # less is not worth a packed side
_ROWS_MIN = 4  # fewer wait for the weights to be read, and packing would only double those
_READ_MIN = (
    16_384  # elements that are read where they lie; fewer are not worth a kernel of their own
)


def sides(step: Step) -> tuple[Operand, Operand] | None:
    """(m, k) and (k, n) with strides, of a product that kernels can do; None of another.

    A gemm's factors must be 1, and what it adds a constant, one number a column or one in all.
    """
    a, b = step.operands[0], step.operands[1]
    if not step.outputs[0].size or not a[2][-1]:
        return None
    if step.op == "gemm":
        return (
            (_turned(a, step.attributes[2]), _turned(b, step.attributes[3]))
            if _adds_a_row(step)
            else None
        )
    if len(b[2]) != 2 or len(a[2]) < 2:
        return None
    base, dtype, shape, shift, strides = a
    if strides == strides_of(shape):
        rows = prod(shape[:-1])
        return (base, dtype, (rows, shape[-1]), shift, (shape[-1], 1)), b
    if prod(shape[:-2]) == 1:
        return (base, dtype, shape[-2:], shift, strides[-2:]), b
    return None


def _adds_a_row(step: Step) -> bool:
    alpha, beta = step.attributes[:2]
    one = word_of(1.0)
    if alpha != one or (len(step.operands) == 3 and beta != one):
        return False
    if len(step.operands) < 3:
        return True
    base, _, shape, _, _ = step.operands[2]
    n = step.outputs[0].shape[1]
    return base.constant and (prod(shape) == 1 or (prod(shape) == n and shape[-1] == n))


def is_packed(left: Operand, right: Operand) -> bool:
    """Whether packing the right side pays."""
    return left[2][0] >= _ROWS_MIN and left[2][0] * prod(right[2]) >= _FLOPS_MIN


def is_read_in_place(left: Operand, right: Operand) -> bool:
    """Whether the kernel for few rows takes it: sides whose columns or rows are neighbours, and enough to share out."""
    rows, (row, column) = left[2][0], right[4]
    near = left[4][1] == 1 and 1 in (row, column)
    return near and rows < _ROWS_MIN and prod(right[2]) >= _READ_MIN


def _turned(operand: Operand, turn: int) -> Operand:
    base, dtype, shape, shift, strides = operand
    return (base, dtype, shape[::-1], shift, strides[::-1]) if turn else operand


def unwidened(right: Operand) -> Operand:
    """The halves that a right side was widened from, as it lies; itself if it was not."""
    value, _, shape, shift, strides = right
    step = value.step
    if step is None or step.op != "cast":
        return right
    base, dtype, _, start, lies = step.operands[0]
    straight = dtype in HALVES and lies == strides_of(step.operands[0][2])
    return (base, dtype, shape, shift + start, strides) if straight else right


def batched(operand: Operand) -> Operand | None:
    """(batch, rows, columns): leading axes as one, where their strides allow it."""
    base, dtype, shape, shift, strides = operand
    lead = joined(shape[:-2], strides[:-2])
    if len(lead) > 1:
        return None
    n, s = lead[0] if lead else (1, 0)
    return base, dtype, (n, *shape[-2:]), shift, (s, *strides[-2:])


def joined(shape: tuple[int, ...], strides: tuple[int, ...]) -> list[tuple[int, int]]:
    """(size, stride) of axes, those of one element left out, neighbours as one where their strides let them be."""
    axes: list[tuple[int, int]] = []
    for n, s in zip(shape, strides, strict=True):
        if n == 1:
            continue
        if axes and axes[-1][1] == n * s:
            axes[-1] = (axes[-1][0] * n, s)
        else:
            axes.append((n, s))
    return axes
