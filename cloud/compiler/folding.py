"""Constant folding: a node whose inputs are all known is computed now, by the ONNX project's own reference.

Rules of this module:

- Only operators whose result is no bigger than what goes in are folded, so that a few bytes cannot ask for gigabytes;
  broadcasting is bounded by checking the sizes first.
"""

import math

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from cloud.compiler.errors import OnnxInvalid
from cloud.compiler.settings import LIMITS
from cloud.compiler.source import Array, Node, array_of

FOLDED = {
    *(
        "Add",
        "Div",
        "Mul",
        "Sub",
        "Neg",
        "Sqrt",
        "Exp",
        "Reciprocal",
        "Cast",
        "Constant",
        "Identity",
    ),
    *(
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Concat",
        "Slice",
        "Gather",
        "Shape",
    ),
}


def folded(node: Node, constants: dict[str, Array], opset: int) -> Array | None:
    """The value of the node's output, or None when it is not known before the model runs."""
    if node.operator == "Constant":
        return _constant(node)
    names = [name for name in node.inputs if name]
    if (
        node.operator not in FOLDED
        or node.proto.domain not in ("", "ai.onnx")
        or not all(name in constants for name in names)
    ):
        return None
    arrays = [constants[name] for name in names]
    try:
        shape = np.broadcast_shapes(*(array.shape for array in arrays))
        if math.prod(shape) * 8 > LIMITS.folded_bytes_max:
            return None
    except ValueError:
        pass  # not a broadcast: these operators give no more than they get
    graph = onnx.helper.make_graph(
        [node.proto],
        "folded",
        [onnx.helper.make_tensor_value_info(name, 0, None) for name in names],
        [onnx.helper.make_tensor_value_info(node.outputs[0], 0, None)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    try:
        with np.errstate(all="ignore"):
            feeds = dict(zip(names, arrays, strict=True))
            results = ReferenceEvaluator(model).run(None, feeds)
    except Exception as error:  # the reference raises whatever numpy does on shapes that cannot be
        raise OnnxInvalid(
            f"{node.operator} at '{node.label}' cannot be computed: {error}"
        ) from error
    return np.asarray(next(iter(results)))


def _constant(node: Node) -> Array | None:
    """What a Constant node holds."""
    for attribute in node.proto.attribute:
        match attribute.name:
            case "value":
                return array_of(attribute.t)
            case "value_float":
                return np.asarray(attribute.f, np.float32)
            case "value_int":
                return np.asarray(attribute.i, np.int64)
            case "value_floats":
                return np.asarray(attribute.floats, np.float32)
            case "value_ints":
                return np.asarray(attribute.ints, np.int64)
    return None
