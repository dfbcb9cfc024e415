"""Gradients against central differences of the forward model alone, atom by atom and for whole small networks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest

from cloud.compiler.compile import compile_onnx
from device_agent.engine.errors import TrainingRefused
from device_agent.engine.model import Model, parse_model
from device_agent.engine.train.losses import CrossEntropy, Loss, MeanSquaredError
from device_agent.engine.train.optimizers import Sgd
from device_agent.engine.train.trainer import Trainer
from tests.helpers.arrays import Array, tensor_of
from tests.helpers.graphs import node, onnx_model

STEP = 1e-2  # of a central difference
TOLERANCE = 1e-2  # of the largest slope: both sides are float32


def seeded(*shape: int, low: float = -1.0, high: float = 1.0) -> Array:
    """Numbers that are not close to each other, so that a step over one passes no other."""
    rng = np.random.default_rng(sum(shape) + 7)
    count = int(np.prod(shape))
    return (rng.permutation(count).reshape(shape) / max(1, count) * (high - low) + low).astype(
        np.float32
    )


def by_training(
    nodes: Sequence[onnx.NodeProto],
    x: Array,
    constants: Mapping[str, Any],
    targets: Array,
    loss: Loss,
    opset: int = 17,
) -> tuple[float, Array]:
    """Loss and slope of "w", as a step of rate 1 moves it."""
    data = onnx_model(nodes, {"x": list(x.shape)}, ["y"], constants, opset=opset)
    trainer = Trainer(
        parse_model(compile_onnx(data)), loss=loss, optimizer=Sgd(rate=1.0), parameters=["w"]
    )
    value = trainer.step(tensor_of(x), tensor_of(targets))
    return value, constants["w"] - np.asarray(trainer.parameters["w"])


def by_differences(
    nodes: Sequence[onnx.NodeProto],
    x: Array,
    constants: Mapping[str, Any],
    targets: Array,
    loss: str,
    opset: int = 17,
) -> tuple[float, Array]:
    """The same from the forward model: "w" is an input of it."""
    w = constants["w"]
    rest = {name: array for name, array in constants.items() if name != "w"}
    data = onnx_model(nodes, {"x": list(x.shape), "w": list(w.shape)}, ["y"], rest, opset=opset)
    model = parse_model(compile_onnx(data))

    def value(at: Array) -> float:
        return loss_of(model, {"x": x, "w": at}, targets, loss)

    slope = np.zeros(w.shape)
    for index in np.ndindex(w.shape):
        moved = w.copy()
        moved[index] = w[index] + STEP
        up = value(moved)
        moved[index] = w[index] - STEP
        slope[index] = (up - value(moved)) / (2 * STEP)
    return value(w), slope


def loss_of(model: Model, feeds: Mapping[str, Array], targets: Array, loss: str) -> float:
    (made,) = model.run({name: tensor_of(array) for name, array in feeds.items()})
    y = np.asarray(made).astype(np.float64)
    if loss == "square":
        return float(np.mean((y - targets) ** 2))
    shifted = y - y.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-logs[np.arange(len(targets)), targets].mean())


def check(nodes: Sequence[onnx.NodeProto], x: Array, *, opset: int = 17, **constants: Any) -> None:
    shape = shape_of(nodes, x, constants, opset)
    targets = seeded(*shape, low=-0.5, high=0.5)
    value, slope = by_training(nodes, x, constants, targets, MeanSquaredError(), opset)
    want, wanted = by_differences(nodes, x, constants, targets, "square", opset)
    assert value == pytest.approx(want, rel=1e-5, abs=1e-6)
    assert np.abs(wanted).max() > 1e-4, "the test says nothing: nothing hangs on w"
    assert np.abs(slope - wanted).max() < TOLERANCE * np.abs(wanted).max()


def shape_of(
    nodes: Sequence[onnx.NodeProto], x: Array, constants: Mapping[str, Any], opset: int
) -> tuple[int, ...]:
    data = onnx_model(nodes, {"x": list(x.shape)}, ["y"], constants, opset=opset)
    (made,) = parse_model(compile_onnx(data)).run(tensor_of(x))
    return made.shape


X, W = seeded(3, 4), seeded(3, 4, low=0.3, high=1.7)
IMAGE = seeded(2, 4, 7, 6)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Max", "Min", "Pow"])
@pytest.mark.parametrize("shape", [(3, 4), (4,), (3, 1), (1, 1)])
def test_two_operands(op: str, shape: tuple[int, ...]) -> None:
    x = seeded(3, 4, low=0.35, high=1.9)
    w = seeded(*shape, low=0.4, high=1.6)[..., ::-1].copy()
    check([node(op, "x w", "y")], x, w=w)
    if shape == (3, 4):
        check([node(op, "w x", "y")], x, w=w)


ONE = (
    "Relu Neg Abs Sigmoid Tanh Exp Sqrt Log Sin Cos Erf Softplus Elu Gelu HardSwish LeakyRelu Softmax LogSoftmax "
    "Reciprocal Identity Mish Selu"
)


@pytest.mark.parametrize("op", ONE.split())
def test_one_operand(op: str) -> None:
    positive = op in ("Sqrt", "Log", "Reciprocal")
    w = seeded(3, 4, low=0.3, high=1.7) if positive else seeded(3, 4)
    nodes = [node("Mul", "x w", "m"), node(op, "m", "f"), node("Mul", "f k", "y")]
    check(nodes, np.ones_like(w), opset=20 if op == "Gelu" else 18, w=w, k=X[::-1].copy())


def test_choices_and_bounds() -> None:
    nodes = [node("Greater", "w x", "c"), node("Where", "c w x", "y")]
    check(nodes, X, w=X[::-1] + np.float32(0.04))
    nodes = [node("Mul", "x w", "m"), node("Clip", "m low high", "y")]
    bounds: dict[str, Any] = {"low": np.float32(-0.53), "high": np.float32(0.41)}
    check(nodes, np.ones_like(X), w=seeded(3, 4), **bounds)


@pytest.mark.parametrize(
    ("x", "w"),
    [
        ((3, 4), (4, 5)),
        ((2, 3, 4), (4, 5)),
        ((2, 3, 4), (2, 4, 5)),
        ((2, 1, 3, 4), (3, 4, 2)),
        ((3, 4), (4,)),
    ],
)
def test_products(x: tuple[int, ...], w: tuple[int, ...]) -> None:
    check([node("MatMul", "x w", "y")], seeded(*x), w=seeded(*w))


@pytest.mark.parametrize("turned", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_gemm_turned_any_way(turned: tuple[int, int]) -> None:
    given = node("Gemm", "x w c", "y", alpha=0.7, beta=1.3, transA=turned[0], transB=turned[1])
    x = seeded(4, 3) if turned[0] else seeded(3, 4)
    w = seeded(5, 4) if turned[1] else seeded(4, 5)
    check([given], x, w=w, c=seeded(5))
    swapped = node("Gemm", "w x c", "y", transA=turned[0], transB=turned[1])
    check([swapped], seeded(5, 4) if turned[1] else seeded(4, 5), w=x, c=seeded(5))
    check(
        [node("Gemm", "x v w", "y", beta=1.3, transA=turned[0], transB=turned[1])],
        x,
        w=seeded(5),
        v=w,
    )


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"pads": [1, 1, 1, 1]},
        {"strides": [2, 2], "pads": [1, 0, 1, 2]},
        {"strides": [3, 2]},
        {"dilations": [2, 1], "pads": [2, 1, 2, 1]},
        {"group": 2, "pads": [1, 1, 1, 1]},
        {"group": 4, "strides": [2, 1]},
    ],
)
def test_convolutions(attributes: dict[str, Any]) -> None:
    w = seeded(4, 4 // attributes.get("group", 1), 3, 2)
    check([node("Conv", "x w c", "y", **attributes)], IMAGE, w=w, c=seeded(4))
    through = [node("Conv", "x w", "h"), node("Conv", "h v", "y", **attributes)]
    check(through, seeded(2, 3, 8, 7), w=seeded(4, 3, 2, 2), v=w)
    check([node("Conv", "x v w", "y", **attributes)], IMAGE, v=w, w=seeded(4))


def test_convolutions_of_one_and_three_axes_and_transposed_ones() -> None:
    check([node("Conv", "x w", "y", strides=[2])], seeded(2, 3, 9), w=seeded(4, 3, 3))
    check([node("Conv", "x w", "y", pads=[1] * 6)], seeded(1, 2, 3, 4, 3), w=seeded(2, 2, 2, 3, 2))
    transposed = node("ConvTranspose", "x w", "y", strides=[2, 2], pads=[1, 0, 0, 1])
    check([transposed], seeded(2, 3, 4, 3), w=seeded(3, 2, 3, 3))


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("MaxPool", {"kernel_shape": [3, 2], "pads": [1, 1, 1, 0], "dilations": [1, 2]}),
        ("MaxPool", {"kernel_shape": [2, 3], "strides": [2, 2], "ceil_mode": 1}),
        ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 1]}),
        ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}),
        ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
        ("LpPool", {"kernel_shape": [2, 2], "p": 2}),
        ("GlobalAveragePool", {}),
        ("GlobalMaxPool", {}),
    ],
)
def test_pools(op: str, attributes: dict[str, Any]) -> None:
    w = seeded(2, 2, 5, 6, low=0.2, high=6.0)
    check([node("Mul", "x w", "f"), node(op, "f", "y", **attributes)], np.ones_like(w), w=w)


def test_a_norm_of_zeros_alone_has_no_slope() -> None:
    w = seeded(1, 1, 2, 4, low=0.2, high=1.0)
    w[..., :2] = 0
    nodes = [node("Mul", "x w", "f"), node("LpPool", "f", "y", kernel_shape=[2, 2], strides=[2, 2])]
    targets = np.zeros((1, 1, 1, 2), np.float32)
    _, slope = by_training(nodes, np.ones_like(w), {"w": w}, targets, MeanSquaredError())
    np.testing.assert_allclose(slope, w, rtol=1e-5)


@pytest.mark.parametrize(
    "op", ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2"]
)
@pytest.mark.parametrize("keep", [0, 1])
def test_reductions(op: str, keep: int) -> None:
    w = seeded(3, 4, 2, low=0.4, high=2.6)
    axes: dict[str, Any] = {"axes": np.array([0, 2], np.int64)}
    nodes = [node("Mul", "x w", "f"), node(op, "f axes", "y", keepdims=keep)]
    check(nodes, np.ones_like(w), opset=18, w=w, **axes)
    check(
        [node("Mul", "x w", "f"), node(op, "f", "y", keepdims=keep)], np.ones_like(w), opset=18, w=w
    )


def test_running_sums() -> None:
    cases: list[dict[str, Any]] = [{}, {"reverse": 1}, {"exclusive": 1}]
    for attributes in cases:
        nodes = [node("Mul", "x w", "f"), node("CumSum", "f axis", "y", **attributes)]
        check(nodes, X, w=W, axis=np.int64(1))


FIVE = np.array([4, 0, 2, 2, -1], np.int64)
MOVES = {
    "transpose": [node("Transpose", "v", "m", perm=[2, 0, 1])],
    "reshape": [node("Reshape", "v shape", "m")],
    "slice": [node("Slice", "v one ends axes twos", "m")],
    "backwards": [node("Slice", "v minus far axes minus", "m")],
    "pad": [node("Pad", "v pads", "m")],
    "edge": [node("Pad", "v pads", "m", mode="edge")],
    "expand": [node("Reshape", "v wide", "r"), node("Expand", "r broad", "m")],
    "tile": [node("Tile", "v repeats", "m")],
    "concat": [node("Concat", "v k v", "m", axis=1)],
    "split": [node("Split", "v", "a b", axis=1, num_outputs=2), node("Mul", "a b", "m")],
    "gather": [node("Gather", "v five", "m", axis=1)],
    "elements": [node("GatherElements", "v places", "m", axis=1)],
    "depth": [node("Reshape", "v picture", "r"), node("DepthToSpace", "r", "m", blocksize=2)],
    "twice": [node("Mul", "v v", "a"), node("Add", "a v", "m")],
}


@pytest.mark.parametrize("name", MOVES)
def test_movement(name: str) -> None:
    def ints(*numbers: int) -> Array:
        return np.array(numbers, np.int64)

    constants = {
        "shape": ints(6, -1), "one": ints(1), "ends": ints(6), "axes": ints(1), "twos": ints(2), "minus": ints(-1),
        "far": ints(-9), "pads": ints(0, 1, 0, 1, 2, 0), "wide": ints(2, 6, 1, 2), "broad": ints(3, 2, 6, 4, 2),
        "repeats": ints(1, 2, 3), "k": seeded(2, 1, 2), "five": FIVE, "picture": ints(1, 4, 3, 2),
        "places": np.array([[[5, 0], [1, 1]], [[-1, 2], [3, 3]]], np.int64),
    }  # fmt: skip
    w = seeded(2, 6, 2)
    used = {name for one in MOVES[name] for name in one.input} & set(constants)
    nodes = [node("Mul", "x w", "v"), *MOVES[name], node("Mul", "m m", "y")]
    check(nodes, np.ones_like(w), opset=18, w=w, **{n: constants[n] for n in used})


def test_normalisations() -> None:
    x = seeded(2, 4, 3, 3)
    parts: dict[str, Any] = {
        "b": seeded(4),
        "m": seeded(4, low=-0.1, high=0.1),
        "v": seeded(4, low=0.8, high=1.2),
    }
    check(
        [node("BatchNormalization", "x w b m v", "y")], x, w=seeded(4, low=0.4, high=1.1), **parts
    )
    scale = seeded(6, low=0.5, high=1.5)
    nodes = [node("MatMul", "x w", "h"), node("LayerNormalization", "h s b", "y")]
    check(nodes, seeded(3, 5), w=seeded(5, 6), s=scale, b=seeded(6))


def test_a_network_with_cross_entropy() -> None:
    nodes = [
        node("Conv", "x w c", "h", pads=[1, 1, 1, 1]),
        node("Tanh", "h", "r"),
        node("AveragePool", "r", "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", "p", "f"),
        node("Gemm", "f v b", "l"),
        node("Softmax", "l", "y", axis=1),
    ]
    constants = {"w": seeded(3, 1, 3, 3), "c": seeded(3), "v": seeded(48, 5), "b": seeded(5)}
    x, targets = seeded(4, 1, 8, 8), np.array([0, 3, 2, 3], np.int64)
    value, slope = by_training(nodes, x, constants, targets, CrossEntropy())
    logits = [*nodes[:-2], node("Gemm", "f v b", "y")]
    want, wanted = by_differences(logits, x, constants, targets, "entropy")
    assert value == pytest.approx(want, rel=1e-5)
    assert np.abs(slope - wanted).max() < TOLERANCE * np.abs(wanted).max()


def test_attention() -> None:
    nodes = [
        node("MatMul", "x w", "q"),
        node("MatMul", "x k", "keys"),
        node("Transpose", "keys", "turned", perm=[0, 2, 1]),
        node("MatMul", "q turned", "scores"),
        node("Softmax", "scores", "weights", axis=-1),
        node("MatMul", "weights x", "y"),
    ]
    check(nodes, seeded(2, 5, 4), w=seeded(4, 4), k=seeded(4, 4))


def test_what_has_no_gradient_is_named() -> None:
    nodes = [node("Mul", "x w", "f"), node("Det", "f", "y")]
    x = seeded(3, 3)
    with pytest.raises(TrainingRefused, match="determinant has no gradient"):
        by_training(nodes, x, {"w": x}, np.zeros((), np.float32), MeanSquaredError())
