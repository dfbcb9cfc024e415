"""Products in 8 bits against the same arithmetic in numpy's integers, at every level: sums are exact."""

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


def floats(seed: int, *shape: int) -> Floats:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def quantised(x: Floats, axis: int) -> tuple[npt.NDArray[np.int64], Doubles]:
    """Whole numbers in -127 .. 127 and their scale, one a row (axis 1) or a column (axis 0)."""
    top = np.abs(x).max(axis, keepdims=True).astype(np.float64)
    return np.rint(x * (127 / np.maximum(top, 1e-30))).astype(np.int64), top / 127


def product(a: Floats, b: Floats) -> Doubles:
    (x, xs), (y, ys) = quantised(a, 1), quantised(b, 0)
    return np.asarray((x @ y) * xs * ys)


@every_level
@given(
    size=st.tuples(st.integers(1, 30), st.integers(1, 70), st.integers(1, 140)),
    seed=st.integers(0, 999),
    threads=st.integers(1, 3),
)
@settings(max_examples=40, deadline=None)
def test_sums_bias_residual_and_clip(
    size: tuple[int, int, int], seed: int, threads: int, level: Level
) -> None:
    m, k, n = size
    a, b = floats(seed, m, k), floats(seed + 1, k, n)
    bias, residual = floats(seed + 2, n), floats(seed + 3, m, n)
    got, _ = _core.kernel_matmul_int8(
        *map(tensor_of, (a, b, bias, residual)),
        activation="clip",
        low=-1.5,
        high=2.0,
        threads=threads,
        level=level,
    )
    want = np.clip(product(a, b) + bias + residual, -1.5, 2)
    # A number in the middle of two may be rounded either way, on either side: a unit of each, times the other.
    slack = 2e-5 + 2 / 127 * (np.abs(a).max(1, keepdims=True) + np.abs(b).max(0, keepdims=True))
    assert np.all(np.abs(np.asarray(got) - want) <= slack)
    if min(m, n) >= 3:  # one such number is in a whole row or column
        assert np.median(np.abs(np.asarray(got) - want)) < 1e-5


@every_level
def test_the_biggest_sums_are_exact(level: Level) -> None:
    """All bytes at their ends: where pairs of products were summed in 16 bits, they would not fit."""
    for sign in (1, -1):
        a, b = np.ones((5, 4099), np.float32), np.full((4099, 33), sign, np.float32)
        got = np.asarray(_core.kernel_matmul_int8(tensor_of(a), tensor_of(b), level=level)[0])
        np.testing.assert_allclose(got, np.full((5, 33), 4099.0 * sign), rtol=1e-6)


@every_level
def test_rows_of_zeros_stay_zero(level: Level) -> None:
    a, b = np.zeros((3, 40), np.float32), floats(1, 40, 20)
    got = np.asarray(_core.kernel_matmul_int8(tensor_of(a), tensor_of(b), level=level)[0])
    assert np.all(got == 0)


@every_level
def test_it_is_near_the_product_of_floats(level: Level) -> None:
    a, b = floats(1, 64, 768), floats(2, 768, 96)
    got = np.asarray(
        _core.kernel_matmul_int8(tensor_of(a), tensor_of(b), activation="silu", level=level)[0]
    )
    exact = a.astype(np.float64) @ b
    want = exact / (1 + np.exp(-exact))
    assert np.sqrt(np.mean((got - want) ** 2) / np.mean(want**2)) < 0.01


def test_too_deep_sums_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 65536"):
        _core.kernel_matmul_int8(_core.zeros((1, 65_537)), _core.zeros((65_537, 1)))
