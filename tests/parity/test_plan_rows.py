"""Products of a few rows by constants that are read where they lie, on one thread and on two."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.engine.model import Model
from tests.helpers.arrays import LEVELS, Array, Level
from tests.helpers.graphs import node, onnx_model
from tests.helpers.parity import compiled, ours, wanted

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


@pytest.mark.parametrize("turned", [False, True])
def test_is_one_step_that_packs_nothing(turned: bool) -> None:
    """Bias and activation are the kernel's; the file's weights are not copied."""
    data, feeds = graph_of(1, 512, 700, turned, True, "Relu")
    model = compiled(data, threads=2)
    check(data, feeds, model, LEVELS[-1])
    (stage,) = model.plans()
    assert (stage.plan.steps, stage.plan.prologue) == (1, 0)
