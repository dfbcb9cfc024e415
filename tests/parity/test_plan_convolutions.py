"""Convolutions as plans lay them out: whatever the cost model chooses, a chain is what onnxruntime makes of it."""

import numpy as np
import onnx
import onnxruntime as ort
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from cloud.compiler.compile import compile_onnx
from device_agent.engine.model import parse_model
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
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", channels, *size])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", channels, "h", "w"])
    graph = helper.make_graph(nodes, "chain", [given], [made], initializers)
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
