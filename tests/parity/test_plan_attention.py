"""Attention as exporters spell it: one kernel, its scores never in the arena, equal to onnxruntime's."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.engine.model import Model
from tests.helpers.arrays import LEVELS, Array, Level
from tests.helpers.graphs import node, onnx_model
from tests.helpers.parity import compiled, ours, steps_of, wanted

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


def graph_of(case: Case, *others: str) -> tuple[bytes, dict[str, Array]]:
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
        node("Transpose", "q", "qt", perm=[0, 2, 1, 3]),
        node("Transpose", "k", "kt", perm=[0, 2, 3, 1]),
        node("Transpose", "v", "vt", perm=[0, 2, 1, 3]),
        node("MatMul", "qt kt", "s0"),
    ]
    at = "s0"
    if case.scale:
        nodes.append(node(case.scale, f"{at} scale", "s1"))
        at = "s1"
    if case.mask:
        hidden = random.random(case.mask_shape()) < 0.3
        feeds["mask"] = np.where(hidden, -30, 0).astype(np.float32)  # larger ones round scores away
        nodes.append(node("Add", f"{at} mask", "s2"))
        at = "s2"
    nodes.append(node("Softmax", at, "p", axis=-1))
    nodes.append(node("MatMul", "p vt", "o" if case.turned else "y"))
    if case.turned:
        nodes.append(node("Transpose", "o", "y", perm=[0, 2, 1, 3]))
    ports = {name: array.shape for name, array in feeds.items()}
    constants = {"scale": np.float32(0.37)} if case.scale else {}
    return onnx_model(nodes, ports, ["y", *others], constants), feeds


def check(data: bytes, feeds: dict[str, Array], model: Model, level: Level) -> None:
    """Every output is as onnxruntime's."""
    made = ours(model, feeds, level=level)
    for got, want in zip(made, wanted(data, feeds), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=TOLERANCE)


@settings(max_examples=150, deadline=None)
@given(case=cases, threads=st.sampled_from([1, 2]), level=st.sampled_from(LEVELS))
def test_equals_onnxruntime(case: Case, threads: int, level: Level) -> None:
    data, feeds = graph_of(case)
    check(data, feeds, compiled(data, threads=threads), level)


@pytest.mark.parametrize("mask", ["", "b11n", "mn", "bhmn"])
@pytest.mark.parametrize("turned", [False, True])
def test_is_one_step(mask: str, turned: bool) -> None:
    """Scores, scale, mask, softmax, their product and, of one sentence, joining the heads."""
    case = Case(
        batch=1, heads=4, m=33, n=50, size=16, width=24, mask=mask, scale="Mul", turned=turned
    )
    data, feeds = graph_of(case)
    model = compiled(data, threads=2)
    check(data, feeds, model, LEVELS[-1])
    assert steps_of(model) == 1


@pytest.mark.parametrize("threads", [1, 2])
def test_long_sentences_go_through_in_parts(threads: int) -> None:
    """Scores of 3,000 keys: some rows at once, and several pieces a head."""
    case = Case(batch=1, heads=2, m=300, n=3000, size=64, width=64, mask="n", scale="", turned=True)
    data, feeds = graph_of(case)
    model = compiled(data, threads=threads)
    check(data, feeds, model, LEVELS[-1])
    assert steps_of(model) == 1


def test_scores_that_are_wanted_stay() -> None:
    """An output between the steps keeps them apart."""
    case = Case(batch=1, heads=2, m=5, n=6, size=8, width=8, mask="", scale="", turned=False)
    data, feeds = graph_of(case, "p")
    check(data, feeds, compiled(data), LEVELS[-1])
