"""Convolutions as plans lay them out: whatever the cost model chooses, a chain is what onnxruntime makes of it."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from cloud.compiler.compile import compile_onnx
from device_agent.engine import _core
from device_agent.engine.model import Model, parse_model
from device_agent.engine.plan.planned import PlanError
from device_agent.engine.plan.words import read_plan
from tests.helpers.arrays import LEVELS, Array, Level, tensor_of

TOLERANCE = 5e-5


def chain(
    channels: int, middle: int, size: tuple[int, int], kernel: int, stride: int, seed: int
) -> bytes:
    """1 x 1 to `middle` channels, one filter a channel with its sum with what went in, 1 x 1 back."""
    random = np.random.default_rng(seed)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        scale = np.prod(shape[1:]) ** -0.5
        numbers = (random.standard_normal(shape) * scale).astype(np.float32)
        return numpy_helper.from_array(numbers, name)

    pad = [kernel // 2] * 4
    nodes = [
        helper.make_node("Conv", ["x", "wide"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node(
            "Conv", ["b", "each"], ["c"], group=middle, pads=pad, strides=[stride, stride]
        ),
        helper.make_node("Conv", ["c", "again"], ["d"], group=middle, pads=pad),
        helper.make_node("Add", ["c", "d"], ["e"]),
        helper.make_node("Conv", ["e", "narrow"], ["y"]),
    ]
    initializers = [
        weights("wide", middle, channels, 1, 1),
        weights("each", middle, 1, kernel, kernel),
        weights("again", middle, 1, kernel, kernel),
        weights("narrow", channels, middle, 1, 1),
    ]
    return model_of(nodes, initializers, ["n", channels, *size])


def model_of(
    nodes: list[onnx.NodeProto], initializers: list[onnx.TensorProto], shape: list[str | int | None]
) -> bytes:
    """From "x" of that shape to "y" of as many axes."""
    made: list[str | int | None] = [f"d{axis}" for axis in range(len(shape))]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes)
        for name, sizes in (("x", shape), ("y", made))
    ]
    graph = helper.make_graph(nodes, "chain", ports[:1], ports[1:], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def wanted(data: bytes, x: Array) -> Array:
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


@given(
    channels=st.integers(1, 20),
    middle=st.sampled_from([2, 8, 12, 16, 24, 40]),
    size=st.tuples(st.sampled_from([3, 7, 24, 48]), st.sampled_from([3, 24, 97, 192])),
    kernel=st.sampled_from([3, 5]),
    stride=st.integers(1, 2),
    batch=st.integers(1, 2),
    seed=st.integers(0, 1000),
    level=st.sampled_from(LEVELS),
)
@settings(max_examples=40, deadline=None)
def test_one_filter_a_channel_between_two_products(
    channels: int,
    middle: int,
    size: tuple[int, int],
    kernel: int,
    stride: int,
    batch: int,
    seed: int,
    level: Level,
) -> None:
    data = chain(channels, middle, size, kernel, stride, seed)
    x = np.random.default_rng(seed).standard_normal((batch, channels, *size))
    x = x.astype(np.float32)
    (got,) = parse_model(compile_onnx(data)).run([tensor_of(x)], level=level)
    np.testing.assert_allclose(np.asarray(got), wanted(data, x), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("sizes", [(5,), (6, 7), (3, 4, 5)], ids=len)
@pytest.mark.parametrize("apart", [True, False])
def test_transposed_convolutions(sizes: tuple[int, ...], group: int, apart: bool) -> None:
    """Windows that do not overlap are a product and a move; others an ordinary convolution of spread inputs."""
    random = np.random.default_rng(3)
    kernel = tuple(range(2, 2 + len(sizes)))
    strides = kernel if apart else tuple(k - 1 for k in kernel)
    w = random.standard_normal((4, 3, *kernel)).astype(np.float32)
    bias = random.standard_normal(3 * group).astype(np.float32)
    nodes = [
        helper.make_node("ConvTranspose", ["x", "w", "b"], ["a"], group=group, strides=strides),
        helper.make_node("Relu", ["a"], ["y"]),
    ]
    initializers = [numpy_helper.from_array(w, "w"), numpy_helper.from_array(bias, "b")]
    data = model_of(nodes, initializers, [2, 4, *sizes])
    x = random.standard_normal((2, 4, *sizes)).astype(np.float32)
    (got,) = parse_model(compile_onnx(data)).run([tensor_of(x)])
    np.testing.assert_allclose(np.asarray(got), wanted(data, x), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("channels", [3, 16, 24])
def test_convolutions_over_a_line_are_kernels_too(channels: int) -> None:
    """(N, C, W), a scale a channel, an activation, a residual; and what reads the result plain."""
    random = np.random.default_rng(4)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a"], pads=[1, 1]),
        helper.make_node("Mul", ["a", "scale"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Conv", ["c", "second"], ["d"], pads=[2, 2], dilations=[2], strides=[1]),
        helper.make_node("Add", ["d", "c"], ["e"]),
        helper.make_node("Sigmoid", ["e"], ["f"]),
        helper.make_node("Mul", ["f", "e"], ["g"]),
        helper.make_node("Transpose", ["g"], ["y"], perm=[2, 0, 1]),
    ]
    initializers = [
        weights("first", channels, 5, 3),
        weights("scale", channels, 1),
        weights("second", channels, channels, 3),
    ]
    data = model_of(nodes, initializers, [2, 5, 33])
    x = random.standard_normal((2, 5, 33)).astype(np.float32)
    model = parse_model(compile_onnx(data))
    (got,) = model.run([tensor_of(x)])
    want = wanted(data, x)
    np.testing.assert_allclose(np.asarray(got), want, rtol=0, atol=2e-6 * np.abs(want).max())
    (stage,) = model.plans()
    with pytest.raises(PlanError, match="kernel"):  # atoms alone could be read
        read_plan(stage.plan.words)
    assert stage.plan.steps < len(nodes)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("channels", [16, 40])
def test_gates_over_channels_stay_in_blocks(channels: int, batch: int, threads: int) -> None:
    """Squeeze and excitation: a number a channel that is computed; and a sum with a picture that lies plain."""
    random = np.random.default_rng(6)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        numbers = random.standard_normal(shape) / np.sqrt(max(1, int(np.prod(shape[1:]))))
        return numpy_helper.from_array(numbers.astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a"], pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "gate"], ["c"]),
        helper.make_node("Sigmoid", ["c"], ["d"]),
        helper.make_node("Mul", ["a", "d"], ["e"]),
        helper.make_node("Conv", ["x", "rest"], ["f0"]),
        helper.make_node("Abs", ["f0"], ["f"]),
        helper.make_node("Add", ["e", "f"], ["g"]),
        helper.make_node("Conv", ["g", "last"], ["y"], pads=[1] * 4),
    ]
    initializers = [
        weights("first", channels, 3, 3, 3),
        weights("gate", channels, channels, 1, 1),
        weights("rest", channels, 3, 1, 1),
        weights("last", 32, channels, 3, 3),
    ]
    data = model_of(nodes, initializers, [batch, 3, 13, 29])
    x = random.standard_normal((batch, 3, 13, 29)).astype(np.float32)
    model = Model(_core.check_model(compile_onnx(data)), threads=threads)
    (got,) = model.run([tensor_of(x)])
    np.testing.assert_allclose(np.asarray(got), wanted(data, x), rtol=0, atol=TOLERANCE)
