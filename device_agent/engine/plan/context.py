"""What a lowering sees: an operator, the values of its inputs, and what may be known of them.

Rules of this module:

- A lowering says what an operator's outputs are; it may ask for the numbers of a value, and the stage is cut when only
  a step can tell them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from device_agent.engine.graph import Operator
from device_agent.engine.ops import BY_NAME
from device_agent.engine.plan.fold import Known, Reader
from device_agent.engine.plan.ir import Builder, Value
from device_agent.engine.plan.planned import PlanError

type Lowering = Callable[["Site"], Value | Sequence[Value | None]]

LOWERINGS: dict[str, Lowering] = {}


def lowers(*names: str) -> Callable[[Lowering], Lowering]:
    """Says that a function lowers these operators."""

    def register(function: Lowering) -> Lowering:
        for name in names:
            assert name in BY_NAME, name
            assert name not in LOWERINGS, name
            LOWERINGS[name] = function
        return function

    return register


class Site:
    """One operator where it stands."""

    __slots__ = ("_reader", "_values", "b", "operator")

    def __init__(
        self, b: Builder, reader: Reader, operator: Operator, values: Sequence[Value | None]
    ) -> None:
        self.b = b
        self.operator = operator
        self._reader = reader
        self._values = values

    def __getitem__(self, place: int) -> Value:
        """An input that must be there."""
        value = self.maybe(place)
        if value is None:
            raise PlanError(f"{self.operator.op} lacks its input {place}")
        return value

    def maybe(self, place: int) -> Value | None:
        """An input that may be left out."""
        return self._values[place] if place < len(self._values) else None

    @property
    def all(self) -> list[Value]:
        """Every input; none may be left out."""
        return [self[place] for place in range(len(self._values))]

    def wants(self, place: int) -> bool:
        """Whether an output is used."""
        return place < len(self.operator.outputs) and self.operator.outputs[place] != ""

    def numbers(self, place: int) -> Known:
        """What an input holds.

        Raises:
            Unknown: a step must run first.
        """
        return self._reader.numbers(self[place])

    def integers(self, place: int) -> tuple[int, ...]:
        """The same as integers."""
        return tuple(int(number) for number in self.numbers(place))

    def integer(self, place: int) -> int:
        """An input of one element."""
        numbers = self.integers(place)
        if len(numbers) != 1:
            raise PlanError(f"{self.operator.op}'s input {place} has {len(numbers)} elements")
        return numbers[0]

    # Attributes, as the op set says them.

    def attribute(self, name: str) -> Any:  # noqa: ANN401 - each attribute has a type of its own
        """An attribute, or its default."""
        found = self.operator.attributes.get(name)
        return _defaults(self.operator.op).get(name) if found is None else found

    def whole(self, name: str) -> int:
        """An integer."""
        return int(self.attribute(name) or 0)

    def real(self, name: str) -> float:
        """A number."""
        return float(self.attribute(name) or 0)

    def text(self, name: str) -> str:
        """A word."""
        return str(self.attribute(name) or "")

    def wholes(self, name: str) -> tuple[int, ...] | None:
        """Integers, None when left out."""
        found = self.attribute(name)
        return None if found is None else tuple(found)


_DEFAULTS: dict[str, dict[str, object]] = {}


def _defaults(op: str) -> dict[str, object]:
    if op not in _DEFAULTS:
        found: dict[str, object] = {}
        for part in BY_NAME[op].attributes.split():
            name, _, rest = part.partition(":")
            kind, given, text = rest.partition("=")
            if given:
                found[name] = (
                    int(text) if kind == "int" else text if kind == "text" else float(text)
                )
        _DEFAULTS[op] = found
    return _DEFAULTS[op]
