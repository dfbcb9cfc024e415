"""How each ONNX operator becomes operators of our op set.

Rules of this module:

- Most are the operator of the same name: their attributes are copied as the op set's table names them (`same_name`).
  RULES holds the others: older versions that said as attributes what is an input now, and what becomes several.
- A rule sees one node; it emits, or it refuses. A rule never changes meaning.
"""

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx

from cloud.compiler.lowering import Refused, Scope
from cloud.compiler.source import DTYPES, Node, array_of
from device_agent.engine.check import attribute_kinds
from device_agent.engine.graph import Attribute
from device_agent.engine.ops import BY_NAME, OpRow

type Rule = Callable[[Scope, Node], None]

DTYPE_ATTRIBUTES = frozenset({"to", "dtype", "output_dtype"})


def snake(name: str) -> str:
    """ONNX's name as the op set writes it: LayerNormalization is layer_normalization."""
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    return re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", words).lower()


def row_of(operator: str) -> OpRow | None:
    """The operator of the same name, if the op set has it."""
    return BY_NAME.get(NAMES.get(operator) or snake(operator))


NAMES = {
    "RNN": "rnn", "GRU": "gru", "LSTM": "lstm", "LRN": "lrn", "ReduceL1": "reduce_l1", "ReduceL2": "reduce_l2",
    "GatherND": "gather_nd", "ScatterND": "scatter_nd", "Scatter": "scatter_elements", "DFT": "dft", "STFT": "stft",
    "PRelu": "p_relu", "IsNaN": "is_nan", "IsInf": "is_inf", "Col2Im": "col2_im", "MatMulInteger": "mat_mul_integer",
    "QLinearMatMul": "q_linear_mat_mul", "QLinearConv": "q_linear_conv", "TopK": "top_k", "BitCast": "bit_cast",
    "RMSNormalization": "rms_normalization",
}  # fmt: skip


def attributes_of(node: Node, row: OpRow) -> dict[str, Attribute]:
    """The node's attributes that the op set's operator has."""
    found: dict[str, Attribute] = {}
    for name, kind in attribute_kinds(row).items():
        proto = node.attribute(name)
        if proto is not None:
            found[name] = _value(proto, name, kind)
    return found


def _value(proto: onnx.AttributeProto, name: str, kind: str) -> Attribute:
    if name in DTYPE_ATTRIBUTES:
        code = DTYPES.get(int(proto.i))
        if code is None and proto.i:
            name = onnx.TensorProto.DataType.Name(int(proto.i))
            raise Refused(f"the op set has no type {name}")
        return 0 if code is None else int(code)
    match kind:
        case "int":
            return int(proto.i)
        case "float":
            return float(proto.f)
        case "text":
            return str(proto.s.decode())
        case "ints":
            return tuple(int(i) for i in proto.ints)
        case "floats":
            return tuple(float(f) for f in proto.floats)
        case "texts":
            return tuple(str(s.decode()) for s in proto.strings)
    raise Refused(f"attribute '{name}' cannot be read")


def same_name(to: Scope, node: Node) -> None:
    """The operator of the same name with the same inputs and outputs."""
    row = row_of(node.operator)
    assert row is not None
    outputs = node.outputs[: row.outputs_max]
    if any(node.outputs[row.outputs_max :]):
        raise Refused(f"only its first {row.outputs_max} outputs can be had")
    if len(node.inputs) > row.inputs_max:
        raise Refused(f"it has more than {row.inputs_max} inputs")
    to.emit(row.name, node.inputs, outputs, attributes_of(node, row))


def _with_inputs(op: str, inputs: Sequence[str], to: Scope, node: Node) -> None:
    to.emit(op, inputs, node.outputs, attributes_of(node, BY_NAME[op]))


def _axes_input(op: str) -> Rule:
    """Axes were an attribute once."""

    def rule(to: Scope, node: Node) -> None:
        axes = node.integers("axes")
        if axes is None:
            return same_name(to, node)
        inputs = [node.inputs[0], to.write(f"{node.outputs[0]}/axes", axes)]
        return _with_inputs(op, inputs, to, node)

    return rule


