"""Plans a stretch of a graph: as far as shapes can be known before it runs.

Rules of this module:

- A stage ends before a control operator, and before an operator whose result's shape hangs on a number that the stage
  itself computes. What comes after is planned when the stage has run (Walle's module mode).
- A plan holds for the shapes and dtypes of its inputs, and for what it read of them (`read`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from device_agent.engine.graph import Constant, Operator
from device_agent.engine.ops import BY_NAME, OpClass
from device_agent.engine.plan import lowerings as _lowerings  # noqa: F401 - fills the table
from device_agent.engine.plan.context import LOWERINGS, Site
from device_agent.engine.plan.emit import emit
from device_agent.engine.plan.fold import Reader, Unknown
from device_agent.engine.plan.ir import Builder, Shape, Value
from device_agent.engine.plan.planned import PlanError, Stage
from device_agent.engine.plan.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a stage stands on.

    Attributes:
        constants: The model's.
        spec: Dtype code and shape of a tensor that is there.
        contents: Its bytes.
    """

    constants: Mapping[str, Constant]
    spec: Callable[[str], tuple[int, Shape]]
    contents: Callable[[str], bytes]


def plan_stage(
    operators: Sequence[Operator],
    start: int,
    around: Surroundings,
    wanted: Callable[[int], Collection[str]],
    target: Target | None = None,
) -> Stage:
    """The stage that begins at operator `start`; `wanted(i)`: the names that are used from operator i on.

    Without a target the plan is made of atoms alone.

    Raises:
        PlanError: an operator does not fit the shapes that it is given.
    """
    tracer = Tracer(around)
    end = start
    while end < len(operators) and BY_NAME[operators[end].op].kind is not OpClass.CONTROL:
        try:
            tracer.lower(operators[end])
        except Unknown as unknown:
            if end == start:
                raise PlanError(
                    f"{_label(operators[end])} needs more numbers than can be read"
                ) from unknown
            break
        end += 1
    outputs = tuple(name for name in tracer.made if name in wanted(end))
    inputs = [value for value in tracer.values.values() if value.name]
    plan = emit(tracer.builder, inputs, [tracer.made[name] for name in outputs], target)
    tracer.builder.forget()
    names = tuple(value.name for value in inputs)
    return Stage(plan=plan, inputs=names, outputs=outputs, end=end, read=tracer.reader.read)


def _label(operator: Operator) -> str:
    return f"{operator.op} that makes '{next(filter(None, operator.outputs), '')}'"


class Tracer:
    """Lowers operators one after the other.

    Attributes:
        builder: The steps so far.
        reader: What was read of tensors that are there.
        values: What is there, by name: inputs of the stage, and constants.
        made: What operators made, by name.
    """

    def __init__(self, around: Surroundings) -> None:
        self.builder = Builder()
        self.reader = Reader(around.contents)
        self.values: dict[str, Value] = {}
        self.made: dict[str, Value] = {}
        self._around = around

    def lower(self, operator: Operator) -> None:
        """Makes an operator's outputs.

        Raises:
            Unknown: it needs numbers that a step computes.
            PlanError: it does not fit the shapes that it is given.
        """
        values = [self.value(name) if name else None for name in operator.inputs]
        site = Site(self.builder, self.reader, operator, values)
        try:
            result = LOWERINGS[operator.op](site)
        except PlanError as error:
            raise PlanError(f"{_label(operator)}: {error}") from error
        except (ArithmeticError, struct.error) as error:  # attributes that no compiler writes
            raise PlanError(f"{_label(operator)} has numbers that cannot be: {error}") from error
        except (IndexError, ValueError) as error:  # axes that an input does not have
            shapes = ", ".join(str(value.shape) for value in values if value is not None)
            says = f"{_label(operator)} takes no inputs of shapes {shapes}: {error}"
            raise PlanError(says) from error
        results = [result] if isinstance(result, Value) else result
        for name, value in zip(operator.outputs, results, strict=False):
            if name:
                assert value is not None, (operator.op, name)
                self.made[name] = value

    def value(self, name: str) -> Value:
        """A tensor by its name: made, a constant, or else an input of the stage."""
        found = self.made.get(name) or self.values.get(name)
        if found is None:
            constant = self._around.constants.get(name)
            if constant is None:
                found = self.builder.given(name, *self._around.spec(name))
            elif constant.start:
                found = self.builder.weight(
                    constant.dtype, constant.shape, constant.data, constant.start
                )
            else:
                found = self.builder.literal(constant.dtype, constant.shape, bytes(constant.data))
            self.values[name] = found
        return found
