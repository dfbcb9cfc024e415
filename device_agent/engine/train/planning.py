"""Plans a step of training: forward pass, gradients and what moves the parameters, as one stage.

Rules of this module:

- It is a function of what a request can hold, so that a VM can have another plan it.
- Outputs are the loss, the moved parameters and their new states, by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from device_agent.engine.graph import Graph
from device_agent.engine.ops import BY_NAME, OpClass
from device_agent.engine.plan.emit import emit
from device_agent.engine.plan.fold import Unknown
from device_agent.engine.plan.ir import Shape, Value
from device_agent.engine.plan.planned import PlanError, Stage
from device_agent.engine.plan.stage import Surroundings, Tracer
from device_agent.engine.plan.target import Target
from device_agent.engine.train.gradients import gradients
from device_agent.engine.train.losses import LOSSES, Loss
from device_agent.engine.train.optimizers import OPTIMIZERS, Moving, Optimizer

TARGETS = "shoal.targets"
LOSS = "shoal.loss"

type Said = Sequence[Any]  # a kind's name and what it was made with, as JSON has it


def state_names(optimizer: Optimizer, weight: str) -> list[str]:
    """Of what an optimiser keeps for a parameter."""
    return [f"shoal.state.{i}.{weight}" for i in range(optimizer.states)]


def number_names(optimizer: Optimizer) -> list[str]:
    """Of what comes into the plan at each step."""
    return [f"shoal.number.{i}" for i in range(len(optimizer.numbers(1)))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What a step trains and how.

    Attributes:
        output: The tensor that the loss is taken of.
        weights: Names of the constants that may move; they are given like inputs.
        loss: What is made small.
        optimizer: How.
    """

    output: str
    weights: Sequence[str]
    loss: Loss
    optimizer: Optimizer

    def said(self) -> Said | None:
        """As JSON can hold it; None when the loss or the optimiser is the task's own."""
        known = {*LOSSES.values(), *OPTIMIZERS.values()}
        kinds = (self.loss, self.optimizer)
        if not known.issuperset(map(type, kinds)):
            return None
        made = [[type(one).__name__, *(getattr(one, n) for n in _fields(one))] for one in kinds]
        return [self.output, list(self.weights), *made]

    @classmethod
    def from_said(cls, said: Said) -> Training:
        """Reads what `said` wrote.

        Raises:
            ValueError: it is none.
        """
        output, weights, (loss, *of_loss), (optimizer, *of_optimizer) = said
        if loss not in LOSSES or optimizer not in OPTIMIZERS:
            raise ValueError("a request names a loss or an optimiser that there is not")
        kind, way = LOSSES[loss], OPTIMIZERS[optimizer]
        return cls(
            output=output,
            weights=weights,
            loss=kind(**dict(zip(_fields(kind), of_loss, strict=True))),
            optimizer=way(**dict(zip(_fields(way), of_optimizer, strict=True))),
        )


def _fields(kind: object) -> Sequence[str]:
    return tuple(getattr(kind, "__dataclass_fields__", {}))


def plan_training(
    graph: Graph,
    training: Training,
    specs: Mapping[str, tuple[int, Shape]],
    target: Target | None,
) -> Stage:
    """The step for shapes that are known.

    Args:
        graph: A whole model, without control flow.
        training: What is trained.
        specs: Dtype code and shape of inputs, targets, weights, states and numbers.
        target: The kernels to plan for; None for atoms alone.

    Raises:
        PlanError: graph or targets cannot be trained with; the message says why.
    """
    tracer = _traced(graph, training, specs)
    b, weights = tracer.builder, {name: tracer.value(name) for name in training.weights}
    output = tracer.value(training.output)
    loss, seed = training.loss.build(b, output, tracer.value(TARGETS))
    slopes = gradients(b, output, seed, list(weights.values()))
    numbers = [tracer.value(name) for name in number_names(training.optimizer)]
    moved: dict[str, Value] = {}
    kept: dict[str, Value] = {}
    for (name, weight), slope in zip(weights.items(), slopes, strict=True):
        if slope is not None:
            names = state_names(training.optimizer, name)
            states = [tracer.value(state) for state in names]
            moved[name], new = training.optimizer.build(Moving(b, weight, slope, states, numbers))
            kept |= zip(names, new, strict=True)
    if not moved:
        raise PlanError(f"no parameter has part in '{training.output}'; name others")
    inputs = [value for value in tracer.values.values() if value.name]
    plan = emit(b, inputs, [loss, *moved.values(), *kept.values()], target)
    b.forget()
    return Stage(
        plan=plan,
        inputs=tuple(value.name for value in inputs),
        outputs=(LOSS, *moved, *kept),
        end=len(graph.operators),
        read={},
    )


def _traced(graph: Graph, training: Training, specs: Mapping[str, tuple[int, Shape]]) -> Tracer:
    """The forward pass, parameters given like inputs."""

    def contents(name: str) -> bytes:
        raise PlanError(f"shapes hang on the numbers of '{name}'; such a model cannot be trained")

    constants = {n: c for n, c in graph.constants.items() if n not in training.weights}
    tracer = Tracer(Surroundings(constants=constants, spec=specs.__getitem__, contents=contents))
    for operator in graph.operators:
        if BY_NAME[operator.op].kind is OpClass.CONTROL:
            raise PlanError(f"a model with {operator.op} cannot be trained")
        try:
            tracer.lower(operator)
        except Unknown as unknown:
            raise PlanError(
                f"a shape hangs on what {operator.op} is given; such a model cannot be trained"
            ) from unknown
    return tracer
