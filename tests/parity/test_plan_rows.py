"""Products of a few rows by constants that are read where they lie, on one thread and on two."""

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from cloud.compiler.compile import compile_onnx
from device_agent.engine import _core
from device_agent.engine.model import Model
from tests.helpers.arrays import LEVELS, Array, Level, tensor_of

BEHIND = ["", "Relu", "Sigmoid", "Residual", "Scale"]


def graph_of(
    m: int, k: int, n: int, turned: bool, biased: bool, behind: str
) -> tuple[bytes, dict[str, Array]]:
    """A gemm by a constant, and what follows; and feeds."""
    random = np.random.default_rng(m + 7 * k + 11 * n)
    feeds = {"x": random.standard_normal((m, k)).astype(np.float32)}
    weights = random.standard_normal((n, k) if turned else (k, n)).astype(np.float32)
    constants = {"w": weights, "b": random.standard_normal(n).astype(np.float32)}
    inputs = ["x", "w", "b"] if biased else ["x", "w"]
    nodes = [helper.make_node("Gemm", inputs, ["g" if behind else "y"], transB=int(turned))]
    if behind == "Residual":
        feeds["r"] = random.standard_normal((m, n)).astype(np.float32)
        nodes.append(helper.make_node("Add", ["g", "r"], ["y"]))
    elif behind == "Scale":
        nodes.append(helper.make_node("Mul", ["g", "b"], ["y"]))
    elif behind:
        nodes.append(helper.make_node(behind, ["g"], ["y"]))
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape)
        for name, array in feeds.items()
    ]
    made = [helper.make_tensor_value_info("y", TensorProto.FLOAT, (m, n))]
    held = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "rows", ports, made, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString()), feeds


def run(data: bytes, feeds: dict[str, Array], threads: int, level: Level) -> Array:
    """What our file makes."""
    model = Model(_core.check_model(compile_onnx(data)), threads=threads)
    names = [name for name, _, _ in model.inputs]
    (made,) = model.run([tensor_of(feeds[name]) for name in names], level=level)
    return np.asarray(made)


def wanted(data: bytes, feeds: dict[str, Array]) -> Array:
    """What onnxruntime makes."""
    (made,) = ort.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, feeds)
    return np.asarray(made)


@settings(max_examples=120, deadline=None)
@given(
    m=st.integers(1, 3),
    k=st.integers(1, 600),
    n=st.integers(1, 900),
    turned=st.booleans(),
    biased=st.booleans(),
    behind=st.sampled_from(BEHIND),
    threads=st.sampled_from([1, 2]),
    level=st.sampled_from(LEVELS),
)
def test_equals_onnxruntime(
    m: int, k: int, n: int, turned: bool, biased: bool, behind: str, threads: int, level: Level
) -> None:
    data, feeds = graph_of(m, k, n, turned, biased, behind)
    made = run(data, feeds, threads, level)
    np.testing.assert_allclose(made, wanted(data, feeds), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("turned", [False, True])
def test_is_one_step_that_packs_nothing(turned: bool) -> None:
    """Bias and activation are the kernel's; the file's weights are not copied."""
    data, feeds = graph_of(1, 512, 700, turned, True, "Relu")
    model = Model(_core.check_model(compile_onnx(data)), threads=2)
    (made,) = model.run([tensor_of(feeds["x"])])
    (stage,) = model.plans()
    assert (stage.plan.steps, stage.plan.prologue) == (1, 0)
    np.testing.assert_allclose(np.asarray(made), wanted(data, feeds), rtol=1e-4, atol=1e-4)
