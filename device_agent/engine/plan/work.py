"""How much a plan does: the Q of Walle's cost, counted from its steps.

Rules of this module:

- A product counts two operations a term; every other result counts one. Bytes are those that a step reads and writes.
- Views that repeat elements (stride 0) read them once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from device_agent.engine.ops import ITEM_BYTES
from device_agent.engine.plan.costs import (
    ConvolutionShape,
    Machine,
    convolution_choices,
    matmul_choices,
)
from device_agent.engine.plan.words import Command, PlanRows, TensorRow

_PICTURE = 4  # axes of what the core's convolution kernels take


@dataclass(frozen=True, slots=True)
class Work:
    """What one step does.

    Attributes:
        flops: Operations.
        moved_bytes: Bytes read and written.
    """

    flops: float
    moved_bytes: float


def work_of(rows: PlanRows) -> Iterator[tuple[Command, Work]]:
    """The work of each step of a run; what runs once is not counted."""
    for command in rows.body:
        given = [rows.tensors[index] for index in command.inputs]
        made = [rows.tensors[index] for index in command.outputs]
        moved = sum(map(_bytes, (*given, *made)))
        yield command, Work(_flops(command, given, made[0]), moved)


def core_seconds(rows: PlanRows, machine: Machine, threads: int) -> float:
    """What a run costs on the core: its best algorithm for each product and convolution, and a stream for the rest."""
    return sum(
        _product_seconds(rows, command, machine, threads) or _stream_seconds(work, machine)
        for command, work in work_of(rows)
    )


def _stream_seconds(work: Work, machine: Machine) -> float:
    own = work.flops / machine.flops_per_s + work.moved_bytes / machine.near_bytes_per_s
    far = work.moved_bytes if work.moved_bytes > machine.cache_bytes else 0.0
    return own + far / machine.far_bytes_per_s + machine.call_s


def _product_seconds(
    rows: PlanRows, command: Command, machine: Machine, threads: int
) -> float | None:
    """Of what the cost model knows; None for another step."""
    given = [rows.tensors[index] for index in command.inputs]
    made = rows.tensors[command.outputs[0]]
    if 0 in made.shape:
        return None
    if command.op == "convolution" and len(made.shape) == _PICTURE:
        x, w = given[:2]
        shape = ConvolutionShape.of(command.attributes, x.shape, w.shape, made.shape)
        choices = convolution_choices(shape, machine)
        return min(choice.quantity.seconds(machine, threads) for choice in choices)
    if command.op == "matmul" and len(given[1].shape) > 1:
        k, n = given[1].shape[-2:]
        rows_in_all = prod(made.shape) // n
        choices = matmul_choices(rows_in_all, k, n, machine)
        return min(choice.quantity.seconds(machine, threads) for choice in choices)
    return None


def _flops(command: Command, given: Sequence[TensorRow], made: TensorRow) -> float:
    results = float(prod(made.shape))
    if command.op in ("matmul", "quantized_matmul"):
        return 2 * results * given[0].shape[-1]
    if command.op == "gemm":
        return 2 * results * given[0].shape[0 if command.attributes[2] else 1]
    if command.op in ("convolution", "quantized_convolution"):
        return 2 * results * prod(given[1].shape[1:])
    return 0.0 if command.op == "raster" else results


def _bytes(row: TensorRow) -> float:
    different = (n for n, stride in zip(row.shape, row.strides, strict=True) if stride != 0)
    return float(prod(different) * ITEM_BYTES[row.dtype])
