"""Attention as exporters spell it: one kernel, its scores never in the arena, equal to onnxruntime's."""

from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from cloud.compiler.compile import compile_onnx
from device_agent.engine import _core
from device_agent.engine.model import Model
from tests.helpers.arrays import LEVELS, Array, Level, tensor_of

TOLERANCE = 2e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Sizes and spelling of one attention.

    Attributes:
        batch: Of sentences.
        heads: Of each.
        m: Queries.
        n: Keys.
        size: Of a query and a key.
        width: Of a value.
        mask: Its shape, in letters of "bhmn", "1" where it is repeated; "" for none.
        scale: "Mul", "Div" or "".
        turned: Whether heads are joined again behind it.
    """

    batch: int
    heads: int
    m: int
    n: int
    size: int
    width: int
    mask: str
    scale: str
    turned: bool

    def mask_shape(self) -> tuple[int, ...]:
        """Of the mask."""
        sizes = {"b": self.batch, "h": self.heads, "m": self.m, "n": self.n, "1": 1}
        return tuple(sizes[letter] for letter in self.mask)


cases = st.builds(
    Case,
    batch=st.integers(1, 3),
    heads=st.integers(1, 4),
    m=st.integers(1, 40),
    n=st.integers(1, 70),
    size=st.integers(1, 40),
    width=st.integers(1, 40),
    mask=st.sampled_from(["", "n", "mn", "b11n", "bhmn", "1h1n", "b1mn", "11m1"]),
    scale=st.sampled_from(["", "Mul", "Div"]),
    turned=st.booleans(),
)


def graph_of(case: Case) -> tuple[bytes, dict[str, Array]]:
    """Q (b, m, h, size), K (b, n, h, size), V (b, n, h, width), as projections leave them; and feeds."""
    random = np.random.default_rng(case.m * 101 + case.n)
    shapes = {
        "q": (case.batch, case.m, case.heads, case.size),
        "k": (case.batch, case.n, case.heads, case.size),
        "v": (case.batch, case.n, case.heads, case.width),
    }
    feeds = {
        name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()
    }
    nodes = [
        helper.make_node("Transpose", ["q"], ["qt"], perm=[0, 2, 1, 3]),
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 2, 3, 1]),
        helper.make_node("Transpose", ["v"], ["vt"], perm=[0, 2, 1, 3]),
        helper.make_node("MatMul", ["qt", "kt"], ["s0"]),
    ]
    at = "s0"
    if case.scale:
        nodes.append(helper.make_node(case.scale, [at, "scale"], ["s1"]))
        at = "s1"
    if case.mask:
        hidden = random.random(case.mask_shape()) < 0.3
        feeds["mask"] = np.where(hidden, -1e4, 0).astype(np.float32)
        nodes.append(helper.make_node("Add", [at, "mask"], ["s2"]))
        at = "s2"
    nodes.append(helper.make_node("Softmax", [at], ["p"], axis=-1))
    nodes.append(helper.make_node("MatMul", ["p", "vt"], ["o" if case.turned else "y"]))
    shape: tuple[int, ...] = (case.batch, case.heads, case.m, case.width)
    if case.turned:
        nodes.append(helper.make_node("Transpose", ["o"], ["y"], perm=[0, 2, 1, 3]))
        shape = (case.batch, case.m, case.heads, case.width)
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape)
        for name, array in feeds.items()
    ]
    made = [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)]
    scale = numpy_helper.from_array(np.array(0.37, np.float32), "scale")
    graph = helper.make_graph(nodes, "attention", ports, made, [scale])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString()), feeds


def run(data: bytes, feeds: dict[str, Array], threads: int, level: Level) -> tuple[Array, int]:
    """What it makes, and in how many steps."""
    model = Model(_core.check_model(compile_onnx(data)), threads=threads)
    names = [name for name, _, _ in model.inputs]
    (made,) = model.run([tensor_of(feeds[name]) for name in names], level=level)
    (stage,) = model.plans()
    return np.asarray(made), stage.plan.steps


def wanted(data: bytes, feeds: dict[str, Array]) -> Array:
    """What onnxruntime makes."""
    (made,) = ort.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, feeds)
    return np.asarray(made)


@settings(max_examples=150, deadline=None)
@given(case=cases, threads=st.sampled_from([1, 2]), level=st.sampled_from(LEVELS))
def test_equals_onnxruntime(case: Case, threads: int, level: Level) -> None:
    data, feeds = graph_of(case)
    made, _ = run(data, feeds, threads, level)
    np.testing.assert_allclose(made, wanted(data, feeds), rtol=1e-4, atol=TOLERANCE)


@pytest.mark.parametrize("mask", ["", "b11n", "mn", "bhmn"])
@pytest.mark.parametrize("turned", [False, True])
def test_is_one_step(mask: str, turned: bool) -> None:
    """Scores, scale, mask, softmax, their product and, of one sentence, joining the heads."""
    case = Case(
        batch=1, heads=4, m=33, n=50, size=16, width=24, mask=mask, scale="Mul", turned=turned
    )
    data, feeds = graph_of(case)
    made, steps = run(data, feeds, 2, LEVELS[-1])
    assert steps == 1
    np.testing.assert_allclose(made, wanted(data, feeds), rtol=1e-4, atol=TOLERANCE)


@pytest.mark.parametrize("threads", [1, 2])
def test_long_sentences_go_through_in_parts(threads: int) -> None:
    """Scores of 3,000 keys: some rows at once, and several pieces a head."""
    case = Case(batch=1, heads=2, m=300, n=3000, size=64, width=64, mask="n", scale="", turned=True)
    data, feeds = graph_of(case)
    made, steps = run(data, feeds, threads, LEVELS[-1])
    assert steps == 1
    np.testing.assert_allclose(made, wanted(data, feeds), rtol=1e-4, atol=TOLERANCE)


def test_scores_that_are_wanted_stay() -> None:
    """An output between the steps keeps them apart."""
    case = Case(batch=1, heads=2, m=5, n=6, size=8, width=8, mask="", scale="", turned=False)
    data, feeds = graph_of(case)
    model = onnx.load_model_from_string(data)
    model.graph.output.append(helper.make_tensor_value_info("p", TensorProto.FLOAT, (1, 2, 5, 6)))
    data = bytes(model.SerializeToString())
    compiled = Model(_core.check_model(compile_onnx(data)))
    names = [name for name, _, _ in compiled.inputs]
    made = [np.asarray(one) for one in compiled.run([tensor_of(feeds[name]) for name in names])]
    both = ort.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, feeds)
    for mine, other in zip(made, both, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=TOLERANCE)
