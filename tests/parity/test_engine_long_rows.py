"""Rows so long that kernels take them in pieces: the pieces come to what the whole would."""

from typing import Literal

import numpy as np
import pytest

from device_agent.engine import _core

type Level = Literal["portable", "avx2", "avx512"]
PIECE = 1 << 17
LENGTHS = (PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 77)
LEVELS = _core.levels()


def row(length: int, *, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=length).astype(np.float32)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("length", LENGTHS)
def test_reductions(length: int, level: Level) -> None:
    x = row(length)
    given = _core.frombuffer(x)
    assert _core.sum(given, level=level).item() == pytest.approx(x.sum(dtype=np.float64), abs=0.2)
    assert _core.mean(given, level=level).item() == pytest.approx(x.mean(), abs=1e-5)
    assert _core.max(given, level=level).item() == x.max()
    assert _core.min(given, level=level).item() == x.min()
    assert _core.argmax(given).item() == x.argmax()
    whole = np.arange(length, dtype=np.int64)
    assert _core.sum(_core.frombuffer(whole, "int64"), level=level).item() == whole.sum()


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_no_number_stays_so_in_any_piece(level: Level) -> None:
    for place in (0, PIECE - 1, PIECE, 3 * PIECE):
        x = row(3 * PIECE + 1)
        x[place] = np.nan
        for reduce in (_core.sum, _core.max, _core.min):
            assert np.isnan(reduce(_core.frombuffer(x), level=level).item())
        assert _core.argmax(_core.frombuffer(x)).item() == place


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("length", LENGTHS)
def test_softmax(length: int, level: Level) -> None:
    x = row(length) * 4
    want = np.exp(x.astype(np.float64) - x.max())
    want /= want.sum()
    made = np.asarray(_core.softmax(_core.frombuffer(x), level=level))
    np.testing.assert_allclose(made, want, rtol=1e-4)


@pytest.mark.parametrize("length", LENGTHS)
def test_along_one_axis(length: int) -> None:
    x = row(length)
    given = _core.frombuffer(x)
    running = np.asarray(_core.cumulative_sum(given))
    np.testing.assert_allclose(running, np.cumsum(x, dtype=np.float64), rtol=1e-4, atol=1e-3)
    assert (np.asarray(_core.argsort(given)) == np.argsort(x, kind="stable")).all()
    places = np.random.default_rng(1).integers(-length, length, length)
    taken = np.asarray(_core.take(given, _core.frombuffer(places, "int64")))
    assert (taken == x[places]).all()
    along = np.asarray(_core.take_along_axis(given, _core.frombuffer(places, "int64")))
    assert (along == x[places]).all()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("length", LENGTHS)
def test_elementwise(length: int, level: Level) -> None:
    x, y = row(length), row(length, seed=6)
    a, b = _core.frombuffer(x), _core.frombuffer(y)
    assert (np.asarray(_core.add(a, b, level=level)) == x + y).all()
    assert (np.asarray(_core.relu(a, level=level)) == np.maximum(x, 0)).all()
    assert (np.asarray(_core.less(a, b)) == (x < y)).all()
    assert (np.asarray(_core.where(_core.less(a, b), a, b)) == np.minimum(x, y)).all()
    assert (np.asarray(a.astype("uint8")) == np.clip(x, 0, 255).astype(np.uint8)).all()
    spread = np.asarray(_core.broadcast_to(a, (2, length)))
    assert (spread == np.stack([x, x])).all()


def test_a_wide_picture() -> None:
    x = np.random.default_rng(2).uniform(size=(2, 40, 5_000)).astype(np.float32)
    grown = np.asarray(_core.resize(_core.frombuffer(x, "float32", x.shape), 4, 40, "linear"))
    want = np.stack([x[0], x[0] * 0.75 + x[1] * 0.25, x[0] * 0.25 + x[1] * 0.75, x[1]])
    np.testing.assert_allclose(grown, want, atol=1e-6)
