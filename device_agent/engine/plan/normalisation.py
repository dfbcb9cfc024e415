"""Finds a normalisation over the last axis among steps: as exporters spell it out, and as our lowering does.

Rules of this module:

- (x - mean) / sqrt(mean((x - mean)^2) + epsilon) * scale + shift, the division as such or by an inverse; nobody else
  reads what lies between.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from device_agent.engine.plan.fuse import Readers, is_float, scalar_of
from device_agent.engine.plan.ir import Operand, Step, Value
from device_agent.engine.plan.region import strides_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalisation:
    """What is normalised and how; `parts` are the steps that say so, in order."""

    x: Operand
    epsilon: float
    scale: Operand
    shift: Operand
    out: Value
    parts: tuple[Step, ...]


def normalisation_from(mean: Step, readers: Readers) -> Normalisation | None:
    """The normalisation that begins with this mean."""
    x = mean.operands[0]
    if not _is_mean(mean) or x[4] != strides_of(x[2]) or not prod(x[2]):
        return None
    centre = readers.only(mean.outputs[0])
    if centre is None or centre.op != "subtract" or centre.operands[0] != x:
        return None
    centred = centre.outputs[0]
    users = readers.all(centred)
    square = next((s for s in users or () if _is_square(s, centred)), None)
    variance = _then(square, "reduce_mean", readers)
    if square is None or variance is None or not _is_mean(variance):
        return None
    added = _then(variance, "add", readers)
    root = _then(added, "sqrt", readers)
    scaled = _then(root, "divide", readers)
    if added is None or root is None or scaled is None:
        return None
    parts = [mean, centre, square, variance, added, root, scaled]
    if scaled.operands[0][0] is not centred:
        if scalar_of(scaled.operands[0]) != 1.0:
            return None
        product = _then(scaled, "multiply", readers)
        if product is None:
            return None
        parts.append(product)
    last = parts[-1]
    used = sum(step is square or step is last for step in users or ())
    if used != len(users or ()) or centred not in [operand[0] for operand in last.operands]:
        return None
    epsilon = scalar_of(added.operands[1])
    width = x[2][-1]
    by, plus = _then(last, "multiply", readers), None
    plus = _then(by, "add", readers)
    if by is None or plus is None or epsilon is None:
        return None
    scale, shift = _row(by, last.outputs[0], width), _row(plus, by.outputs[0], width)
    if scale is None or shift is None or not all(map(is_float, (*parts, by, plus))):
        return None
    out = plus.outputs[0]
    if out.shape != centred.shape:
        return None
    return Normalisation(
        x=x, epsilon=epsilon, scale=scale, shift=shift, out=out, parts=(*parts, by, plus)
    )


def _then(step: Step | None, op: str, readers: Readers) -> Step | None:
    """The one reader of a step's result, if it is of this kind."""
    found = None if step is None else readers.only(step.outputs[0])
    return found if found is not None and found.op == op else None


def _is_mean(step: Step) -> bool:
    rank = len(step.operands[0][2])
    return step.op == "reduce_mean" and step.attributes == [1, rank - 1]


def _is_square(step: Step, value: Value) -> bool:
    if step.op == "multiply":
        return all(operand[0] is value for operand in step.operands)
    return (
        step.op == "power" and step.operands[0][0] is value and scalar_of(step.operands[1]) == 2.0
    )


def _row(step: Step, value: Value, width: int) -> Operand | None:
    """The other operand, when it is a constant number a column."""
    other = step.operands[1] if step.operands[0][0] is value else step.operands[0]
    base, _, shape, _, strides = other
    if not base.constant or shape[-1:] != (width,) or prod(shape) != width or strides[-1] != 1:
        return None
    return other
