"""Elementwise steps in a row: one pass, on one thread and on two, equal to onnxruntime's whatever repeats in them."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from device_agent.engine.model import Model
from tests.helpers.arrays import LEVELS, Array, Level
from tests.helpers.parity import compiled, ours, steps_of, wanted

SHAPE = (2, 3, 5, 7)
# What may stand beside (2, 3, 5, 7): all of it, a number a channel, a row, a column, a picture, one number.
BESIDE = [
    SHAPE,
    (3, 1, 1),
    (7,),
    (5, 1),
    (2, 1, 5, 7),
    (2, 3, 1, 1),
    (),
    (1, 1, 1, 1),
    (1, 3, 5, 1),
]
UNARY = ["Relu", "Sigmoid", "Tanh", "Neg", "Abs"]
BINARY = ["Add", "Sub", "Mul", "Div"]

type Steps = list[tuple[str, tuple[int, ...] | None, bool]]

steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(UNARY), st.none(), st.just(False)),
        st.tuples(st.sampled_from(BINARY), st.sampled_from(BESIDE), st.booleans()),
        st.tuples(st.sampled_from(["Clip", "Pow"]), st.none(), st.just(False)),
    ),
    min_size=1,
    max_size=10,
)


def graph_of(row: Steps) -> tuple[bytes, dict[str, Array]]:
    """A model of the steps, each on the one before and an input of its own, on either side; and feeds."""
    random = np.random.default_rng(len(row))
    x = random.uniform(-1, 1, SHAPE).astype(np.float32)
    nodes, feeds, at = [], {"x": x}, "x"
    for i, (op, beside, first) in enumerate(row):
        inputs = [at]
        if beside is not None:
            feeds[f"i{i}"] = random.uniform(0.5, 1.5, beside).astype(np.float32)
            # What divides stays away from zero.
            inputs = [f"i{i}", at] if first and op != "Div" else [at, f"i{i}"]
        if op == "Clip":
            inputs += ["low", "high"]
        if op == "Pow":
            inputs += ["two"]
        at = "y" if i == len(row) - 1 else f"t{i}"
        nodes.append(helper.make_node(op, inputs, [at]))
    bounds = [
        numpy_helper.from_array(np.array(n, np.float32), name)
        for name, n in (("low", -0.75), ("high", 0.8), ("two", 2.0))
    ]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape)
        for name, array in feeds.items()
    ]
    made = [helper.make_tensor_value_info("y", TensorProto.FLOAT, SHAPE)]
    graph = helper.make_graph(nodes, "row", ports, made, bounds)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString()), feeds


def run(data: bytes, feeds: dict[str, Array], threads: int, level: Level) -> tuple[Array, int]:
    """What it makes, and in how many steps."""
    model = compiled(data, threads=threads)
    (made,) = ours(model, feeds, level=level)
    return made, steps_of(model)


@given(row=steps, threads=st.integers(1, 2), level=st.sampled_from(LEVELS))
@settings(max_examples=120, deadline=None)
def test_a_row_of_steps_is_as_onnxruntime_has_it(row: Steps, threads: int, level: Level) -> None:
    data, feeds = graph_of(row)
    (want,) = wanted(data, feeds)
    got, _ = run(data, feeds, threads, level)
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6)


def test_a_normalisation_and_what_follows_are_one_pass() -> None:
    row: Steps = [
        ("Mul", (3, 1, 1), False),
        ("Add", (3, 1, 1), False),
        ("Relu", None, False),
        ("Mul", SHAPE, False),
        ("Sigmoid", None, False),
    ]
    data, feeds = graph_of(row)
    _, count = run(data, feeds, 1, LEVELS[-1])
    assert count == 1


def test_two_rows_that_meet_are_two_chains() -> None:
    nodes = [
        helper.make_node("Neg", ["x"], ["a"]),
        helper.make_node("Abs", ["x"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("Sigmoid", ["c"], ["y"]),
    ]
    data = whole(nodes, [4, 9], "y")
    x = np.random.default_rng(1).standard_normal((4, 9)).astype(np.float32)
    (want,) = wanted(data, {"x": x})
    got, count = run(data, {"x": x}, 1, LEVELS[-1])
    np.testing.assert_allclose(got, want, rtol=1e-5)
    assert count == 2


def whole(nodes: list[onnx.NodeProto], shape: list[int], *outputs: str) -> bytes:
    """A model from "x" to some results, all of one shape."""
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", *outputs)
    ]
    graph = helper.make_graph(nodes, "whole", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def test_what_others_read_too_is_there() -> None:
    """A chain ends at what two read, and at what the model gives out."""
    nodes = [
        helper.make_node("Neg", ["x"], ["a"]),
        helper.make_node("Abs", ["a"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Add", ["c", "b"], ["d"]),
        helper.make_node("Mul", ["d", "d"], ["e"]),
        helper.make_node("Sub", ["e", "a"], ["y"]),
    ]
    data = whole(nodes, [4, 9], "y", "c")
    x = np.random.default_rng(1).standard_normal((4, 9)).astype(np.float32)
    both = wanted(data, {"x": x})
    for threads in (1, 2):
        for got, want in zip(ours(compiled(data, threads=threads), {"x": x}), both, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize("threads", [1, 2])
def test_numbers_at_the_edges_come_out_as_from_single_steps(threads: int) -> None:
    row: Steps = [("Neg", None, False), ("Mul", (), False), ("Abs", None, False)]
    data, feeds = graph_of(row)
    edges = np.array([np.inf, -np.inf, np.nan, 1e-40, -0.0, 3e38, 1e-45], np.float32)
    feeds["x"] = np.resize(edges, SHAPE)
    got, _ = run(data, feeds, threads, LEVELS[-1])
    np.testing.assert_array_equal(got, wanted(data, feeds)[0])


def is_chain(model: Model) -> bool:
    """Whether a model of one step is a chain's kernel."""
    (stage,) = model.plans()
    return (211).to_bytes(8, "little") in stage.plan.words


def test_many_elements_alone_use_both_threads() -> None:
    """One step of many elements is worth a chain of its own where there are two threads."""
    data = whole([helper.make_node("Sigmoid", ["x"], ["y"])], [64, 1024], "y")
    x = np.random.default_rng(2).standard_normal((64, 1024)).astype(np.float32)
    want = 1 / (1 + np.exp(-x.astype(np.float64)))
    for threads in (1, 2):
        held = compiled(data, threads=threads)
        (got,) = ours(held, {"x": x})
        np.testing.assert_allclose(got, want, rtol=1e-5)
        assert is_chain(held) == (threads == 2)


@pytest.mark.parametrize("power", [2.0, 3.0, 0.75, 0.5, 0.3, -1.0, 4.25])
def test_powers_by_quarters_are_chains(power: float) -> None:
    exponent = helper.make_node("Constant", [], ["p"], value_float=power)
    data = whole([exponent, helper.make_node("Pow", ["x", "p"], ["y"])], [3, 50], "y")
    x = np.random.default_rng(3).uniform(0, 3, (3, 50)).astype(np.float32)
    held = compiled(data)
    (got,) = ours(held, {"x": x})
    np.testing.assert_allclose(got, wanted(data, {"x": x})[0], rtol=1e-6)
    assert is_chain(held) == (power in (2.0, 3.0, 0.75, 0.5))
