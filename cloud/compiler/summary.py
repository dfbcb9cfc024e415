"""What is in a compiled model, for people and for tools.

Rules of this module:

- Plain values only: what it gives can be printed as JSON.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from device_agent.engine.format import VERSION, decode_model, needed_op_set
from device_agent.engine.graph import Attribute, Graph, Operator, Port
from device_agent.engine.ops import BY_NAME, DTYPE_NAMES

type Plain = int | float | str | list[int] | list[float] | list[str] | list[OperatorRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class PortRow:
    """An input or output; -1 in a shape may be any size, and an output of unknown shape has none."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRow:
    """One step, its tensors by name."""

    operator: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Plain]


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
            yield from _shown(row, "  ")


def _shown(row: OperatorRow, indent: str) -> Iterator[str]:
    parts = {k: v for k, v in row.attributes.items() if isinstance(v, list) and _is_part(v)}
    words = ", ".join(
        f"{name}={value}" for name, value in row.attributes.items() if name not in parts
    )
    call = f"{row.operator}({', '.join(row.inputs)}{'; ' if words else ''}{words})"
    yield f"{indent}{', '.join(row.outputs)} = {call}"
    for name, rows in parts.items():
        yield f"{indent}  {name}:"
        for inner in rows:
            assert isinstance(inner, OperatorRow)
            yield from _shown(inner, indent + "    ")


def _is_part(values: object) -> bool:
    return isinstance(values, list) and bool(values) and isinstance(values[0], OperatorRow)


def summarise(data: bytes) -> ModelSummary:
    """Looks into a compiled model.

    Raises:
        ModelInvalid: the bytes are damaged, or not a compiled model.
        ModelUnsupported: they are of another version or op set.
    """
    graph = decode_model(data)
    constants = graph.constants.values()
    return ModelSummary(
        file_version=VERSION,
        op_set=needed_op_set(graph),
        file_bytes=len(data),
        weights=sum(len(one.data) // one.dtype.item_bytes for one in constants),
        inputs=tuple(_port(port) for port in graph.inputs),
        outputs=tuple(_port(port) for port in graph.outputs),
        operators=tuple(_row(operator) for operator in graph.operators),
    )


def _port(port: Port) -> PortRow:
    dtype = "unknown" if port.dtype is None else DTYPE_NAMES[port.dtype]
    return PortRow(name=port.name, dtype=dtype, shape=port.shape or ())


def _row(operator: Operator) -> OperatorRow:
    return OperatorRow(
        operator=operator.op,
        kind=BY_NAME[operator.op].kind.value,
        inputs=operator.inputs,
        outputs=operator.outputs,
        attributes={name: _plain(value) for name, value in operator.attributes.items()},
    )


def _plain(value: Attribute) -> Plain:
    if isinstance(value, Graph):
        return [_row(operator) for operator in value.operators]
    return list(value) if isinstance(value, tuple) else value  # type: ignore[return-value]  # all of one kind
