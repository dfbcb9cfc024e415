"""Products of a few rows by constants that are read where they lie, on one thread and on two."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from cloud.compiler.narrowing import Weights
from cloud.compiler.settings import LIMITS
from device_agent.engine.model import Model
from tests.helpers.arrays import LEVELS, Array, Level
from tests.helpers.graphs import node, onnx_model
from tests.helpers.parity import compiled, ours, wanted


def _to_bfloat16(array: Array) -> Array:
    bits = array.view(np.uint32)
    return np.asarray(((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).view(np.float32))


ROUNDED = {
    Weights.FLOAT16: lambda array: array.astype(np.float16).astype(np.float32),
    Weights.BFLOAT16: _to_bfloat16,
}
BEHIND = ["", "Relu", "Sigmoid", "Residual", "Scale"]


def graph_of(
    m: int, k: int, n: int, turned: bool, biased: bool, behind: str
) -> tuple[bytes, dict[str, Array]]:
    """A gemm by a constant, and what follows; and feeds."""
    random = np.random.default_rng(m + 7 * k + 11 * n)
    feeds = {"x": random.standard_normal((m, k)).astype(np.float32)}
    weights = random.standard_normal((n, k) if turned else (k, n)).astype(np.float32)
    constants = {"w": weights}
    if biased or behind == "Scale":
        constants["b"] = random.standard_normal(n).astype(np.float32)
    read = "x w b" if biased else "x w"
    nodes = [node("Gemm", read, "g" if behind else "y", transB=int(turned))]
    if behind == "Residual":
        feeds["r"] = random.standard_normal((m, n)).astype(np.float32)
        nodes.append(node("Add", "g r", "y"))
    elif behind == "Scale":
        nodes.append(node("Mul", "g b", "y"))
    elif behind:
        nodes.append(node(behind, "g", "y"))
    ports = {name: array.shape for name, array in feeds.items()}
    return onnx_model(nodes, ports, ["y"], constants), feeds


def check(data: bytes, feeds: dict[str, Array], model: Model, level: Level) -> None:
    """Every output is as onnxruntime's."""
    made = ours(model, feeds, level=level)
    for got, want in zip(made, wanted(data, feeds), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


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
    check(data, feeds, compiled(data, threads=threads), level)


@settings(max_examples=120, deadline=None)
@given(
    m=st.integers(1, 3),
    k=st.integers(1, 300),
    n=st.integers(1, 600),
    turned=st.booleans(),
    biased=st.booleans(),
    weights=st.sampled_from([Weights.FLOAT16, Weights.BFLOAT16]),
    threads=st.sampled_from([1, 2]),
    level=st.sampled_from(LEVELS),
)
def test_halves_are_widened_as_they_are_read(
    m: int, k: int, n: int, turned: bool, biased: bool, weights: Weights, threads: int, level: Level
) -> None:
    """The same product of weights that were rounded before."""
    data, feeds = graph_of(m, k, n, turned, biased, "Relu")
    model = compiled(data, threads=threads, weights=weights)
    rounded = onnx.load_model_from_string(data)
    for tensor in rounded.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.size >= LIMITS.narrowed_elements_min:
            tensor.CopyFrom(numpy_helper.from_array(ROUNDED[weights](array), tensor.name))
    (got,) = ours(model, feeds, level=level)
    (want,) = wanted(rounded.SerializeToString(), feeds)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("weights", [Weights.FLOAT16, Weights.BFLOAT16])
def test_halves_are_not_held_twice(weights: Weights) -> None:
    data, _ = graph_of(2, 512, 700, True, True, "Relu")
    model = compiled(data, weights=weights)
    ours(model, graph_of(2, 512, 700, True, True, "Relu")[1])
    (stage,) = model.plans()
    bias_only = 1  # which is widened once
    assert (stage.plan.steps, stage.plan.prologue) == (1, bias_only)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("weights", [Weights.FLOAT16, Weights.BFLOAT16])
def test_every_half_is_widened_to_what_it_is(weights: Weights, level: Level) -> None:
    """All 65,536 patterns but infinities and what is no number: a row of ones picks each out."""
    bits = np.arange(65_536, dtype=np.uint32)
    if weights is Weights.FLOAT16:
        every = bits.astype(np.uint16).view(np.float16).astype(np.float32)
    else:
        every = (bits << 16).view(np.float32)
    every = np.where(np.isfinite(every), every, 0)
    subnormal = (np.abs(every) < np.finfo(np.float32).tiny) & (every != 0)
    every = np.where(subnormal, 0, every)  # kernels take those of float32 for zeros
    data = onnx_model([node("MatMul", "x w", "y")], {"x": (1, 1)}, ["y"], {"w": every[None]})
    (got,) = ours(compiled(data, weights=weights), {"x": np.ones((1, 1), np.float32)}, level=level)
    np.testing.assert_array_equal(got[0], every)


@pytest.mark.parametrize("turned", [False, True])
def test_is_one_step_that_packs_nothing(turned: bool) -> None:
    """Bias and activation are the kernel's; the file's weights are not copied."""
    data, feeds = graph_of(1, 512, 700, turned, True, "Relu")
    model = compiled(data, threads=2)
    check(data, feeds, model, LEVELS[-1])
    (stage,) = model.plans()
    assert (stage.plan.steps, stage.plan.prologue) == (1, 0)
