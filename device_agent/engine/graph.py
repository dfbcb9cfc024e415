"""A compiled model as values: tensors, and operators over them in the order in which they run.

Rules of this module:

- A tensor is an input, a constant, or computed by exactly one operator.
- Only an input's first axis may be open (OPEN_AXIS): the batch. Shapes of computed tensors are not stored: they follow.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from device_agent.engine.ops import Dtype, OpId

type Attribute = int | float


class Kind(IntEnum):
    """Where a tensor comes from, by its code in a file."""

    COMPUTED = 0
    INPUT = 1
    CONSTANT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """One tensor of a graph. dtype and shape of a computed one are not stored."""

    name: str
    kind: Kind
    dtype: Dtype | None = None
    shape: tuple[int, ...] = ()
    data: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One step: `output` = op(`inputs`); tensors by their place in the graph."""

    op: OpId
    inputs: tuple[int, ...]
    output: int
    attributes: tuple[Attribute, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A whole model."""

    tensors: tuple[TensorInfo, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def constants(self) -> Mapping[str, TensorInfo]:
        """Weights by name."""
        return {tensor.name: tensor for tensor in self.tensors if tensor.kind is Kind.CONSTANT}
