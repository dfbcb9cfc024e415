"""Compiled ONNX models against onnxruntime: random graphs of the operators that are compiled, every level.

Tolerance: 1e-5 absolute and relative, on numbers of size about 1; argmax and integers exact.
"""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.compiler.compile import compile_onnx
from device_agent.engine import _core
from device_agent.engine.model import parse_model
from tests.helpers.arrays import LEVELS, Array, Level, tensor_of
from tests.helpers.graphs import node, onnx_model

RNG = np.random.default_rng(5)
WEIGHTS: dict[str, Array] = {
    "w": RNG.standard_normal((6, 6)).astype(np.float32),
    "v": RNG.standard_normal(6).astype(np.float32),
    "positive": (RNG.random(6) + 0.5).astype(np.float32),
    "low": np.array(-0.5, np.float32),
    "high": np.array(0.75, np.float32),
    "shape": np.array([0, 2, 3]),
    "flat": np.array([-1, 6]),
    "one": np.array([1]),
    "two": np.array([2]),
    "starts": np.array([-1, 0]),
    "ends": np.array([-100, 2]),
    "axes": np.array([1, 2]),
    "steps": np.array([-1, 1]),
    "one_f": np.array(1, np.float32),
    "one_i": np.array(1),
    "six": np.array([6]),
    "picks": np.array([5, -6, 0, 1, -1, 2], np.int32),
}

# From (batch, 6) to (batch, 6), each; {i} and {o} are the names of input and output.
STEPS: dict[str, list[onnx.NodeProto]] = {
    "gemm": [node("Gemm", "{i} w v", "{o}", alpha=0.5, beta=2.0)],
    "gemm transposed": [node("Gemm", "{i} w", "{o}", transB=1)],
    "matmul": [node("MatMul", "{i} w", "{o}")],
    "add": [node("Add", "{i} v", "{o}")],
    "sub": [node("Sub", "v {i}", "{o}")],
    "mul": [node("Mul", "{i} v", "{o}")],
    "div": [node("Div", "{i} positive", "{o}")],
    "relu": [node("Relu", "{i}", "{o}")],
    "sigmoid": [node("Sigmoid", "{i}", "{o}")],
    "tanh": [node("Tanh", "{i}", "{o}")],
    "exp": [node("Clip", "{i} low high", "{o}a"), node("Exp", "{o}a", "{o}")],
    "neg sqrt": [
        node("Relu", "{i}", "{o}a"),
        node("Sqrt", "{o}a", "{o}b"),
        node("Neg", "{o}b", "{o}"),
    ],
    "softmax": [node("Softmax", "{i}", "{o}", axis=-1)],
    "clip": [node("Clip", "{i} - high", "{o}")],
    "max min": [node("Max", "{i} v positive", "{o}a"), node("Min", "{o}a positive", "{o}")],
    "sum": [node("Sum", "{i} v {i}", "{o}")],
    "abs log": [
        node("Abs", "{i}", "{o}a"),
        node("Add", "{o}a one_f", "{o}b"),
        node("Log", "{o}b", "{o}"),
    ],
    "rounding": [
        node("Floor", "{i}", "{o}a"),
        node("Ceil", "{i}", "{o}b"),
        node("Round", "{i}", "{o}c"),
        node("Sum", "{o}a {o}b {o}c", "{o}"),
    ],
    "sin cos": [
        node("Sin", "{i}", "{o}a"),
        node("Cos", "{i}", "{o}b"),
        node("Mul", "{o}a {o}b", "{o}"),
    ],
    "pow": [node("Abs", "{i}", "{o}a"), node("Pow", "{o}a positive", "{o}")],
    "where": [
        node("Greater", "{i} v", "{o}a"),
        node("LessOrEqual", "{i} positive", "{o}b"),
        node("GreaterOrEqual", "{i} low", "{o}c"),
        node("And", "{o}a {o}b", "{o}d"),
        node("Xor", "{o}d {o}c", "{o}e"),
        node("Not", "{o}e", "{o}f"),
        node("Less", "v {i}", "{o}g"),
        node("Or", "{o}f {o}g", "{o}h"),
        node("Where", "{o}h {i} v", "{o}"),
    ],
    "equal": [
        node("Equal", "{i} {i}", "{o}a"),
        node("Cast", "{o}a", "{o}", to=onnx.TensorProto.FLOAT),
    ],
    "cumsum": [node("CumSum", "{i} one_i", "{o}")],
    "gather": [node("Gather", "{i} picks", "{o}", axis=1)],
    "argmin": [
        node("ArgMin", "{i}", "{o}a", axis=1, keepdims=1),
        node("Cast", "{o}a", "{o}b", to=onnx.TensorProto.FLOAT),
        node("Add", "{i} {o}b", "{o}"),
    ],
    "reduce prod": [
        node("ReduceProd", "{i}", "{o}a", axes=[1], keepdims=1),
        node("Clip", "{o}a low high", "{o}b"),
        node("Add", "{i} {o}b", "{o}"),
    ],
    "expand": [node("Expand", "high six", "{o}a"), node("Mul", "{i} {o}a", "{o}")],
    "identity": [node("Identity", "{i}", "{o}")],
    "dropout": [node("Dropout", "{i}", "{o}")],
    "reshape": [
        node("Reshape", "{i} shape", "{o}a"),
        node("Transpose", "{o}a", "{o}b", perm=[0, 2, 1]),
        node("Slice", "{o}b starts ends axes steps", "{o}c"),
        node("Flatten", "{o}c", "{o}"),
    ],
    "squeeze": [node("Unsqueeze", "{i} one", "{o}a"), node("Squeeze", "{o}a one", "{o}")],
    "reduce": [
        node("ReduceMean", "{i}", "{o}a", axes=[1], keepdims=1),
        node("ReduceSum", "{i} one", "{o}b", keepdims=1),
        node("ReduceMax", "{i}", "{o}c", axes=[1], keepdims=1),
        node("ReduceMin", "{i}", "{o}d", axes=[-1], keepdims=0),
        node("Unsqueeze", "{o}d one", "{o}e"),
        node("Concat", "{o}a {o}b {o}c {o}e {o}a {o}c", "{o}", axis=1),
    ],
    "batch norm": [node("BatchNormalization", "{i} v v low6 positive", "{o}", epsilon=1e-3)],
    "cast": [
        node("Cast", "{i}", "{o}a", to=onnx.TensorProto.INT32),
        node("Cast", "{o}a", "{o}", to=1),
    ],
}
WEIGHTS["low6"] = RNG.standard_normal(6).astype(np.float32)


