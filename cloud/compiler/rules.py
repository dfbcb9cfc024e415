"""How each ONNX operator becomes operators of our op set: a table of functions, a function an operator or family.

Rules of this module:

- A rule sees one node, its inputs are lowered already. It emits, and names what its output is; or it refuses.
- A rule never changes meaning: where our operator differs, the rule refuses or says in a comment why it may.
"""

from collections.abc import Callable

import numpy as np

from cloud.compiler.lowering import Lowering, Refused
from cloud.compiler.source import DTYPES, Node
from device_agent.engine.ops import OPEN_AXIS, SAME_AXIS, Dtype, OpId

type Rule = Callable[[Lowering, Node], None]


def _simple(op: OpId) -> Rule:
    def rule(to: Lowering, node: Node) -> None:
        inputs = [to.place(name) for name in node.inputs]
        to.finish(node, to.emit(op, inputs, node.outputs[0]))

    return rule


def _chain(op: OpId) -> Rule:
    """ONNX takes any number of operands where we take two."""

    def rule(to: Lowering, node: Node) -> None:
        total = to.place(node.inputs[0])
        for index, name in enumerate(node.inputs[1:], start=2):
            last = index == len(node.inputs)
            output = node.outputs[0] if last else f"{node.outputs[0]}/{index}"
            total = to.emit(op, [total, to.place(name)], output)
        to.finish(node, total)

    return rule


def _swapped(op: OpId) -> Rule:
    """a > b is b < a."""

    def rule(to: Lowering, node: Node) -> None:
        inputs = [to.place(name) for name in reversed(node.inputs)]
        to.finish(node, to.emit(op, inputs, node.outputs[0]))

    return rule


def _same(to: Lowering, node: Node) -> None:
    to.finish(node, to.place(node.inputs[0]))


def _clip(to: Lowering, node: Node) -> None:
    bounds = []
    for index, default in ((1, -np.inf), (2, np.inf)):
        name = node.input(index)
        bounds.append(float(to.constant(name, "bounds").item()) if name else float(default))
    to.finish(node, to.emit(OpId.CLIP, [to.place(node.inputs[0])], node.outputs[0], bounds))


def _cast(to: Lowering, node: Node) -> None:
    target = DTYPES.get(node.integer("to", 0))
    if target is None:
        raise Refused("it casts to a type that the op set does not have")
    place = to.place(node.inputs[0])
    to.finish(node, to.emit(OpId.CAST, [place], node.outputs[0], [target]))


def _gemm(to: Lowering, node: Node) -> None:
    left, right, bias = node.input(0), node.input(1), node.input(2)
    flipped = node.integer("transB", 0)
    if flipped and right in to.constants:
        # Weights as (k, n): a product of few rows then reads them in place.
        matrix, flipped = to.write(f"{right}/transposed", to.constants[right].T), 0
    else:
        matrix = to.place(right)
    inputs = [to.place(left), matrix, *([to.place(bias)] if bias else [])]
    scales = node.number("alpha", 1.0), node.number("beta", 1.0)
    attributes = [*scales, node.integer("transA", 0), flipped]
    to.finish(node, to.emit(OpId.GEMM, inputs, node.outputs[0], attributes))


def _softmax(to: Lowering, node: Node) -> None:
    rank = len(to.shape(node.inputs[0]))
    axis = node.integer("axis", -1 if to.source.opset >= 13 else 1)
    if to.source.opset < 13 and axis % max(rank, 1) != rank - 1:
        raise Refused("before operator set 13 its axis must be the last; export the model again")
    place = to.place(node.inputs[0])
    to.finish(node, to.emit(OpId.SOFTMAX, [place], node.outputs[0], [axis]))


def _place_of(op: OpId) -> Rule:
    def rule(to: Lowering, node: Node) -> None:
        if node.integer("select_last_index", 0):
            raise Refused("the last of equal elements cannot be selected")
        attributes = [node.integer("axis", 0), node.integer("keepdims", 1)]
        place = to.place(node.inputs[0])
        to.finish(node, to.emit(op, [place], node.outputs[0], attributes))

    return rule


