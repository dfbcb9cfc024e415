"""Matrix products against numpy in float64, at every level, over tile edges, strides and batches.

Tolerance: the error of one product is at most 2e-6 times the sum of the sizes of its terms.
"""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.engine import _core
from tests.helpers.arrays import LEVELS, Level, seeded

every_level = pytest.mark.parametrize("level", LEVELS)
Floats = npt.NDArray[np.float32]

# Around the tiles of every level (4 x 4, 6 x 16, 14 x 32), the blocks (256 deep, 512 wide), and one row or column.
EDGES = [
    (1, 1, 1),
    (1, 64, 10),
    (1, 300, 257),
    (3, 7, 5),
    (6, 16, 16),
    (7, 17, 33),
    (13, 31, 31),
    (15, 257, 65),
    (29, 256, 32),
    (57, 3, 515),
    (113, 300, 70),
    (24, 40, 40),
    (25, 40, 40),
    (36, 300, 40),
    (37, 40, 530),
    (2, 0, 3),
]


def floats(shape: tuple[int, ...], seed: int) -> Floats:
    return seeded(shape, "float32", seed).astype(np.float32)


def tensor(array: Floats) -> _core.Tensor:
    return _core.frombuffer(np.ascontiguousarray(array), shape=array.shape)


def check(got: _core.Tensor, a: Floats, b: Floats) -> None:
    want = a.astype(np.float64) @ b.astype(np.float64)
    slack = 2e-6 * (np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)) + 1e-30
    assert got.shape == want.shape
    assert np.all(np.abs(np.asarray(got) - want) <= slack)


@every_level
@pytest.mark.parametrize("size", EDGES, ids=str)
@pytest.mark.parametrize("flipped", ["neither", "a", "b", "both"])
def test_every_edge(size: tuple[int, int, int], flipped: str, level: Level) -> None:
    m, k, n = size
    a, b = floats((m, k), 1), floats((k, n), 2)
    x = tensor(a.T).transpose() if flipped in ("a", "both") else tensor(a)
    y = tensor(b.T).transpose() if flipped in ("b", "both") else tensor(b)
    check(_core.matmul(x, y, level=level), a, b)


@every_level
@settings(max_examples=40, deadline=None)
@given(m=st.integers(1, 40), k=st.integers(1, 40), n=st.integers(1, 80), seed=st.integers(0, 2**32))
def test_gemm(level: Level, m: int, k: int, n: int, seed: int) -> None:
    a, b, c = floats((m, k), seed), floats((k, n), seed + 1), floats((1, n), seed + 2)
    flip_a, flip_b = bool(seed & 1), bool(seed & 2)
    x, y = tensor(a.T if flip_a else a), tensor(b.T if flip_b else b)
    got = _core.gemm(x, y, tensor(c), 0.5, 2.0, flip_a, flip_b, level=level)
    want = 0.5 * (a.astype(np.float64) @ b) + 2.0 * c
    slack = 2e-6 * (np.abs(a).astype(np.float64) @ np.abs(b) + 2 * np.abs(c))
    assert np.all(np.abs(np.asarray(got) - want) <= slack)


@every_level
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3, 4, 5), (5, 6)),
        ((4, 5), (3, 5, 6)),
        ((2, 1, 4, 5), (3, 5, 6)),
        ((5,), (5, 6)),
        ((4, 5), (5,)),
        ((5,), (5,)),
        ((2, 4, 5), (5,)),
        ((0, 4, 5), (5, 6)),
    ],
    ids=str,
)
def test_batches_and_vectors(left: tuple[int, ...], right: tuple[int, ...], level: Level) -> None:
    a, b = floats(left, 3), floats(right, 4)
    got = _core.matmul(tensor(a), tensor(b), level=level)
    np.testing.assert_allclose(np.asarray(got), a.astype(np.float64) @ b, rtol=1e-4, atol=1e-4)


def test_levels_agree_closely_and_repeat_exactly() -> None:
    a, b = tensor(floats((30, 500), 5)), tensor(floats((500, 90), 6))
    results = [np.asarray(_core.matmul(a, b, level=level)) for level in LEVELS]
    for result in results:
        np.testing.assert_allclose(result, results[0], rtol=1e-4, atol=1e-3)
    again = np.asarray(_core.matmul(a, b, level=LEVELS[-1]))
    assert again.tobytes() == results[-1].tobytes()
