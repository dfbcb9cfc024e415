"""Recurrent layers against onnxruntime: every kind, both directions, batches of unlike lengths, peepholes, clips."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from tests.helpers.arrays import LEVELS, Array, Level
from tests.helpers.graphs import node, onnx_model
from tests.helpers.parity import compiled, ours, wanted

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
FUNCTIONS = {"RNN": 1, "GRU": 2, "LSTM": 3}
NAMES = ["Sigmoid", "Tanh", "Relu", "HardSigmoid", "LeakyRelu", "Softsign", "Softplus", "Elu"]
BOUNDED = {"Sigmoid", "Tanh", "HardSigmoid", "Softsign"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One layer.

    Attributes:
        kind: RNN, GRU or LSTM.
        steps: Longest sequence.
        batch: Sequences.
        size: Of the state.
        direction: As ONNX names it.
        lengths: Whether sequences end before.
        peepholes: Of an LSTM.
        option: GRU's linear_before_reset; LSTM's input_forget.
        clip: Of what goes into a function; 0 for none.
        functions: Names for each direction; empty for the usual ones.
    """

    kind: str
    steps: int
    batch: int
    size: int
    direction: str
    lengths: bool
    peepholes: bool
    option: bool
    clip: float
    functions: tuple[str, ...]


def bounded(case: Case) -> tuple[str, ...]:
    """Gates that are not, multiply what grew with what grew."""
    return tuple(name if name in BOUNDED else "Tanh" for name in case.functions)


cases = st.builds(
    Case,
    kind=st.sampled_from(list(GATES)),
    steps=st.integers(1, 9),
    batch=st.integers(1, 7),
    size=st.integers(1, 37),
    direction=st.sampled_from(["forward", "reverse", "bidirectional"]),
    lengths=st.booleans(),
    peepholes=st.booleans(),
    option=st.booleans(),
    clip=st.sampled_from([0.0, 0.7]),
    functions=st.one_of(st.just(()), st.tuples(*[st.sampled_from(NAMES)] * 3)),
).map(lambda case: case if case.kind == "RNN" else replace(case, functions=bounded(case)))


def graph_of(case: Case) -> tuple[bytes, dict[str, Array]]:
    """The layer with constant weights; and feeds."""
    random = np.random.default_rng(case.steps * 31 + case.size)
    both = 2 if case.direction == "bidirectional" else 1
    rows = GATES[case.kind] * case.size
    held = {
        "w": random.uniform(-0.5, 0.5, (both, rows, 6)),
        "r": random.uniform(-1, 1, (both, rows, case.size)) / case.size**0.5,  # else steps diverge
        "b": random.uniform(-0.5, 0.5, (both, 2 * rows)),
    }
    feeds = {"x": random.standard_normal((case.steps, case.batch, 6)).astype(np.float32)}
    inputs = ["x", "w", "r", "b", ""]
    if case.lengths:
        inputs[4] = "n"
        feeds["n"] = random.integers(1, case.steps + 1, case.batch).astype(np.int32)
        feeds["n"][0] = case.steps
    held["h0"] = random.uniform(-1, 1, (both, case.batch, case.size))
    inputs.append("h0")
    if case.kind == "LSTM":
        held["c0"] = random.uniform(-1, 1, (both, case.batch, case.size))
        inputs.append("c0")
        if case.peepholes:
            held["p"] = random.uniform(-0.5, 0.5, (both, 3 * case.size))
            inputs.append("p")
    attributes: dict[str, Any] = {"hidden_size": case.size, "direction": case.direction}
    if case.clip:
        attributes["clip"] = case.clip
    if case.functions:
        attributes["activations"] = list(case.functions[: FUNCTIONS[case.kind]]) * both
    if case.option and case.kind != "RNN":
        attributes["linear_before_reset" if case.kind == "GRU" else "input_forget"] = 1
    names = " ".join(name or "-" for name in inputs)
    outputs = ["y", "h", "c"][: 3 if case.kind == "LSTM" else 2]
    layer = node(case.kind, names, " ".join(outputs), **attributes)
    ports = {name: array.shape for name, array in feeds.items()}
    constants = {name: array.astype(np.float32) for name, array in held.items()}
    lengths = {"n": int(TensorProto.INT32)}
    return onnx_model([layer], ports, outputs, constants, dtypes=lengths), feeds


def compare(case: Case, threads: int, level: Level) -> None:
    data, feeds = graph_of(case)
    made = ours(compiled(data, threads=threads), feeds, level=level)
    for got, want in zip(made, wanted(data, feeds), strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)


@settings(max_examples=150, deadline=None)
@given(case=cases, threads=st.sampled_from([1, 2]), level=st.sampled_from(LEVELS))
def test_equals_onnxruntime(case: Case, threads: int, level: Level) -> None:
    compare(case, threads, level)


@pytest.mark.parametrize("kind", list(GATES))
def test_long_sequences_of_large_states(kind: str) -> None:
    """Rounding errors of one step are the next one's input."""
    case = Case(
        kind=kind, steps=100, batch=1, size=128, direction="bidirectional", lengths=False,
        peepholes=False, option=False, clip=0.0, functions=(),
    )  # fmt: skip
    compare(case, 1, LEVELS[-1])