def _cumulative_sum(to: Lowering, node: Node) -> None:
    if node.integer("exclusive", 0) or node.integer("reverse", 0):
        raise Refused("only sums from the start, the element included, are supported")
    axis = int(to.constant(node.inputs[1], "axis").item())
    place = to.place(node.inputs[0])
    to.finish(node, to.emit(OpId.CUMULATIVE_SUM, [place], node.outputs[0], [axis]))


def _by_indices(op: OpId) -> Rule:
    """Indices are int64 here; int32 ones are cast."""

    def rule(to: Lowering, node: Node) -> None:
        indices = to.place(node.inputs[1])
        if to.known(node.inputs[1]).dtype is not Dtype.INT64:
            indices = to.emit(OpId.CAST, [indices], f"{node.outputs[0]}/indices", [Dtype.INT64])
        inputs = [to.place(node.inputs[0]), indices]
        to.finish(node, to.emit(op, inputs, node.outputs[0], [node.integer("axis", 0)]))

    return rule


def _expand(to: Lowering, node: Node) -> None:
    shape = to.shape(node.outputs[0])
    if None in shape:
        raise Refused("the shape of its result is not known")
    sizes = [size for size in shape if size is not None]
    place = to.place(node.inputs[0])
    to.finish(node, to.emit(OpId.BROADCAST, [place], node.outputs[0], sizes))


def _reduce(op: OpId) -> Rule:
    def rule(to: Lowering, node: Node) -> None:
        axes = node.integers("axes")
        if node.input(1):
            axes = tuple(int(axis) for axis in to.constant(node.input(1), "axes").flat)
        if not axes and node.integer("noop_with_empty_axes", 0):
            return _same(to, node)
        attributes = [node.integer("keepdims", 1), *(axes or ())]
        place = to.place(node.inputs[0])
        return to.finish(node, to.emit(op, [place], node.outputs[0], attributes))

    return rule


def _reshape(to: Lowering, node: Node) -> None:
    wanted = [int(size) for size in to.constant(node.inputs[1], "shape").flat]
    if not node.integer("allowzero", 0):
        wanted = [SAME_AXIS if size == 0 else size for size in wanted]
    place = to.place(node.inputs[0])
    to.finish(node, to.emit(OpId.RESHAPE, [place], node.outputs[0], wanted))


def _to_known_shape(to: Lowering, node: Node) -> None:
    """Flatten, Squeeze, Unsqueeze: the shape that inference found, one axis of it may be open."""
    shape = to.shape(node.outputs[0])
    if shape.count(None) > 1:
        raise Refused("more than one axis of its result is not known")
    wanted = [OPEN_AXIS if size is None else size for size in shape]
    place = to.place(node.inputs[0])
    to.finish(node, to.emit(OpId.RESHAPE, [place], node.outputs[0], wanted))


def _transpose(to: Lowering, node: Node) -> None:
    axes = node.integers("perm")
    if axes is None:
        axes = tuple(reversed(range(len(to.shape(node.inputs[0])))))
    place = to.place(node.inputs[0])
    to.finish(node, to.emit(OpId.TRANSPOSE, [place], node.outputs[0], axes))


def _concat(to: Lowering, node: Node) -> None:
    inputs = [to.place(name) for name in node.inputs]
    to.finish(node, to.emit(OpId.CONCAT, inputs, node.outputs[0], [node.integer("axis", 0)]))


def _slice(to: Lowering, node: Node) -> None:
    starts, stops = (to.constant(node.inputs[i], "ends").astype(int).tolist() for i in (1, 2))
    axes, steps = list(range(len(starts))), [1] * len(starts)
    if node.input(3):
        axes = to.constant(node.input(3), "axes").astype(int).tolist()
    if node.input(4):
        steps = to.constant(node.input(4), "steps").astype(int).tolist()
    place = to.place(node.inputs[0])
    rows = list(zip(axes, starts, stops, steps, strict=True))
    for index, row in enumerate(rows, start=1):
        output = node.outputs[0] if index == len(rows) else f"{node.outputs[0]}/{index}"
        place = to.emit(OpId.SLICE, [place], output, row)
    to.finish(node, place)


