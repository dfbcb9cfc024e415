"""A flat plan read back into records, to be costed and for other backends. native/session/plan.h says the layout.

Rules of this module:

- The words come from this process's planner. What an untrusted plan may do is the core's business, which checks every
  word; here a plan of another version or length is refused and the rest is believed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from device_agent.engine.ops import ATOMS, RASTER, Dtype
from device_agent.engine.plan.emit import MAGIC, RANK, VERSION
from device_agent.engine.plan.planned import PlanError
from device_agent.engine.plan.target import KERNELS

HEADER_WORDS = 16
TENSOR_WORDS = 4 + 2 * RANK
REGION_WORDS = 12
_NAMES = {row.id: row.name for row in ATOMS} | {RASTER: "raster"}
_KERNELS = {number: name for name, number in KERNELS.items()}


class Space(IntEnum):
    """Where a tensor of a plan lies."""

    ARENA = 0
    KEPT = 1
    LITERAL = 2
    WEIGHTS = 3


@dataclass(frozen=True, slots=True)
class TensorRow:
    """A tensor of a plan.

    Attributes:
        space: Where it lies.
        offset: Bytes from the start of the space.
        dtype: Its elements' type.
        shape: Its sizes.
        strides: Elements from one to the next of each axis; may be 0 or negative.
    """

    space: Space
    offset: int
    dtype: Dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """One step.

    Attributes:
        op: An atom's name, or "raster"; or a kernel's.
        inputs: Indices of tensors.
        outputs: Indices of tensors.
        attributes: Words; floats as the bits of a double.
    """

    op: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    attributes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Region:
    """Elements that a raster moves, along three axes.

    Attributes:
        source: Which of the inputs.
        source_start: First element there, and its strides.
        start: First element of the result, and its strides.
        sizes: Of the three axes.
    """

    source: int
    source_start: int
    source_strides: tuple[int, int, int]
    start: int
    strides: tuple[int, int, int]
    sizes: tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRows:
    """A plan as records.

    Attributes:
        tensors: All tensors.
        inputs: Indices of what a run is given.
        outputs: Indices of what it makes.
        prologue: Commands that run once.
        body: Commands of every run.
        arena_bytes: Of the space that runs work in.
        kept_bytes: Of the space that the prologue fills.
        literals: The literal space.
    """

    tensors: tuple[TensorRow, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    prologue: tuple[Command, ...]
    body: tuple[Command, ...]
    arena_bytes: int
    kept_bytes: int
    literals: bytes


def read_plan(data: bytes, *, kernels: bool = False) -> PlanRows:
    """The records of a plan's words.

    Args:
        data: The words.
        kernels: Whether it may have kernels that only the core has.

    Raises:
        PlanError: it is of another version, is cut short, or has kernels that only the core has.
    """
    words = struct.unpack(f"<{len(data) // 8}q", data[: len(data) // 8 * 8])
    if len(words) < HEADER_WORDS or words[:3] != (MAGIC, VERSION, len(words)):
        raise PlanError("the plan is of another version or cut short; plan the model again")
    tensors, inputs, outputs, commands, prologue, arena, kept, literal_bytes = words[3:11]
    at = HEADER_WORDS
    rows = tuple(_tensor(words, at + i * TENSOR_WORDS) for i in range(tensors))
    at += tensors * TENSOR_WORDS
    given, made = words[at : at + inputs], words[at + inputs : at + inputs + outputs]
    names = _NAMES | _KERNELS if kernels else _NAMES
    steps = tuple(_commands(words, at + inputs + outputs, commands, names))
    start = 8 * (len(words) - -(-literal_bytes // 8))
    return PlanRows(
        tensors=rows,
        inputs=given,
        outputs=made,
        prologue=steps[:prologue],
        body=steps[prologue:],
        arena_bytes=arena,
        kept_bytes=kept,
        literals=data[start : start + literal_bytes],
    )


def _tensor(words: Sequence[int], at: int) -> TensorRow:
    space, offset, dtype, rank = words[at : at + 4]
    sizes, strides = at + 4, at + 4 + RANK
    return TensorRow(
        Space(space),
        offset,
        Dtype(dtype),
        tuple(words[sizes : sizes + rank]),
        tuple(words[strides : strides + rank]),
    )


def _commands(
    words: Sequence[int], at: int, count: int, names: Mapping[int, str]
) -> Iterator[Command]:
    for _ in range(count):
        number, inputs, outputs, attributes = words[at : at + 4]
        if number not in names:
            raise PlanError(
                f"the plan has kernel {number}, which only the core has; plan without a target"
            )
        first, second = at + 4 + inputs, at + 4 + inputs + outputs
        end = second + attributes
        yield Command(
            names[number],
            tuple(words[at + 4 : first]),
            tuple(words[first:second]),
            tuple(words[second:end]),
        )
        at = end


def regions_of(raster: Command) -> Iterator[Region]:
    """The regions of a raster."""
    words = raster.attributes
    for at in range(3, len(words), REGION_WORDS):
        source, start, s0, s1, s2, to, d0, d1, d2, n0, n1, n2 = words[at : at + REGION_WORDS]
        yield Region(source, start, (s0, s1, s2), to, (d0, d1, d2), (n0, n1, n2))


def number_of(word: int) -> float:
    """A float attribute."""
    return float(struct.unpack("<d", struct.pack("<q", word))[0])
