"""Fusion: steps that a kernel's ending takes along, and those that it must leave; against plans of atoms alone."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from cloud.compiler.compile import compile_onnx
from device_agent.engine import _core
from device_agent.engine.model import Model, parse_model
from tests.helpers.arrays import tensor_of
from tests.helpers.graphs import node, onnx_model

RNG = np.random.default_rng(3)
W = RNG.standard_normal((32, 24)).astype(np.float32)
ROW = RNG.standard_normal(24).astype(np.float32)
FILTERS = RNG.standard_normal((20, 16, 3, 3)).astype(np.float32) * np.float32(0.1)
CHANNELS = RNG.standard_normal((20, 1, 1)).astype(np.float32)
NUMBERS: dict[str, npt.ArrayLike] = {
    "root": np.float32(2**0.5), "half": np.float32(0.5), "one": np.float32(1), "two": np.float32(2),
    "tiny": np.float32(1e-5), "low": np.float32(-0.5), "high": np.float32(0.75), "w": W, "row": ROW, "f": FILTERS,
    "c": CHANNELS,
}  # fmt: skip

MATRIX = [node("MatMul", "x w", "p"), node("Add", "p row", "h")]
GELU = [
    node("Div", "h root", "a"),
    node("Erf", "a", "b"),
    node("Add", "b one", "d"),
    node("Mul", "h d", "e"),
    node("Mul", "e half", "y"),
]
GELU_HALVED = [
    node("Mul", "h half", "k"),
    node("Div", "h root", "a"),
    node("Erf", "a", "b"),
    node("Add", "b one", "d"),
    node("Mul", "k d", "y"),
]
NORM = [
    node("ReduceMean", "h", "m", axes=[-1]),
    node("Sub", "h m", "s"),
    node("Pow", "s two", "q"),
    node("ReduceMean", "q", "v", axes=[-1]),
    node("Add", "v tiny", "t"),
    node("Sqrt", "t", "u"),
    node("Div", "s u", "n"),
    node("Mul", "n row", "g"),
    node("Add", "g row", "y"),
]
CONV = [
    node("Conv", "z f", "p", pads=[1, 1, 1, 1]),
    node("Mul", "p c", "k"),
    node("Add", "k c", "h"),
]


def planned(
    nodes: Sequence[onnx.NodeProto], outputs: Sequence[str] = ("y",)
) -> tuple[Model, dict[str, _core.Tensor], list[np.ndarray]]:
    """The model, its feeds, and what the portable atoms of onnx's own reference make."""
    used = {name for one in nodes for name in one.input}
    inputs: dict[str, Sequence[int | str | None]] = (
        {"x": ["n", 32]} if "x" in used else {"z": [1, 16, 9, 9]}
    )
    constants = {name: value for name, value in NUMBERS.items() if name in used}
    data = onnx_model(nodes, inputs, list(outputs), constants)
    feeds = {
        name: RNG.standard_normal((6, 32) if name == "x" else (1, 16, 9, 9)).astype(np.float32)
        for name in inputs
    }
    reference = onnx.reference.ReferenceEvaluator(onnx.load_model_from_string(data))
    want = [np.asarray(array) for array in reference.run(None, feeds)]
    return parse_model(compile_onnx(data)), {k: tensor_of(v) for k, v in feeds.items()}, want


@pytest.mark.parametrize(
    ("nodes", "steps"),
    [
        pytest.param([*MATRIX, *GELU], 1, id="gelu"),
        pytest.param([*MATRIX, *GELU_HALVED], 1, id="gelu halved first"),
        pytest.param([*MATRIX, *NORM], 2, id="normalisation"),
        pytest.param([*MATRIX, node("Sigmoid", "h", "a"), node("Mul", "h a", "y")], 1, id="silu"),
        pytest.param([*MATRIX, node("Clip", "h low high", "y")], 1, id="clip"),
        pytest.param(
            [*CONV, node("Relu", "h", "y")], 3, id="convolution"
        ),  # and two changes of layout
    ],
)
def test_endings_are_fused(nodes: Sequence[onnx.NodeProto], steps: int) -> None:
    model, feeds, want = planned(nodes)
    np.testing.assert_allclose(np.asarray(model.run(feeds)[0]), want[0], rtol=1e-4, atol=1e-4)
    (stage,) = model.plans()
    assert stage.plan.steps <= steps


@pytest.mark.parametrize("kept", ["a", "b", "d", "e", "h", "p"])
def test_what_somebody_else_reads_is_made(kept: str) -> None:
    model, feeds, want = planned([*MATRIX, *GELU], ["y", kept])
    for got, wanted in zip(model.run(feeds), want, strict=True):
        np.testing.assert_allclose(np.asarray(got), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kept", ["m", "s", "q", "v", "t", "u", "n", "g"])
def test_a_normalisation_that_is_looked_into_is_left(kept: str) -> None:
    model, feeds, want = planned([*MATRIX, *NORM], ["y", kept])
    for got, wanted in zip(model.run(feeds), want, strict=True):
        np.testing.assert_allclose(np.asarray(got), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("level", _core.levels())
def test_a_residual_is_added_before_the_activation(level: str) -> None:
    nodes = [
        *CONV,
        node("Conv", "z f", "r", pads=[1, 1, 1, 1]),
        node("Add", "h r", "t"),
        node("Relu", "t", "y"),
    ]
    model, feeds, want = planned(nodes, ["y", "r"])
    made = model.run(feeds, level=level)  # type: ignore[arg-type]  # a level's name
    for got, wanted in zip(made, want, strict=True):
        np.testing.assert_allclose(np.asarray(got), wanted, rtol=1e-4, atol=1e-4)
