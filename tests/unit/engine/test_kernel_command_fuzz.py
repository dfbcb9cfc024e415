"""Damaged commands of kernels: whatever their words say, a session refuses them or stays within its memory.

Under AddressSanitizer (`make test-asan`) what reaches out of a tensor ends the run.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from onnx import NodeProto

from cloud.compiler.compile import compile_onnx
from cloud.compiler.narrowing import Weights
from device_agent.engine import _core
from device_agent.engine.machine import machine_of, set_machine
from device_agent.engine.model import Model
from tests.helpers.arrays import LEVELS, Array, tensor_of
from tests.helpers.graphs import node, onnx_model
from tests.helpers.mutations import damaged, runs

HEADER_WORDS = 16
ROUNDS = 2000
type Parts = tuple[list[NodeProto], dict[str, Array], dict[str, tuple[int, ...]]]


def numbers(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).uniform(-1, 1, shape).astype(np.float32)


def attention() -> Parts:
    nodes = [
        node("MatMul", "q k", "s0"),
        node("Add", "s0 m", "s1"),
        node("Softmax", "s1", "p", axis=-1),
        node("MatMul", "p v", "o"),
        node("Transpose", "o", "y", perm=[0, 2, 1, 3]),
    ]
    ports: dict[str, tuple[int, ...]] = {
        "q": (1, 2, 9, 8),
        "k": (1, 2, 8, 20),
        "v": (1, 2, 20, 6),
        "m": (1, 1, 1, 20),
    }
    return nodes, {}, ports


def few_rows() -> Parts:
    nodes = [node("Gemm", "x w b", "g"), node("Relu", "g", "y")]
    return nodes, {"w": numbers(160, 300), "b": numbers(300)}, {"x": (2, 160)}


def product() -> Parts:
    nodes = [node("MatMul", "x w", "g"), node("Add", "g b", "h"), node("Relu", "h", "y")]
    return nodes, {"w": numbers(40, 50), "b": numbers(50)}, {"x": (13, 40)}


def large_product() -> Parts:
    return [node("MatMul", "x w", "y")], {"w": numbers(512, 512)}, {"x": (512, 512)}


def picture() -> Parts:
    nodes = [
        node("Conv", "x w b", "c", pads=[1, 1, 1, 1]),
        node("Relu", "c", "d"),
        node("MaxPool", "d", "e", kernel_shape=[3, 3], strides=[2, 2]),
        node("Conv", "e dw", "f", group=32, pads=[1, 1, 1, 1]),
        node("Sigmoid", "f", "g"),
        node("Mul", "f g", "h"),
        node("Abs", "h", "i"),
        node("Transpose", "i", "y", perm=[0, 2, 3, 1]),
    ]
    held = {"w": numbers(32, 16, 3, 3), "b": numbers(32), "dw": numbers(32, 1, 3, 3)}
    return nodes, held, {"x": (1, 16, 12, 12)}


def file_of(parts: Parts, weights: Weights) -> bytes:
    """A compiled model of these parts."""
    nodes, held, ports = parts
    return compile_onnx(onnx_model(nodes, ports, ["y"], held), weights)


@pytest.fixture
def _slow_machine() -> Iterator[None]:
    """One that multiplies so slowly that large products are halved."""
    before = machine_of(LEVELS[-1])
    set_machine(LEVELS[-1], replace(before, flops_per_s=before.flops_per_s / 20))
    yield
    set_machine(LEVELS[-1], before)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("parts", "weights", "rounds"),
    [
        pytest.param(attention, Weights.FLOAT32, ROUNDS, id="attention"),
        pytest.param(few_rows, Weights.FLOAT32, ROUNDS, id="few rows"),
        pytest.param(product, Weights.FLOAT32, ROUNDS, id="product"),
        pytest.param(product, Weights.INT8, ROUNDS, id="8 bits"),
        pytest.param(product, Weights.FLOAT16, ROUNDS, id="halves"),
        pytest.param(few_rows, Weights.FLOAT16, ROUNDS, id="few rows of halves"),
        pytest.param(picture, Weights.FLOAT32, ROUNDS, id="picture"),
        pytest.param(picture, Weights.INT8, ROUNDS, id="picture of 8 bits"),
        pytest.param(large_product, Weights.FLOAT32, ROUNDS // 8, id="strassen"),
    ],
)
@pytest.mark.usefixtures("_slow_machine")
def test_damaged_commands_are_refused_or_harmless(
    parts: Callable[[], Parts], weights: Weights, rounds: int, threads: int
) -> None:
    made = parts()
    file = _core.check_model(file_of(made, weights))
    model = Model(file, threads=threads)
    given = model.checked({name: tensor_of(numbers(*shape)) for name, shape in made[2].items()})
    model.run(given)
    (stage,) = model.plans()
    inputs = [given[name] for name in stage.inputs]
    rng = random.Random(20261126 + threads)
    taken = sum(
        runs(damaged(stage.plan.words, rng, HEADER_WORDS), file, inputs, threads)
        for _ in range(rounds)
    )
    assert 0 < taken < rounds