def _slice(to: Scope, node: Node) -> None:
    starts = node.integers("starts")
    if starts is None:
        return same_name(to, node)
    ends = node.integers("ends") or ()
    axes = node.integers("axes") or tuple(range(len(starts)))
    name = node.outputs[0]
    parts = [
        to.write(f"{name}/{what}", v)
        for what, v in (("starts", starts), ("ends", ends), ("axes", axes))
    ]
    return to.emit("slice", [node.inputs[0], *parts], node.outputs)


def _split(to: Scope, node: Node) -> None:
    sizes = node.integers("split")
    if sizes is None:
        return same_name(to, node)
    inputs = [node.inputs[0], to.write(f"{node.outputs[0]}/sizes", sizes)]
    return to.emit("split", inputs, node.outputs, {"axis": node.integer("axis", 0)})


def _pad(to: Scope, node: Node) -> None:
    pads = node.integers("pads")
    if pads is None:
        return same_name(to, node)
    name = node.outputs[0]
    value = to.write(f"{name}/value", node.number("value", 0.0), np.float32)
    return _with_inputs("pad", [node.inputs[0], to.write(f"{name}/pads", pads), value], to, node)


def _clip(to: Scope, node: Node) -> None:
    for name in node.inputs[1:]:
        if name in to.shared.constants and to.shared.constants[name].size != 1:
            raise Refused("its bounds are one number each")
    if node.opset >= 11:
        return same_name(to, node)
    name = node.outputs[0]
    bounds = [
        to.write(f"{name}/{key}", node.number(key, 0), np.float32) if node.attribute(key) else ""
        for key in ("min", "max")
    ]
    return to.emit("clip", [node.inputs[0], *bounds], node.outputs)


def _top_k(to: Scope, node: Node) -> None:
    if node.attribute("k") is None:
        return same_name(to, node)
    inputs = [node.inputs[0], to.write(f"{node.outputs[0]}/k", [node.integer("k", 1)])]
    return to.emit("top_k", inputs, node.outputs, {"axis": node.integer("axis", -1)})


def _constant_of_shape(to: Scope, node: Node) -> None:
    found = node.attribute("value")
    value = np.zeros(1, np.float32) if found is None else array_of(found.t)
    name = to.fresh(f"{node.outputs[0]}/value")
    to.shared.constants[name] = value
    to.emit("constant_of_shape", [node.inputs[0], name], node.outputs)


def _softmax(to: Scope, node: Node) -> None:
    """Before set 13 it is over all axes from one on, as one."""
    axis = node.integer("axis", -1 if node.opset >= 13 else 1)
    op = snake(node.operator)
    if node.opset >= 13:
        return to.emit(op, node.inputs, node.outputs, {"axis": axis})
    name = node.outputs[0]
    shape, flat, made = (to.fresh(f"{name}/{what}") for what in ("shape", "flat", "made"))
    to.emit("shape", node.inputs, [shape])
    to.emit("flatten", node.inputs, [flat], {"axis": axis})
    to.emit(op, [flat], [made], {"axis": 1})
    return to.emit("reshape", [made, shape], node.outputs)


def _upsample(to: Scope, node: Node) -> None:
    """Resize as it was: coordinates are those of the output divided by the scale."""
    scales = node.input(1)
    found = node.attribute("scales")
    if not scales and found is not None:
        scales = to.write(f"{node.outputs[0]}/scales", list(found.floats), np.float32)
    to.emit("resize", [node.inputs[0], "", scales], node.outputs, _old_resize(node))


def _old_resize(node: Node) -> Mapping[str, Attribute]:
    mode = node.attribute("mode")
    return {
        "mode": "nearest" if mode is None else str(mode.s.decode()),
        "coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor",
    }


def _resize(to: Scope, node: Node) -> None:
    if node.opset >= 11:
        return same_name(to, node)
    return to.emit("resize", [node.inputs[0], "", node.inputs[1]], node.outputs, _old_resize(node))


def _batch_norm(to: Scope, node: Node) -> None:
    if node.integer("training_mode", 0) or any(node.outputs[1:]):
        raise Refused("it is in training mode; export the model for inference")
    epsilon = node.number("epsilon", 1e-5)
    to.emit("batch_normalization", node.inputs, node.outputs[:1], {"epsilon": epsilon})


