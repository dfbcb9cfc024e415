"""How parameters move against their gradients: plain and with momentum, and Adam.

Rules of this module:

- A step of an optimiser is steps of the plan: parameters, gradients and state never leave the engine between runs.
- What changes from step to step (the rate, Adam's corrections) comes in as numbers, so that one plan serves all steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from device_agent.engine.plan.arithmetic import binary, unary
from device_agent.engine.plan.ir import Builder, Value


@dataclass(frozen=True, slots=True)
class Moving:
    """What is moved.

    Attributes:
        b: Where the steps go.
        parameter: As it is.
        gradient: Of the loss, in the parameter's shape.
        states: What the optimiser kept for it, in the parameter's shape.
        numbers: Those of this step, without axes.
    """

    b: Builder
    parameter: Value
    gradient: Value
    states: Sequence[Value]
    numbers: Sequence[Value]


class Optimizer(Protocol):
    """How a parameter moves."""

    @property
    def states(self) -> int:
        """How many tensors of a parameter's shape it keeps for each parameter; zero before the first step."""
        ...

    def numbers(self, _step: int, /) -> tuple[float, ...]:
        """What comes into the plan at a step; the first step is 1."""
        ...

    def build(self, at: Moving) -> tuple[Value, list[Value]]:
        """The moved parameter and the new states."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sgd:
    """Stochastic gradient descent: v = momentum * v + g; p = p - rate * v (Polyak 1964, as in Sutskever et al. 2013).

    Attributes:
        rate: How far a step goes.
        momentum: How much of the last step's direction stays; 0 keeps no state.
        weight_decay: Added to the gradient, times the parameter.
    """

    rate: float = 0.01
    momentum: float = 0.0
    weight_decay: float = 0.0

    @property
    def states(self) -> int:
        """The direction, when there is momentum."""
        return 1 if self.momentum else 0

    def numbers(self, _step: int) -> tuple[float, ...]:
        """The rate."""
        return (self.rate,)

    def build(self, at: Moving) -> tuple[Value, list[Value]]:
        """The moved parameter and the new direction."""
        b, direction = at.b, at.gradient
        if self.weight_decay:
            decay = binary(b, "multiply", at.parameter, self.weight_decay)
            direction = binary(b, "add", direction, decay)
        kept: list[Value] = []
        if self.momentum:
            last = binary(b, "multiply", at.states[0], self.momentum)
            direction = binary(b, "add", last, direction)
            kept = [direction]
        step = binary(b, "multiply", direction, at.numbers[0])
        return binary(b, "subtract", at.parameter, step), kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Adam:
    """Adam (Kingma and Ba 2015, algorithm 1), with decoupled weight decay (Loshchilov and Hutter 2019).

    Attributes:
        rate: How far a step goes.
        mean_decay: Of the running mean of gradients (beta 1).
        square_decay: Of the running mean of their squares (beta 2).
        epsilon: Added to the root, so that nothing is divided by zero.
        weight_decay: Share of a parameter that a step of rate 1 takes away.
    """

    rate: float = 0.001
    mean_decay: float = 0.9
    square_decay: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0

    @property
    def states(self) -> int:
        """Both running means."""
        return 2

    def numbers(self, step: int) -> tuple[float, ...]:
        """Rate over the first correction, the second correction's root, and what decay leaves."""
        first, second = 1 - self.mean_decay**step, 1 - self.square_decay**step
        return (self.rate / first, second**0.5, 1 - self.rate * self.weight_decay)

    def build(self, at: Moving) -> tuple[Value, list[Value]]:
        """The moved parameter and the new running means."""
        b, (rate, correction, left) = at.b, at.numbers
        mean = _running(b, at.states[0], at.gradient, self.mean_decay)
        squared = binary(b, "multiply", at.gradient, at.gradient)
        square = _running(b, at.states[1], squared, self.square_decay)
        root = binary(b, "divide", unary(b, "sqrt", square), correction)
        step = binary(
            b, "divide", binary(b, "multiply", mean, rate), binary(b, "add", root, self.epsilon)
        )
        parameter = at.parameter
        if self.weight_decay:
            parameter = binary(b, "multiply", parameter, left)
        return binary(b, "subtract", parameter, step), [mean, square]


def _running(b: Builder, mean: Value, new: Value, decay: float) -> Value:
    return binary(
        b, "add", binary(b, "multiply", mean, decay), binary(b, "multiply", new, 1 - decay)
    )


# By name, for whoever plans for another.
OPTIMIZERS: dict[str, type[Sgd] | type[Adam]] = {kind.__name__: kind for kind in (Sgd, Adam)}
