"""A compiled model as values: tensors, and operators over them in the order in which they run.

Rules of this module:

- A tensor is known by its name: an input, a constant, or one result of one operator. An operator's left-out input or
  output has the empty name.
- A part (the body of a loop, a branch) sees the names of the graph around it.
- An input's sizes may be open (OPEN_AXIS). Shapes of computed tensors are not stored: they follow from the inputs'.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from device_agent.engine.ops import Dtype

type Attribute = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | Graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """An input or output. An input of a model has a dtype and a shape; of the others they may not be known (None)."""

    name: str
    dtype: Dtype | None = None
    shape: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """A weight; `start` is where its bytes lie in the file that was read, 0 in a graph that was not."""

    dtype: Dtype
    shape: tuple[int, ...]
    data: bytes | memoryview = field(repr=False)
    start: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One step."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A whole model, or a part of one. Constants belong to the whole model."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    operators: tuple[Operator, ...]
    constants: Mapping[str, Constant] = field(default_factory=dict)


def _used(operator: Operator) -> set[str]:
    """The names that an operator reads, those that its parts see included."""
    names = {name for name in operator.inputs if name}
    for value in operator.attributes.values():
        if isinstance(value, Graph):
            names |= _free(value)
    return names


def _free(graph: Graph) -> set[str]:
    """The names that a part takes from around it."""
    made = {port.name for port in graph.inputs}
    names: set[str] = set()
    for operator in graph.operators:
        names |= _used(operator) - made
        made.update(operator.outputs)
    return names | ({port.name for port in graph.outputs} - made)


def names_from(graph: Graph, at: int) -> frozenset[str]:
    """The names that are used from operator `at` on."""
    names = {port.name for port in graph.outputs}
    for operator in graph.operators[at:]:
        names |= _used(operator)
    return frozenset(names)