def _dft(to: Scope, node: Node) -> None:
    """The axis was an attribute once, counted without the last."""
    if node.opset >= 20:
        return same_name(to, node)
    axis = to.write(f"{node.outputs[0]}/axis", node.integer("axis", 1))
    return _with_inputs("dft", [node.inputs[0], node.input(1), axis], to, node)


def _narrowed(op: str, cuts: Sequence[int]) -> Rule:
    """What is found is made with room for all, and cut to what there is: `cuts` has the axis of each output."""

    def rule(to: Scope, node: Node) -> None:
        attributes = attributes_of(node, BY_NAME[op])
        count = to.fresh(f"{node.outputs[0]}/count")
        every = [to.fresh(f"{node.outputs[0]}/all/{i}") for i in range(len(cuts))]
        to.emit(op, node.inputs, [*every, count], attributes)
        for i, axis in enumerate(cuts):
            if not node.output(i):
                continue
            axis = int(str(attributes.get("axis", 0))) if axis == FROM_ATTRIBUTE else axis
            to.emit("narrow", [every[i], count], [node.output(i)], {"axis": axis})

    return rule


FROM_ATTRIBUTE = NOT_SAID = 99


def _unique(to: Scope, node: Node) -> None:
    """Which kind each is has one number an element: it is not cut."""
    attributes = attributes_of(node, BY_NAME["unique_all"])
    name = node.outputs[0]
    count = to.fresh(f"{name}/count")
    every = [to.fresh(f"{name}/all/{i}") for i in range(4)]
    if node.output(2):
        every[2] = node.output(2)
    to.emit("unique_all", node.inputs, [*every, count], attributes)
    for i in (0, 1, 3):
        if node.output(i):
            axis = int(str(attributes.get("axis", 0))) if i == 0 else 0
            to.emit("narrow", [every[i], count], [node.output(i)], {"axis": axis})


def _dropout(to: Scope, node: Node) -> None:
    to.emit("dropout", node.inputs if node.opset >= 12 else node.inputs[:1], node.outputs)


def _old_broadcast(to: Scope, node: Node) -> None:
    """Before set 7 the right operand's axes lay at `axis` of the left's; now they lie at the end."""
    axis = node.integer("axis", 1 if node.operator == "PRelu" else NOT_SAID)
    if node.opset >= 7 or axis == NOT_SAID:
        return same_name(to, node)
    left, right = len(to.shape(node.inputs[0])), len(to.shape(node.inputs[1]))
    missing = left - (axis % left) - right
    if missing <= 0:
        return same_name(to, node)
    axes = to.write(f"{node.outputs[0]}/axes", range(right, right + missing))
    grown = to.fresh(f"{node.outputs[0]}/right")
    to.emit("unsqueeze", [node.inputs[1], axes], [grown])
    return to.emit(
        NAMES.get(node.operator) or snake(node.operator), [node.inputs[0], grown], node.outputs
    )


_REDUCE = (
    "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum",
    "ReduceLogSumExp", "ReduceSumSquare",
)  # fmt: skip

_BROADCAST = (
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Pow",
    "And",
    "Or",
    "Xor",
    "Equal",
    "Greater",
    "Less",
    "PRelu",
)

RULES: dict[str, Rule] = {
    **{
        name: _axes_input(NAMES.get(name) or snake(name))
        for name in (*_REDUCE, "Squeeze", "Unsqueeze")
    },
    **dict.fromkeys(_BROADCAST, _old_broadcast),
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Compress": _narrowed("compress_all", [FROM_ATTRIBUTE]),
    "ConstantOfShape": _constant_of_shape,
    "DFT": _dft,
    "Dropout": _dropout,
    "Hardmax": _softmax,
    "LogSoftmax": _softmax,
    "NonMaxSuppression": _narrowed("non_max_suppression_all", [0]),
    "NonZero": _narrowed("non_zero_all", [1]),
    "Pad": _pad,
    "Resize": _resize,
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _split,
    "TopK": _top_k,
    "Unique": _unique,
    "Upsample": _upsample,
}


def rule_of(node: onnx.NodeProto, opset: int) -> Rule | None:
    """The rule of an operator, None when there is none: then a function of ONNX may say what it means."""
    if node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type == "GroupNormalization" and opset < 21:
        return None
    if node.op_type in RULES:
        return RULES[node.op_type]
    return same_name if row_of(node.op_type) is not None else None
