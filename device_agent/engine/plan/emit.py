"""The flat plan: 64-bit words that the core checks and runs. native/session/plan.h says the layout.

Rules of this module:

- Steps that no output needs are left out; steps that depend on constants only come first and run once.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from device_agent.engine.ops import ATOM, ITEM_BYTES, RASTER
from device_agent.engine.plan.chain import chained
from device_agent.engine.plan.ir import Builder, Operand, Step, Value
from device_agent.engine.plan.memory import plan_memory
from device_agent.engine.plan.planned import Plan
from device_agent.engine.plan.region import strides_of
from device_agent.engine.plan.schedule import scheduled
from device_agent.engine.plan.target import KERNELS, Target
from device_agent.engine.plan.verify import verify

MAGIC = 0x4E414C504C414853
VERSION = 1
RANK = 8
_NUMBERS = {"raster": RASTER, **KERNELS}
_ARENA, _KEPT, _LITERAL, _WEIGHTS = range(4)


def needed_steps(steps: Sequence[Step], outputs: Sequence[Value]) -> list[Step]:
    """The steps that outputs hang on, in order: dead code is dropped here."""
    wanted = {id(value) for value in outputs}
    kept = []
    for step in reversed(steps):
        if any(id(value) in wanted for value in step.outputs):
            kept.append(step)
            wanted.update(id(operand[0]) for operand in step.operands)
    return kept[::-1]


class _Tables:
    """Tensor records and literal bytes so far."""

    def __init__(self, offsets: dict[int, int], kept: dict[int, int]) -> None:
        self.words = array("q")
        self.count = 0
        self.literals = bytearray()
        self._offsets = offsets
        self._kept = kept
        self._places: dict[int, int] = {}
        self._records: dict[tuple[int, int, tuple[int, ...], int, tuple[int, ...]], int] = {}

    def add(self, operand: Operand) -> int:
        """The index of an operand's record."""
        value, dtype, shape, shift, strides = operand
        key = (id(value), dtype, shape, shift, strides)
        index = self._records.get(key)
        if index is None:
            index = self._records[key] = self.count
            self.count += 1
            space, start = self._place(value)
            self.words.extend((space, start + shift * ITEM_BYTES[value.dtype], dtype, len(shape)))
            self.words.extend(shape + (0,) * (RANK - len(shape)))
            self.words.extend(strides + (0,) * (RANK - len(strides)))
        return index

    def _place(self, value: Value) -> tuple[int, int]:
        if id(value) in self._offsets:
            return _ARENA, self._offsets[id(value)]
        if id(value) in self._kept:
            return _KEPT, self._kept[id(value)]
        if value.start >= 0:
            return _WEIGHTS, value.start
        assert value.data is not None, value
        if id(value) not in self._places:
            self.literals.extend(bytes(-len(self.literals) % 64))
            self._places[id(value)] = len(self.literals)
            self.literals.extend(value.data)
        return _LITERAL, self._places[id(value)]


def emit(
    b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], target: Target | None
) -> Plan:
    """The flat plan that makes outputs from inputs, for the kernels of a target or for atoms alone."""
    ports = [b.operand(value) for value in outputs]
    bases = [port[0] for port in ports]
    steps = needed_steps(b.steps, bases)
    verify(steps, inputs, bases, "lowering")
    if target is not None:
        steps = needed_steps(scheduled(b, steps, bases, target), bases)
        verify(steps, inputs, bases, "scheduling")
        steps = chained(steps, bases, target.threads)
        verify(steps, inputs, bases, "chaining")
    once = [step for step in steps if all(value.constant for value in step.outputs)]
    body = [step for step in steps if not all(value.constant for value in step.outputs)]
    lasting = [operand[0] for step in body for operand in step.operands] + bases
    keeps, kept_bytes = plan_memory(once, [], [value for value in lasting if value.constant])
    offsets, arena_bytes = plan_memory(body, inputs, [port[0] for port in ports])
    tables = _Tables(offsets, keeps)
    commands = array("q")
    given = [tables.add(_whole(value)) for value in inputs]
    for step in (*once, *body):
        operands = [tables.add(operand) for operand in step.operands]
        results = [tables.add(_whole(value)) for value in step.outputs]
        number = _NUMBERS[step.op] if step.op in _NUMBERS else ATOM[step.op].id
        commands.extend((number, len(operands), len(results), len(step.attributes)))
        commands.extend((*operands, *results, *step.attributes))
    made = [tables.add(port) for port in ports]
    literals = bytes(tables.literals)
    words = array("q", bytes(128))
    words.extend(tables.words)
    words.extend((*given, *made))
    words.extend(commands)
    literal_words = -(-len(literals) // 8)
    header = (
        MAGIC, VERSION, len(words) + literal_words, tables.count, len(given), len(made),
        len(once) + len(body), len(once), arena_bytes, kept_bytes, len(literals),
    )  # fmt: skip
    words[: len(header)] = array("q", header)
    data = words.tobytes() + literals.ljust(8 * literal_words, b"\0")
    return Plan(
        words=data,
        steps=len(body),
        prologue=len(once),
        rasters=sum(step.op == "raster" for step in body),
        moves=b.moves,
        arena_bytes=arena_bytes,
    )


def _whole(value: Value) -> Operand:
    return value, value.dtype, value.shape, 0, strides_of(value.shape)
