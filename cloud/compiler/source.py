"""An ONNX file as values that lowering works on: nodes with typed attributes, constants, dtypes and shapes.

Rules of this module:

- It is the border: whatever the bytes hold, out comes a checked model or an OnnxInvalid / OnnxUnsupported.
- Nothing but the bytes is read: a model that keeps its weights in other files is refused.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper, shape_inference

from cloud.compiler.errors import OnnxInvalid, OnnxUnsupported
from cloud.compiler.functions import expanded, nodes_of
from cloud.compiler.settings import LIMITS
from device_agent.engine.ops import Dtype

type Array = npt.NDArray[np.generic]
type Shape = tuple[int | None, ...]

DTYPES = {
    int(onnx.TensorProto.FLOAT): Dtype.FLOAT32,
    int(onnx.TensorProto.INT32): Dtype.INT32,
    int(onnx.TensorProto.INT64): Dtype.INT64,
    int(onnx.TensorProto.UINT8): Dtype.UINT8,
    int(onnx.TensorProto.BOOL): Dtype.BOOL,
    int(onnx.TensorProto.DOUBLE): Dtype.FLOAT64,
    int(onnx.TensorProto.FLOAT16): Dtype.FLOAT16,
    int(onnx.TensorProto.BFLOAT16): Dtype.BFLOAT16,
    int(onnx.TensorProto.INT8): Dtype.INT8,
    int(onnx.TensorProto.INT16): Dtype.INT16,
    int(onnx.TensorProto.UINT16): Dtype.UINT16,
    int(onnx.TensorProto.UINT32): Dtype.UINT32,
    int(onnx.TensorProto.UINT64): Dtype.UINT64,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One ONNX node, read as of an operator set."""

    proto: onnx.NodeProto
    label: str
    opset: int

    @property
    def operator(self) -> str:
        """Name of the operator."""
        return str(self.proto.op_type)

    @property
    def inputs(self) -> list[str]:
        """Names of inputs; empty where an optional one is left out."""
        return list(self.proto.input)

    @property
    def outputs(self) -> list[str]:
        """Names of outputs."""
        return list(self.proto.output)

    def input(self, index: int) -> str:
        """Name of an input, empty when it is left out."""
        return self.inputs[index] if index < len(self.inputs) else ""

    def output(self, index: int) -> str:
        """Name of an output, empty when it is not wanted."""
        return self.outputs[index] if index < len(self.outputs) else ""

    def attribute(self, name: str) -> onnx.AttributeProto | None:
        """An attribute, None when it is left out."""
        return next((a for a in self.proto.attribute if a.name == name), None)

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        found = self.attribute(name)
        return default if found is None else int(found.i)

    def number(self, name: str, default: float) -> float:
        """A float attribute."""
        found = self.attribute(name)
        return default if found is None else float(found.f)

    def integers(self, name: str) -> tuple[int, ...] | None:
        """A list of integers, None when it is left out."""
        found = self.attribute(name)
        return None if found is None else tuple(int(i) for i in found.ints)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a tensor before the model runs; None: not known."""

    dtype: Dtype | None
    shape: Shape | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A checked ONNX model."""

    graph: onnx.GraphProto
    constants: dict[str, Array]
    known: dict[str, Known]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opset: int


def read_onnx(data: bytes, is_ours: Callable[[onnx.NodeProto], bool]) -> Source:
    """Checks the bytes and reads them; `is_ours(node)`: no function body is wanted for it.

    Raises:
        OnnxInvalid: they are not a valid ONNX model.
        OnnxUnsupported: they are, but outside what is read here.
    """
    model = _parsed(data)
    opset = _opset(model)
    _refuse_external(model)
    try:
        onnx.checker.check_model(model)
        whole = expanded(model, is_ours)
        inferred = shape_inference.infer_shapes(whole, strict_mode=whole is model, data_prop=True)
    except (
        onnx.checker.ValidationError,
        shape_inference.InferenceError,
        ValueError,  # what the package itself meets: unknown types, names that are not UTF-8
        RuntimeError,
        TypeError,
    ) as error:
        raise OnnxInvalid(f"not a valid ONNX model: {_first_line(error)}") from error
    graph = inferred.graph
    constants = {tensor.name: array_of(tensor) for tensor in graph.initializer}
    return Source(
        graph=graph,
        constants=constants,
        known={value.name: _known(value) for value in _values(graph)},
        inputs=tuple(value.name for value in graph.input if value.name not in constants),
        outputs=tuple(value.name for value in graph.output),
        opset=opset,
    )


def nodes_in(graph: onnx.GraphProto, opset: int, where: str = "") -> list[Node]:
    """The nodes of a graph or a part of one, in order."""
    return [
        Node(
            proto=proto,
            label=f"{where}{proto.name or f'#{index} ({names_of(proto)})'}",
            opset=opset,
        )
        for index, proto in enumerate(graph.node)
    ]


def names_of(proto: onnx.NodeProto) -> str:
    """The outputs of a node, for people."""
    return ", ".join(str(name) for name in proto.output)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0]


def _parsed(data: bytes) -> onnx.ModelProto:
    if not 0 < len(data) <= LIMITS.onnx_bytes_max:
        raise OnnxInvalid(f"an ONNX model has 1 to {LIMITS.onnx_bytes_max} bytes, not {len(data)}")
    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError) as error:
        raise OnnxInvalid("not an ONNX model: its protobuf does not parse") from error
    if not model.HasField("graph") or not model.graph.output:
        raise OnnxInvalid("not an ONNX model: it has no graph with an output")
    if len(model.graph.node) > LIMITS.nodes_max:
        raise OnnxUnsupported(f"the graph has more than {LIMITS.nodes_max} nodes")
    return model


def _opset(model: onnx.ModelProto) -> int:
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if not versions:
        raise OnnxInvalid("not an ONNX model: it names no ai.onnx operator set")
    if versions[0] < LIMITS.opset_min:
        raise OnnxUnsupported(
            f"operator set {versions[0]} is older than {LIMITS.opset_min}; export the model again"
        )
    return int(versions[0])


def _refuse_external(model: onnx.ModelProto) -> None:
    attached = [a.t for node in nodes_of(model.graph) for a in node.attribute if a.HasField("t")]
    for tensor in [*model.graph.initializer, *attached]:
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise OnnxUnsupported(
                f"'{tensor.name}' is kept in another file; save the model with its weights inside"
            )


def array_of(tensor: onnx.TensorProto) -> Array:
    """A tensor's numbers.

    Raises:
        OnnxInvalid: it does not hold what it says.
    """
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError) as error:
        raise OnnxInvalid(f"weight '{tensor.name}' does not hold what it says") from error


def _values(graph: onnx.GraphProto) -> Iterator[onnx.ValueInfoProto]:
    yield from graph.value_info
    yield from graph.output
    yield from graph.input


def _known(value: onnx.ValueInfoProto) -> Known:
    tensor = value.type.tensor_type
    shape: Shape | None = None
    if tensor.HasField("shape"):
        dims = tensor.shape.dim
        shape = tuple(int(d.dim_value) if d.HasField("dim_value") else None for d in dims)
    return Known(dtype=DTYPES.get(tensor.elem_type), shape=shape)


def known_of(value: onnx.ValueInfoProto) -> Known:
    """Dtype and shape of an input of a part."""
    return _known(value)
