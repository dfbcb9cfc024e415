"""Matrix products with a packed right side against numpy in float64, at every level, over sizes, strides and epilogues.

Tolerance: the error of one result is at most 3e-6 times the sum of the sizes of its terms.
"""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.engine import _core
from tests.helpers.arrays import LEVELS, Level, tensor_of

every_level = pytest.mark.parametrize("level", LEVELS)
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

# Around tiles (12 rows, 4 vectors), passes of k (1,536 and 384), one row, one column, nothing.
EDGES = [
    (1, 1, 1),
    (1, 768, 70),
    (7, 1600, 65),
    (12, 5, 16),
    (13, 9, 17),
    (8, 400, 200),
    (29, 3, 33),
    (5, 0, 9),
    (0, 4, 4),
]


def floats(seed: int, *shape: int) -> Floats:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def check(got: _core.Tensor, want: Doubles, size: Doubles) -> None:
    assert got.shape == want.shape
    assert np.all(np.abs(np.asarray(got) - want) <= 3e-6 * size + 1e-30)


def product(a: Floats, b: Floats) -> tuple[Doubles, Doubles]:
    x, y = a.astype(np.float64), b.astype(np.float64)
    return x @ y, np.abs(x) @ np.abs(y)


@every_level
@pytest.mark.parametrize("size", EDGES, ids=str)
@pytest.mark.parametrize("flipped", ["neither", "a", "b"])
def test_edges_and_strides(size: tuple[int, int, int], flipped: str, level: Level) -> None:
    m, k, n = size
    a, b = floats(1, m, k), floats(2, k, n)
    x = tensor_of(a.T).transpose() if flipped == "a" else tensor_of(a)
    y = tensor_of(b.T).transpose() if flipped == "b" else tensor_of(b)
    check(_core.kernel_matmul(x, y, level=level)[0], *product(a, b))


@every_level
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 60), st.integers(1, 150)),
    seed=st.integers(0, 999),
    threads=st.integers(1, 3),
)
@settings(max_examples=40, deadline=None)
def test_bias_residual_and_clip(
    size: tuple[int, int, int], seed: int, threads: int, level: Level
) -> None:
    m, k, n = size
    a, b = floats(seed, m, k), floats(seed + 1, k, n)
    bias, residual = floats(seed + 2, n), floats(seed + 3, m, n)
    want, terms = product(a, b)
    got, _ = _core.kernel_matmul(
        *map(tensor_of, (a, b, bias, residual)),
        activation="clip",
        low=-0.5,
        high=2.0,
        threads=threads,
        level=level,
    )
    check(got, np.clip(want + bias + residual, -0.5, 2), terms + np.abs(bias) + np.abs(residual))


@every_level
def test_bias_and_gelu(level: Level) -> None:
    a, b, bias = floats(1, 20, 30), floats(2, 30, 50), floats(3, 50)
    want = product(a, b)[0] + bias
    got = _core.kernel_matmul(*map(tensor_of, (a, b, bias)), activation="gelu_tanh", level=level)[0]
    inner = np.sqrt(2 / np.pi) * (want + 0.044715 * want**3)
    check(got, want / 2 * (1 + np.tanh(inner)), np.full(want.shape, 4.0))


@every_level
@given(
    size=st.tuples(*[st.integers(1, 3)], *[st.integers(1, 70)] * 3),
    flips=st.tuples(st.booleans(), st.booleans()),
    threads=st.integers(1, 2),
)
@settings(max_examples=40, deadline=None)
def test_products_of_many(
    size: tuple[int, int, int, int], flips: tuple[bool, bool], threads: int, level: Level
) -> None:
    batch, m, k, n = size
    a, b = floats(1, batch, m, k), floats(2, batch, k, n)
    x, y = (
        tensor_of(z.swapaxes(1, 2)).transpose((0, 2, 1)) if flip else tensor_of(z)
        for z, flip in zip((a, b), flips, strict=True)
    )
    want, terms = product(a, b)
    got, _ = _core.kernel_matmul_each(x, y, scale=0.125, threads=threads, level=level)
    check(got, want * 0.125, terms)


def test_bad_operands_are_refused() -> None:
    with pytest.raises(ValueError, match=r"takes \(m, k\) and \(k, n\)"):
        _core.kernel_matmul(_core.zeros((2, 3)), _core.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"\(batch, m, k\)"):
        _core.kernel_matmul_each(_core.zeros((1, 2, 3)), _core.zeros((2, 3, 2)))
    with pytest.raises(ValueError, match="is not"):
        _core.kernel_matmul(_core.zeros((2, 3)), _core.zeros((3, 4)), _core.zeros((3,)))
    with pytest.raises(ValueError, match="no activation 'swish'"):
        _core.kernel_matmul(_core.zeros((2, 3)), _core.zeros((3, 4)), activation="swish")  # type: ignore[arg-type]


@every_level
@given(
    size=st.tuples(st.integers(2, 41), st.integers(1, 30), st.integers(1, 75)),
    seed=st.integers(0, 999),
    threads=st.integers(1, 3),
    plain=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_strassen(
    size: tuple[int, int, int], seed: int, threads: int, plain: bool, level: Level
) -> None:
    """Seven products of quarters; a result's error grows with those of its neighbours."""
    m, k, n = size[0], 2 * size[1], 2 * size[2]
    a, b = floats(seed, m, k), floats(seed + 1, k, n)
    bias, residual = floats(seed + 2, n), floats(seed + 3, m, n)
    want, terms = product(a, b)
    wide = np.full(want.shape, 8 * terms.max() + 2)
    if plain:
        got = _core.kernel_matmul(
            *map(tensor_of, (a, b)), algorithm="strassen", threads=threads, level=level
        )[0]
        return check(got, want, wide)
    got, _ = _core.kernel_matmul(
        *map(tensor_of, (a, b, bias, residual)),
        algorithm="strassen",
        activation="clip",
        low=-0.5,
        high=2.0,
        threads=threads,
        level=level,
    )
    return check(got, np.clip(want + bias + residual, -0.5, 2), wide)


@pytest.mark.parametrize("size", [(1, 4, 4), (4, 3, 4), (4, 4, 3)], ids=str)
def test_strassen_refuses_what_it_cannot_halve(size: tuple[int, int, int]) -> None:
    m, k, n = size
    with pytest.raises(ValueError, match="even sizes"):
        _core.kernel_matmul(
            tensor_of(floats(1, m, k)), tensor_of(floats(2, k, n)), algorithm="strassen"
        )
