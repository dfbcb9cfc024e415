"""Large products by constants: the cost model takes Strassen's form where it gains, with the same ending."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from device_agent.engine.machine import machine_of, set_machine
from device_agent.engine.plan.costs import fastest, matmul_choices
from tests.helpers.arrays import LEVELS, Array
from tests.helpers.graphs import node, onnx_model
from tests.helpers.parity import compiled, ours

FASTEST_LEVEL = LEVELS[-1]


def graph_of(m: int, k: int, n: int, behind: str) -> tuple[bytes, dict[str, Array]]:
    """y = behind(x @ w + b), or of a scale a column."""
    random = np.random.default_rng(m)
    x = random.uniform(-1, 1, (m, k)).astype(np.float32)
    held = {
        "w": random.uniform(-1, 1, (k, n)).astype(np.float32),
        "b": random.uniform(-1, 1, n).astype(np.float32),
    }
    nodes = [
        node("MatMul", "x w", "p"),
        node("Mul" if behind == "Mul" else "Add", "p b", "q"),
        node("Relu", "q", "y"),
    ]
    return onnx_model(nodes, {"x": (m, k)}, ["y"], held), {"x": x, **held}


@pytest.fixture
def _slow_machine() -> Iterator[None]:
    """One that multiplies so slowly that sums cost nothing."""
    before = machine_of(FASTEST_LEVEL)
    set_machine(FASTEST_LEVEL, replace(before, flops_per_s=before.flops_per_s / 20))
    yield
    set_machine(FASTEST_LEVEL, before)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("behind", ["Add", "Mul"])
@pytest.mark.usefixtures("_slow_machine")
def test_a_large_product_is_right(behind: str, threads: int) -> None:
    m, k, n = 1023, 1024, 768
    data, arrays = graph_of(m, k, n, behind)
    model = compiled(data, threads=threads)
    (made,) = ours(model, {"x": arrays["x"]})
    (stage,) = model.plans()
    assert stage.plan.steps == 1
    sums = (m + 1) // 2 * (k // 2 + n // 2)
    assert stage.plan.arena_bytes >= 4 * (m * n + sums)
    exact = arrays["x"].astype(np.float64) @ arrays["w"]
    exact = exact * arrays["b"] if behind == "Mul" else exact + arrays["b"]
    np.testing.assert_allclose(made, np.maximum(exact, 0), atol=5e-4)


def test_the_cost_model_halves_what_is_large() -> None:
    """By operations alone seven of eight; small products lose by the sums."""
    machine = replace(machine_of(FASTEST_LEVEL), far_bytes_per_s=30e9, flops_per_s=190e9)
    chosen = {
        size: fastest(matmul_choices(size, size, size, machine), machine).algorithm
        for size in (128, 511, 4096)
    }
    assert chosen == {128: "packed", 511: "packed", 4096: "strassen"}
    large = {
        choice.algorithm: choice.quantity for choice in matmul_choices(4096, 4096, 4096, machine)
    }
    assert large["strassen"].flops == pytest.approx(7 / 8 * large["packed"].flops, rel=0.02)