def renamed(template: onnx.NodeProto, source: str, target: str) -> onnx.NodeProto:
    made = onnx.NodeProto()
    made.CopyFrom(template)
    for names in (made.input, made.output):
        names[:] = [name.format(i=source, o=target) for name in names]
    return made


def chained(steps: list[str]) -> bytes:
    nodes = [
        renamed(template, f"t{place}" if place else "x", f"t{place + 1}")
        for place, step in enumerate(steps)
        for template in STEPS[step]
    ]
    last = f"t{len(steps)}"
    nodes.append(node("ArgMax", last, "place", axis=1, keepdims=0))
    used = {name for made in nodes for name in made.input}
    weights = {name: value for name, value in WEIGHTS.items() if name in used}
    return onnx_model(nodes, {"x": ["n", 6]}, [last, "place"], weights)


def compare(data: bytes, feeds: dict[str, Array], level: Level) -> None:
    want = ort.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, feeds)
    model = parse_model(compile_onnx(data))
    tensors = {name: _core.frombuffer(x, shape=x.shape) for name, x in feeds.items()}
    for got, expected in zip(model.run(tensors, level=level), want, strict=True):
        made = np.asarray(got)
        assert made.shape == expected.shape
        if expected.dtype == np.float32:
            np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("step", STEPS)
def test_each_operator(step: str, level: Level) -> None:
    x = np.random.default_rng(1).standard_normal((5, 6)).astype(np.float32)
    compare(chained([step]), {"x": x}, level)


@settings(max_examples=30, deadline=None)
@given(
    steps=st.lists(st.sampled_from([s for s in STEPS if s != "cast"]), min_size=2, max_size=6),
    batch=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
)
def test_chains_of_them(steps: list[str], batch: int, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((batch, 6)).astype(np.float32)
    # Numbers are kept of size about 1, so that the tolerance means the same in a chain.
    bounded = [step for pair in zip(steps, ["tanh"] * len(steps), strict=True) for step in pair]
    compare(chained(bounded), {"x": x}, LEVELS[-1])


@pytest.mark.parametrize("pads", [[1, 0, 1, 2], [3, 0, 0, 0], [0, 2, 4, 1]])
def test_windows_that_lie_in_the_padding_alone(pads: list[int]) -> None:
    nodes = [node("Conv", "x w", "h", pads=pads, strides=[2, 2]), node("Relu", "h", "y")]
    w = RNG.standard_normal((4, 4, 3, 2)).astype(np.float32)
    data = onnx_model(nodes, {"x": [2, 4, 7, 6]}, ["y"], {"w": w})
    x = RNG.standard_normal((2, 4, 7, 6)).astype(np.float32)
    (made,) = parse_model(compile_onnx(data)).run(tensor_of(x))
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    (want,) = session.run(None, {"x": x})
    np.testing.assert_allclose(np.asarray(made), want, rtol=1e-5, atol=1e-5)
