"""The checker after each pass: every rule of its table refuses the step that breaks it, by name."""

from collections.abc import Callable

import pytest

from device_agent.engine.ops import ATOMS, Dtype
from device_agent.engine.plan.ir import Builder, Step, Value
from device_agent.engine.plan.planned import PlanError
from device_agent.engine.plan.target import KERNELS
from device_agent.engine.plan.verify import ROWS, verify

FLOAT = int(Dtype.FLOAT32)


class Plan:
    """y = relu(x + w), ready to be broken."""

    def __init__(self) -> None:
        b = Builder()
        self.x = b.given("x", FLOAT, (2, 3))
        w = b.literal(FLOAT, (3,), bytes(12))
        operands = [b.operand(self.x), b.operand(w)]
        (total,) = b.step("add", operands, [(FLOAT, (2, 3))])
        (self.y,) = b.step("relu", [b.operand(total)], [(FLOAT, (2, 3))])
        self.steps = b.steps

    def check(self) -> None:
        verify(self.steps, [self.x], [self.y], "a pass")


def test_a_sound_plan_passes() -> None:
    Plan().check()


def test_the_table_has_all_that_the_core_executes() -> None:
    assert set(ROWS) == {row.name for row in ATOMS} | set(KERNELS) | {"raster"}


def _unknown(plan: Plan) -> None:
    plan.steps[1].op = "rely"


def _too_many(plan: Plan) -> None:
    plan.steps[1].operands *= 2


def _results(plan: Plan) -> None:
    plan.steps[1].outputs.append(Value(FLOAT, (2, 3)))


def _words(plan: Plan) -> None:
    plan.steps[0].attributes.append(1)


def _order(plan: Plan) -> None:
    plan.steps.reverse()


def _twice(plan: Plan) -> None:
    plan.steps.append(plan.steps[1])


def _behind(plan: Plan) -> None:
    value, dtype, shape, _, strides = plan.steps[0].operands[0]
    plan.steps[0].operands[0] = (value, dtype, shape, 1, strides)


def _before(plan: Plan) -> None:
    value, dtype, shape, _, _ = plan.steps[0].operands[0]
    plan.steps[0].operands[0] = (value, dtype, shape, 0, (3, -1))


def _strides(plan: Plan) -> None:
    value, dtype, shape, shift, _ = plan.steps[0].operands[0]
    plan.steps[0].operands[0] = (value, dtype, shape, shift, (1,))


def _constant(plan: Plan) -> None:
    plan.steps[0].outputs[0].constant = True


def _shape(plan: Plan) -> None:
    plan.steps[1].outputs[0].shape = (3, 2)


def _sides(plan: Plan) -> None:
    value, dtype, _, shift, _ = plan.steps[0].operands[1]
    plan.steps[0].operands[1] = (value, dtype, (2,), shift, (1,))


def _dtype(plan: Plan) -> None:
    plan.steps[1].outputs[0].dtype = int(Dtype.INT32)


def _kernel_of_integers(plan: Plan) -> None:
    whole = Value(int(Dtype.INT32), (6,))
    step = plan.steps[1]
    plan.steps[1] = Step("to_plain", step.operands, [whole], [1, 2, 1, 3])
    plan.y = whole


def _never_made(plan: Plan) -> None:
    plan.y = Value(FLOAT, (2, 3))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (_unknown, r"after a pass, step 1 \(rely\) is not known"),
        (_too_many, "has 2 operands"),
        (_results, "has 2 results"),
        (_words, "has 1 attributes"),
        (_order, "reads what is not there yet"),
        (_twice, "makes what is there already"),
        (_behind, "reads elements 1 to 7 of 6"),
        (_before, "reads elements -2 to 4 of 6"),
        (_strides, "reads axes without strides"),
        (_constant, "makes a constant of what is none"),
        (_shape, r"makes \(3, 2\) of"),
        (_sides, r"shapes \(2, 3\) and \(2,\) do not broadcast"),
        (_dtype, "mixes dtypes"),
        (_kernel_of_integers, "is for float32"),
        (_never_made, "an output is never made"),
    ],
)
def test_each_rule_is_kept(break_it: Callable[[Plan], None], message: str) -> None:
    plan = Plan()
    break_it(plan)
    with pytest.raises(PlanError, match=message):
        plan.check()
