"""Chains: elementwise steps that follow each other become one pass over memory, over all threads.

Rules of this module:

- It works on steps as they will run, in whatever layout: a normalisation in front of an activation over blocks of
  channels is a chain like any other.
- A chain stands where its last step stood. What is between its steps nobody else reads, and it needs no memory.
- Operands are seen along at most three axes, each with one stride or repeated; what this cannot say stays an atom.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from device_agent.engine.ops import Dtype
from device_agent.engine.plan.arithmetic import word_of
from device_agent.engine.plan.fuse import Readers, scalar_of
from device_agent.engine.plan.ir import Operand, Shape, Step, Value, spread
from device_agent.engine.plan.region import strides_of
from device_agent.engine.plan.target import CLIP, NONE, SIGMOID, TANH

# As native/kernels/chain_step.h has them.
_BINARY = {"add": 0, "subtract": 1, "multiply": 2, "divide": 3}
_ACTIVATE = 6
_UNARY = {"negative": 7, "absolute": 8, "sqrt": 10, "power": 13}
_ACTIVATIONS = {"relu": CLIP, "clip": CLIP, "sigmoid": SIGMOID, "tanh": TANH}
QUARTERS_MAX = 16  # of a power
INPUTS_MAX = 8
STEPS_MAX = 16
AXES = 3
REPEATED_MIN = 1_024  # elements of one step alone whose operand repeats in between
ALONE_MIN = 32_768  # elements of one step alone that are worth a second thread

type _Axes = tuple[Shape, list[tuple[int, ...]]]  # sizes, and each operand's strides along them


def chained(steps: Sequence[Step], outputs: Sequence[Value], threads: int) -> list[Step]:
    """The steps with chains in place of what they do in one pass."""
    readers = Readers(steps, outputs)
    taken = readers.taken
    at_last: dict[int, Step] = {}
    for step in steps:
        if id(step) in taken or not _chainable(step):
            continue
        parts = _grown(step, readers)
        shared = threads > 1 and step.outputs[0].size >= ALONE_MIN
        worth = len(parts) > 1 or shared or step.op == "power" or _repeats_within(step)
        made = _chain_of(parts) if worth else None
        if made is not None:
            taken.update(map(id, parts))
            at_last[id(parts[-1])] = made
    kept = [at_last.get(id(s), s) for s in steps if id(s) not in taken or id(s) in at_last]
    for step in at_last.values():
        step.outputs[0].step = step
    return kept


def _chainable(step: Step) -> bool:
    known = step.op in _BINARY or step.op in _UNARY or step.op in _ACTIVATIONS
    if not known or len(step.outputs) != 1 or step.outputs[0].constant:
        return False
    if step.op == "power" and not _is_quarters(scalar_of(step.operands[1])):
        return False
    return bool(step.outputs[0].size) and all(
        operand[1] == Dtype.FLOAT32 and min(operand[4], default=0) >= 0 for operand in _read(step)
    )


def _is_quarters(power: float | None) -> bool:
    return power is not None and 4 * power in range(1, QUARTERS_MAX + 1)


def _read(step: Step) -> Sequence[Operand]:
    """What a step reads run by run; a power's exponent is a number of the step itself."""
    return step.operands[:1] if step.op == "power" else step.operands


def _repeats_within(step: Step) -> bool:
    """Whether an operand repeats along a middle axis, as a number a channel does over blocks: atoms have short runs."""
    shape = step.outputs[0].shape
    return step.outputs[0].size >= REPEATED_MIN and any(
        any(row[i] == 0 and n > 1 and any(row[i + 1 :]) for i, n in enumerate(shape))
        for row in (spread(operand, shape) for operand in _read(step))
    )


def _grown(first: Step, readers: Readers) -> list[Step]:
    """The steps from the first on, each the only reader of the one before, of one shape."""
    parts = [first]
    while len(parts) < STEPS_MAX:
        value = parts[-1].outputs[0]
        follower = readers.only(value)
        if follower is None or not _chainable(follower):
            break
        (mine,) = (operand for operand in _read(follower) if operand[0] is value)
        straight = mine[3] == 0 and mine[4] == strides_of(mine[2])
        if mine[2] != value.shape or follower.outputs[0].shape != value.shape or not straight:
            break
        trial = [*parts, follower]
        if len(_inputs(trial)) > INPUTS_MAX or _axes(trial) is None:
            break
        parts = trial
    return parts


def _inputs(parts: Sequence[Step]) -> list[Operand]:
    """What a chain reads from memory, each once."""
    inner = {id(step.outputs[0]) for step in parts}
    found: dict[object, Operand] = {}
    for step in parts:
        for operand in _read(step):
            if id(operand[0]) not in inner:
                found.setdefault((id(operand[0]), *operand[1:]), operand)
    return list(found.values())


def _axes(parts: Sequence[Step]) -> _Axes | None:
    """The result's axes, joined where every operand lets them be; None when more than three are left."""
    shape = parts[-1].outputs[0].shape
    rows = [spread(operand, shape) for operand in _inputs(parts)]
    sizes: list[int] = []
    strides: list[list[int]] = [[] for _ in rows]
    for axis, n in enumerate(shape):
        if n == 1:
            continue
        joins = bool(sizes) and all(
            have[-1] == row[axis] * n for have, row in zip(strides, rows, strict=True)
        )
        if joins:
            sizes[-1] *= n
        else:
            sizes.append(n)
        for have, row in zip(strides, rows, strict=True):
            have[len(sizes) - 1 :] = [row[axis]]
    if len(sizes) > AXES or any(have and have[-1] not in (0, 1) for have in strides):
        return None
    lead = AXES - len(sizes)
    return (1,) * lead + tuple(sizes), [(0,) * lead + tuple(have) for have in strides]


def _chain_of(parts: Sequence[Step]) -> Step | None:
    axes = _axes(parts)
    if axes is None:
        return None
    sizes, strides = axes
    inputs = _inputs(parts)
    words = [*sizes, *(stride for row in strides for stride in row), len(parts)]
    registers = {(id(o[0]), *o[1:]): i for i, o in enumerate(inputs)}
    made: dict[int, int] = {}
    for i, step in enumerate(parts):
        places = [
            made[id(o[0])] if id(o[0]) in made else registers[id(o[0]), *o[1:]] for o in _read(step)
        ]
        made[id(step.outputs[0])] = to = len(inputs) + i
        operation, activation = _operation(step.op)
        words += [operation, places[0], places[-1], to, activation, *_bounds(step)]
    operands = [_flat(operand, row, sizes) for operand, row in zip(inputs, strides, strict=True)]
    return Step("chain", operands, [parts[-1].outputs[0]], words)


def _operation(op: str) -> tuple[int, int]:
    """A step's operation, and its activation when it is one."""
    if op in _ACTIVATIONS:
        return _ACTIVATE, _ACTIVATIONS[op]
    return (_BINARY[op] if op in _BINARY else _UNARY[op]), NONE


def _bounds(step: Step) -> list[int]:
    if step.op == "relu":
        return [word_of(0.0), word_of(inf)]
    if step.op == "power":
        return [word_of(scalar_of(step.operands[1]) or 0.0), word_of(0.0)]
    return list(step.attributes) if step.op == "clip" else [word_of(0.0), word_of(0.0)]


def _flat(operand: Operand, strides: Sequence[int], sizes: Shape) -> Operand:
    """The elements that a chain may read of an operand, one after the other."""
    value, dtype, _, shift, _ = operand
    reach = 1 + sum((n - 1) * stride for n, stride in zip(sizes, strides, strict=True))
    return value, dtype, (reach,), shift, (1,)
