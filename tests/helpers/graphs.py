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
from device_agent.engine.graph import Constant, Graph, Operator, Port
from device_agent.engine.ops import Dtype


def floats(*numbers: float) -> bytes:
    """Numbers as the bytes of a float32 weight."""
    return struct.pack(f"<{len(numbers)}f", *numbers)


def weight(shape: tuple[int, ...], *numbers: float) -> Constant:
    """A float32 constant."""
    return Constant(dtype=Dtype.FLOAT32, shape=shape, data=floats(*numbers))


def two_layers() -> Graph:
    """x (batch, 3) -> relu(x @ w + b) -> softmax; a graph that has every kind of part."""
    return Graph(
        inputs=(Port(name="x", dtype=Dtype.FLOAT32, shape=(-1, 3)),),
        outputs=(
            Port(name="probabilities", dtype=Dtype.FLOAT32, shape=(-1, 2)),
            Port(name="active", dtype=Dtype.FLOAT32, shape=(-1, 2)),
        ),
        operators=(
            Operator(
                op="gemm", inputs=("x", "w", "b"), outputs=("sums",), attributes={"beta": 1.0}
            ),
            Operator(op="relu", inputs=("sums",), outputs=("active",)),
            Operator(op="softmax", inputs=("active",), outputs=("probabilities",)),
        ),
        constants={"w": weight((3, 2), 1, 2, 3, 4, 5, 6), "b": weight((2,), -20, 1)},
    )


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
    dtypes: Mapping[str, int] | None = None,
    opset: int = 17,
) -> bytes:
    """An ONNX model's bytes; dtypes of outputs are left to inference, of some inputs `dtypes` says others."""
    kinds = dict.fromkeys(inputs, dtype) | dict(dtypes or {})
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(n, kinds[n], shape) for n, shape in inputs.items()],
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
