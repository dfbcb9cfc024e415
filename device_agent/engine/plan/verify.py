"""Checks the steps of a plan against the table of what the core executes, after each pass that rewrites them.

Rules of this module:

- What it refuses is a planner's mistake: the message names the pass, the step and the rule. A session checks shapes and
  dtypes of a finished plan again, without knowing which pass was wrong.
- It costs some microseconds a step, so it always runs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import reduce

from device_agent.engine.ops import ATOM, ITEM_BYTES, Dtype
from device_agent.engine.plan.arithmetic import broadcast
from device_agent.engine.plan.ir import Operand, Step, Value
from device_agent.engine.plan.planned import PlanError

MANY = 1 << 20


@dataclass(frozen=True, slots=True)
class StepRow:
    """What a step of one kind must keep to.

    Attributes:
        inputs: Fewest and most.
        outputs: How many.
        words: Fewest and most.
        kind: "alike": results are as the operands broadcast, of their dtype; "compare": the same, of bool; "float": all
            is float32; "" for what has a rule of its own, which the core checks.
    """

    inputs: tuple[int, int]
    outputs: int = 1
    words: tuple[int, int] = (0, 0)
    kind: str = ""


_ALIKE = frozenset({
    "add", "subtract", "multiply", "divide", "maximum", "minimum", "power", "remainder", "truncated_remainder",
    "bit_and", "bit_or", "bit_xor", "relu", "negative", "absolute", "clip", "sign", "sigmoid", "tanh", "exp", "sqrt",
    "logarithm", "floor", "ceil", "round",
})  # fmt: skip
_COMPARE = frozenset({
    "equal", "less", "less_equal", "logical_and", "logical_or", "logical_xor", "logical_not",
})  # fmt: skip


def _atom_rows() -> dict[str, StepRow]:
    rows = {}
    for row in ATOM.values():
        names = row.attributes.split()
        open_end = bool(names) and names[-1].endswith("...")
        words = (len(names) - open_end, MANY if open_end else len(names))
        kind = "alike" if row.name in _ALIKE else "compare" if row.name in _COMPARE else ""
        rows[row.name] = StepRow((row.inputs_min, row.inputs_max), row.outputs, words, kind)
    return rows


# Kernels, as native/session/kernel_command.cpp takes them; the second output of most is room to work in.
ROWS: dict[str, StepRow] = {
    **_atom_rows(),
    "raster": StepRow((0, MANY), words=(3, MANY)),
    "convolve": StepRow((2, 3), 2, (22, 22), "float"),
    "pack_convolution": StepRow((1, 2), 1, (18, 18), "float"),
    "pack_conv_int8": StepRow((2, 3), words=(18, 18)),
    "convolve_int8": StepRow((2, 3), 2, (22, 22), "float"),
    "to_blocked": StepRow((1, 1), 1, (4, 4), "float"),
    "to_plain": StepRow((1, 1), 1, (4, 4), "float"),
    "pack_right": StepRow((1, 2), 1, (2, 2), "float"),
    "product": StepRow((2, 3), 2, (7, 7), "float"),
    "pack_strassen": StepRow((1, 2), 2, (2, 2), "float"),
    "product_strassen": StepRow((2, 3), 2, (7, 7), "float"),
    "row_product": StepRow((2, 4), 2, (8, 8)),  # its right side may be halves
    "pack_int8": StepRow((2, 3), words=(2, 2)),
    "product_int8": StepRow((2, 3), 2, (7, 7), "float"),
    "products": StepRow((2, 2), 2, (5, 5), "float"),
    "attention": StepRow((3, 4), 2, (11, 11), "float"),
    "pool_picture": StepRow((1, 1), 1, (19, 19), "float"),
    "normalize": StepRow((3, 3), 1, (3, 3), "float"),
    "chain": StepRow((1, 8), 1, (4, MANY), "float"),
}


def verify(
    steps: Sequence[Step], inputs: Collection[Value], outputs: Sequence[Value], after: str
) -> None:
    """Refuses steps that break a rule.

    Args:
        steps: In the order in which they would run.
        inputs: The stage's.
        outputs: What must be there at the end.
        after: The pass that made the steps.

    Raises:
        PlanError: the pass made a mistake.
    """
    there = {id(value) for value in inputs}
    for place, step in enumerate(steps):
        wrong = _wrong_step(step, there)
        if wrong:
            raise PlanError(f"planner: after {after}, step {place} ({step.op}) {wrong}")
        there.update(map(id, step.outputs))
    for value in outputs:
        if id(value) not in there and not _is_constant(value):
            raise PlanError(f"planner: after {after}, an output is never made")


def _is_constant(value: Value) -> bool:
    return value.data is not None or value.start >= 0


def _wrong_step(step: Step, there: Collection[int]) -> str:
    """What rule a step breaks; "" if none."""
    row = ROWS.get(step.op)
    if row is None:
        return "is not known"
    if not row.inputs[0] <= len(step.operands) <= row.inputs[1]:
        return f"has {len(step.operands)} operands"
    if len(step.outputs) != row.outputs:
        return f"has {len(step.outputs)} results"
    if not row.words[0] <= len(step.attributes) <= row.words[1]:
        return f"has {len(step.attributes)} attributes"
    for operand in step.operands:
        wrong = _wrong_operand(operand, there)
        if wrong:
            return wrong
    if any(id(value) in there for value in step.outputs):
        return "makes what is there already"
    constant = all(operand[0].constant for operand in step.operands)
    if not constant and any(value.constant for value in step.outputs):
        return "makes a constant of what is none"
    return _wrong_kind(step, row.kind)


def _wrong_operand(operand: Operand, there: Collection[int]) -> str:
    value, dtype, shape, shift, strides = operand
    if id(value) not in there and not _is_constant(value):
        return "reads what is not there yet"
    if len(shape) != len(strides):
        return "reads axes without strides"
    if 0 in shape:
        return ""
    steps = [(n - 1) * stride for n, stride in zip(shape, strides, strict=True)]
    first = shift + sum(step for step in steps if step < 0)
    behind = shift + sum(step for step in steps if step > 0) + 1
    if first < 0 or behind * ITEM_BYTES[dtype] > value.size * ITEM_BYTES[value.dtype]:
        return f"reads elements {first} to {behind} of {value.size}"
    return ""


def _wrong_kind(step: Step, kind: str) -> str:
    """Dtypes and shapes of what the table says a rule of."""
    out = step.outputs[0]
    if kind == "float":
        dtypes = [operand[1] for operand in step.operands] + [value.dtype for value in step.outputs]
        return "" if set(dtypes) == {Dtype.FLOAT32} else "is for float32"
    if not kind:
        return ""
    shapes = [operand[2] for operand in step.operands]
    try:
        wanted_shape = reduce(broadcast, shapes)
    except PlanError as error:
        return f"is wrong: {error}"
    if wanted_shape != out.shape:
        return f"makes {out.shape} of {shapes}"
    wanted = Dtype.BOOL if kind == "compare" else step.operands[0][1]
    if out.dtype != wanted or len({operand[1] for operand in step.operands}) != 1:
        return "mixes dtypes"
    return ""
