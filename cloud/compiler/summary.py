"""What is in a compiled model, for people and for tools.

Rules of this module:

- Plain values only: what it gives can be printed as JSON.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from device_agent.engine import _core
from device_agent.engine.format import VERSION, decode_model, needed_op_set
from device_agent.engine.graph import Attribute, Graph, Kind, Operator
from device_agent.engine.ops import BY_ID


@dataclass(frozen=True, slots=True, kw_only=True)
class PortRow:
    """An input or output; -1 in a shape goes with the batch."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRow:
    """One step, its tensors by name."""

    operator: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, Attribute]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSummary:
    """A whole model."""

    file_version: int
    op_set: int
    file_bytes: int
    weights: int
    inputs: tuple[PortRow, ...]
    outputs: tuple[PortRow, ...]
    operators: tuple[OperatorRow, ...]

    def text(self) -> str:
        """The summary for people."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"file version {self.file_version}, op set {self.op_set}, {self.file_bytes} bytes"
        yield f"{self.weights} weights in {len(self.operators)} operators"
        for kind, ports in (("input", self.inputs), ("output", self.outputs)):
            for port in ports:
                yield f"{kind} {port.name}: {port.dtype} {list(port.shape)}"
        for row in self.operators:
            words = ", ".join(f"{name}={value}" for name, value in row.attributes.items())
            call = f"{row.operator}({', '.join(row.inputs)}{'; ' if words else ''}{words})"
            yield f"  {row.output} = {call}"


def summarise(data: bytes) -> ModelSummary:
    """Looks into a compiled model.

    Raises:
        ModelInvalid: the bytes are damaged, or not a compiled model.
        ModelUnsupported: they are of another version or op set.
    """
    graph = decode_model(data)
    model = _core.parse_model(data)
    constants = [tensor for tensor in graph.tensors if tensor.kind is Kind.CONSTANT]
    return ModelSummary(
        file_version=VERSION,
        op_set=needed_op_set(graph),
        file_bytes=len(data),
        weights=sum(len(t.data) // t.dtype.item_bytes for t in constants if t.dtype is not None),
        inputs=tuple(PortRow(name=n, dtype=d, shape=s) for n, d, s in model.inputs),
        outputs=tuple(PortRow(name=n, dtype=d, shape=s) for n, d, s in model.outputs),
        operators=tuple(_row(graph, operator) for operator in graph.operators),
    )


def _row(graph: Graph, operator: Operator) -> OperatorRow:
    return OperatorRow(
        operator=operator.op.name.lower(),
        inputs=tuple(graph.tensors[i].name for i in operator.inputs),
        output=graph.tensors[operator.output].name,
        attributes=_named(operator),
    )


def _named(operator: Operator) -> dict[str, Attribute]:
    """Attributes by name; those of an open list are numbered."""
    parts = [part.partition(":") for part in BY_ID[operator.op].attributes.split()]
    named: dict[str, Attribute] = {}
    for index, value in enumerate(operator.attributes):
        name, _, kind = parts[min(index, len(parts) - 1)]
        open_at = index - (len(parts) - 1)
        named[f"{name}[{open_at}]" if kind.endswith("...") else name] = value
    return named