def _batch_norm(to: Lowering, node: Node) -> None:
    """y = x * s + (b - mean * s) with s = scale / sqrt(variance + epsilon): two operators, all else folded."""
    if node.integer("training_mode", 0):
        raise Refused("it is in training mode; export the model for inference")
    parts = [to.constant(name, "statistics").astype(np.float64) for name in node.inputs[1:5]]
    scale, bias, mean, variance = parts
    factor = scale / np.sqrt(variance + node.number("epsilon", 1e-5))
    axes = (-1, *(1,) * (len(to.shape(node.inputs[0])) - 2))
    name = node.outputs[0]
    weights = factor.reshape(axes).astype(np.float32)
    offsets = (bias - mean * factor).reshape(axes).astype(np.float32)
    scaled = [to.place(node.inputs[0]), to.write(f"{name}/scale", weights)]
    place = to.emit(OpId.MULTIPLY, scaled, f"{name}/scaled")
    place = to.emit(OpId.ADD, [place, to.write(f"{name}/offset", offsets)], name)
    to.finish(node, place)


RULES: dict[str, Rule] = {
    "Abs": _simple(OpId.ABSOLUTE),
    "Add": _simple(OpId.ADD),
    "And": _simple(OpId.LOGICAL_AND),
    "ArgMax": _place_of(OpId.ARGMAX),
    "ArgMin": _place_of(OpId.ARGMIN),
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Ceil": _simple(OpId.CEIL),
    "Clip": _clip,
    "Concat": _concat,
    "Cos": _simple(OpId.COSINE),
    "CumSum": _cumulative_sum,
    "Div": _simple(OpId.DIVIDE),
    "Dropout": _same,  # without its training inputs it is the identity
    "Equal": _simple(OpId.EQUAL),
    "Exp": _simple(OpId.EXP),
    "Expand": _expand,
    "Flatten": _to_known_shape,
    "Floor": _simple(OpId.FLOOR),
    "Gather": _by_indices(OpId.TAKE),
    "GatherElements": _by_indices(OpId.TAKE_ALONG),
    "Gemm": _gemm,
    "Greater": _swapped(OpId.LESS),
    "GreaterOrEqual": _swapped(OpId.LESS_EQUAL),
    "Identity": _same,
    "Less": _simple(OpId.LESS),
    "LessOrEqual": _simple(OpId.LESS_EQUAL),
    "Log": _simple(OpId.LOGARITHM),
    "MatMul": _simple(OpId.MATMUL),
    "Max": _chain(OpId.MAXIMUM),
    "Min": _chain(OpId.MINIMUM),
    "Mul": _simple(OpId.MULTIPLY),
    "Neg": _simple(OpId.NEGATIVE),
    "Not": _simple(OpId.LOGICAL_NOT),
    "Or": _simple(OpId.LOGICAL_OR),
    "Pow": _simple(OpId.POWER),
    "ReduceMax": _reduce(OpId.REDUCE_MAX),
    "ReduceMean": _reduce(OpId.REDUCE_MEAN),
    "ReduceMin": _reduce(OpId.REDUCE_MIN),
    "ReduceProd": _reduce(OpId.REDUCE_PRODUCT),
    "ReduceSum": _reduce(OpId.REDUCE_SUM),
    "Relu": _simple(OpId.RELU),
    "Reshape": _reshape,
    "Round": _simple(OpId.ROUND),
    "Sigmoid": _simple(OpId.SIGMOID),
    "Sin": _simple(OpId.SINE),
    "Slice": _slice,
    "Softmax": _softmax,
    "Sqrt": _simple(OpId.SQRT),
    "Squeeze": _to_known_shape,
    "Sub": _simple(OpId.SUBTRACT),
    "Sum": _chain(OpId.ADD),
    "Tanh": _simple(OpId.TANH),
    "Transpose": _transpose,
    "Unsqueeze": _to_known_shape,
    "Where": _simple(OpId.WHERE),
    "Xor": _simple(OpId.LOGICAL_XOR),
}
