"""How the gradient of an atom's result becomes those of its operands: the table, and what a rule sees.

Rules of this module:

- A rule gives one gradient an operand, in the operand's shape; None where it has none or is not asked for.
- Gradients are float32 steps and moves like any others: they are merged, fused and planned with the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from device_agent.engine.plan.arithmetic import reduce
from device_agent.engine.plan.ir import Builder, Shape, Step, Value
from device_agent.engine.plan.transforms import reshape
from device_agent.engine.train.views import seen

type Rule = Callable[["Place"], Sequence[Value | None]]

RULES: dict[str, Rule] = {}


def gradient_of(*atoms: str) -> Callable[[Rule], Rule]:
    """Says that a function is the rule of these atoms."""

    def register(function: Rule) -> Rule:
        for atom in atoms:
            assert atom not in RULES, atom
            RULES[atom] = function
        return function

    return register


class Place:
    """A step, the gradient of its result, and which operands want one.

    Attributes:
        b: Where new steps go.
        gradient: Of the step's first result, in its shape.
        words: The step's attributes.
    """

    __slots__ = ("_step", "_wanted", "b", "gradient", "words")

    def __init__(self, b: Builder, step: Step, gradient: Value, wanted: Sequence[bool]) -> None:
        self.b = b
        self.gradient = gradient
        self.words = step.attributes
        self._step = step
        self._wanted = wanted

    def __getitem__(self, place: int) -> Value:
        """An operand, in the shape in which the step took it."""
        return seen(self.b, self._step.operands[place])

    def __len__(self) -> int:
        return len(self._step.operands)

    @property
    def out(self) -> Value:
        """The step's first result."""
        return self._step.outputs[0]

    @property
    def op(self) -> str:
        """The atom."""
        return self._step.op

    def dtype(self, place: int) -> int:
        """An operand's dtype."""
        return self._step.operands[place][1]

    def wants(self, place: int) -> bool:
        """Whether an operand's gradient is asked for."""
        return place < len(self._wanted) and self._wanted[place]

    def shape(self, place: int) -> Shape:
        """An operand's shape."""
        return self._step.operands[place][2]

    def summed(self, gradient: Value, place: int) -> Value:
        """A gradient in the result's shape, summed over what broadcasting repeated of an operand."""
        return summed_to(self.b, gradient, self.shape(place))


def summed_to(b: Builder, gradient: Value, shape: Shape) -> Value:
    """The sum over the axes that broadcasting `shape` to the gradient's shape has added or widened."""
    lead = len(gradient.shape) - len(shape)
    widened = [
        i for i, n in enumerate(gradient.shape) if i < lead or (shape[i - lead] == 1 and n != 1)
    ]
    return reshape(b, reduce(b, "reduce_sum", gradient, widened), shape)
