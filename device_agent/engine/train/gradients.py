"""Reverse mode over steps: atoms by their rules, rasters by their views swapped.

Rules of this module:

- One walk backwards over the steps that there are when it begins. A value that several steps read gets the sum of what
  comes back from each. Only what hangs on a wanted value is walked.
- What is no float32 has no gradient and ends the walk there.
- An atom without a rule is refused by name, when a gradient has to pass it.
"""

from __future__ import annotations

from collections.abc import Sequence

from device_agent.engine.ops import Dtype
from device_agent.engine.plan.ir import Builder, Step, Value
from device_agent.engine.plan.planned import PlanError
from device_agent.engine.plan.transforms import reshape
from device_agent.engine.train import rules_convolution as _convolution  # noqa: F401
from device_agent.engine.train import rules_elementwise as _elementwise  # noqa: F401 - fills the table
from device_agent.engine.train import rules_indexing as _indexing  # noqa: F401
from device_agent.engine.train import rules_pools as _pools  # noqa: F401
from device_agent.engine.train import rules_products as _products  # noqa: F401
from device_agent.engine.train import rules_reductions as _reductions  # noqa: F401
from device_agent.engine.train.rules import RULES, Place
from device_agent.engine.train.views import raster_gradients, returned, total


def gradients(b: Builder, value: Value, seed: Value, wanted: Sequence[Value]) -> list[Value | None]:
    """The gradients of wanted values, each in its shape; None where `value` does not hang on one.

    Args:
        b: The steps that made `value`; those of the gradients are added.
        value: What was computed.
        seed: The gradient of it, in its shape.
        wanted: Values with memory: inputs of the stage.

    Raises:
        PlanError: there is no rule for an atom between them.
    """
    base, shift = b.memory(value)
    steps = list(b.steps)
    active = _active(steps, wanted)
    found: dict[int, list[Value]] = {id(base): [_in_base(b, seed, base, shift)]}
    for step in reversed(steps):
        came = found.get(id(step.outputs[0])) if id(step.outputs[0]) in active else None
        if came is None:
            continue
        gradient = reshape(b, total(b, came), step.outputs[0].shape)
        needs = [id(operand[0]) in active for operand in step.operands]
        for operand, part in zip(step.operands, _backward(b, step, gradient, needs), strict=True):
            if part is not None and id(operand[0]) in active:
                found.setdefault(id(operand[0]), []).append(part)
    return [
        reshape(b, total(b, found[id(one)]), one.shape) if id(one) in found else None
        for one in wanted
    ]


def _active(steps: Sequence[Step], wanted: Sequence[Value]) -> set[int]:
    """The float values that hang on wanted ones."""
    active = {id(value) for value in wanted}
    for step in steps:
        if any(id(operand[0]) in active for operand in step.operands):
            active.update(id(out) for out in step.outputs if out.dtype == Dtype.FLOAT32)
    return active


def _in_base(b: Builder, seed: Value, base: Value, shift: int) -> Value:
    if seed.size == base.size:
        return reshape(b, seed, (base.size,))
    return b.move(seed.dtype, (base.size,), [(seed, 0, shift, ((seed.size, 1, 1),))], 0)


def _backward(
    b: Builder, step: Step, gradient: Value, needs: Sequence[bool]
) -> Sequence[Value | None]:
    """The gradients of a step's operands' memory, flat."""
    if step.op == "raster":
        return raster_gradients(b, step, gradient)
    rule = RULES.get(step.op)
    if rule is None:
        raise PlanError(
            f"{step.op} has no gradient; train what comes after it, or export the model without it"
        )
    parts = rule(Place(b, step, gradient, needs))
    return [
        returned(b, part, operand) if part is not None and need else None
        for part, operand, need in zip(parts, step.operands, needs, strict=True)
    ]
