"""Small graphs and ONNX models for tests, built from a few words.

Example:
    graph = two_layers()                       # our own graph: pixels (batch, 3) -> probabilities
    data = onnx_model([node("Relu", "x", "y")], {"x": ["n", 3]}, ["y"])
"""

import binascii
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from device_agent.engine.format import CHECKSUM_AT
from device_agent.engine.graph import Graph, Kind, Operator, TensorInfo
from device_agent.engine.ops import Dtype, OpId


def floats(*numbers: float) -> bytes:
    """Numbers as the bytes of a float32 weight."""
    return struct.pack(f"<{len(numbers)}f", *numbers)


def weight(name: str, shape: tuple[int, ...], *numbers: float) -> TensorInfo:
    """A float32 constant."""
    return TensorInfo(
        name=name, kind=Kind.CONSTANT, dtype=Dtype.FLOAT32, shape=shape, data=floats(*numbers)
    )


def two_layers() -> Graph:
    """x (batch, 3) -> relu(x @ w + b) -> softmax; a graph that has every kind of part."""
    tensors = (
        TensorInfo(name="x", kind=Kind.INPUT, dtype=Dtype.FLOAT32, shape=(-1, 3)),
        weight("w", (3, 2), 1, 2, 3, 4, 5, 6),
        weight("b", (2,), -20, 1),
        TensorInfo(name="sums", kind=Kind.COMPUTED),
        TensorInfo(name="active", kind=Kind.COMPUTED),
        TensorInfo(name="probabilities", kind=Kind.COMPUTED),
    )
    operators = (
        Operator(op=OpId.GEMM, inputs=(0, 1, 2), output=3, attributes=(1.0, 1.0, 0, 0)),
        Operator(op=OpId.RELU, inputs=(3,), output=4),
        Operator(op=OpId.SOFTMAX, inputs=(4,), output=5, attributes=(-1,)),
    )
    return Graph(tensors=tensors, operators=operators, inputs=(0,), outputs=(5, 4))


def node(
    op: str, inputs: str, outputs: str, name: str | None = None, **attributes: Any
) -> onnx.NodeProto:
    """An ONNX node; names are separated by spaces, and "-" leaves an optional input out."""
    names = ["" if part == "-" else part for part in inputs.split()]
    return helper.make_node(op, names, outputs.split(), name=name, **attributes)


def onnx_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str | None]],
    outputs: Sequence[str],
    constants: Mapping[str, npt.ArrayLike] | None = None,
    *,
    dtype: int = TensorProto.FLOAT,
    opset: int = 17,
) -> bytes:
    """An ONNX model's bytes; dtypes of outputs are left to inference."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    inferred = onnx.shape_inference.infer_shapes(model)
    return bytes(inferred.SerializeToString())


def sealed(data: bytearray) -> bytes:
    """A model file with a checksum that fits, so that the checks behind it are reached."""
    data[CHECKSUM_AT : CHECKSUM_AT + 4] = bytes(4)
    data[CHECKSUM_AT : CHECKSUM_AT + 4] = struct.pack("<I", binascii.crc32(data))
    return bytes(data)
