"""Every operator against numpy, over shapes, strides, broadcasts and dtypes, at every level that this machine runs.

Tolerances: arithmetic, movement, integers: exact. exp, sigmoid, tanh: 1e-6 relative; softmax 2e-6.
Sums: 1e-5 of the sum of sizes.
"""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.engine import _core
from tests.helpers.arrays import (
    LEVELS,
    Array,
    Dtype,
    Level,
    pairs_that_broadcast,
    seeded,
    shapes,
    strided,
)

DTYPES = ["float32", "int32", "int64", "uint8"]
SEEDS = st.integers(0, 2**32 - 1)
BINARY = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), slowly."""
    return np.asarray(1 / (1 + np.exp(-x)))


FLOAT: dict[str, Callable[[Array], Array]] = {"exp": np.exp, "tanh": np.tanh, "sigmoid": sigmoid}
every_level = pytest.mark.parametrize("level", LEVELS)


def wide(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Long enough on the last axis that vectors, tails and halves all occur."""
    return (*shape[:-1], shape[-1] * 13) if shape else shape


@every_level
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BINARY)
@settings(max_examples=25, deadline=None)
@given(pair=pairs_that_broadcast(), seed=SEEDS)
def test_binary(
    name: str,
    dtype: Dtype,
    level: Level,
    pair: tuple[tuple[int, ...], tuple[int, ...]],
    seed: int,
) -> None:
    a, b = seeded(pair[0], dtype, seed), seeded(pair[1], dtype, seed + 1)
    left, right = (_core.frombuffer(x, dtype, x.shape) for x in (a, b))
    got = getattr(_core, name)(left, right, level=level)
    with np.errstate(over="ignore"):
        want = BINARY[name](a, b)
    assert (got.shape, got.dtype) == (want.shape, dtype)
    np.testing.assert_array_equal(np.asarray(got), want)


@every_level
@settings(max_examples=50, deadline=None)
@given(shape=shapes().filter(len), seed=SEEDS)
def test_binary_of_strided_views(level: Level, shape: tuple[int, ...], seed: int) -> None:
    a, x = strided(seeded(wide(shape), "float32", seed))
    b, y = strided(seeded(wide(shape), "float32", seed + 1))
    np.testing.assert_array_equal(np.asarray(_core.add(x, y, level=level)), a + b)
    np.testing.assert_array_equal(
        np.asarray(_core.subtract(x.transpose(), 2, level=level)), a.T - np.float32(2)
    )


@every_level
@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_integers_divide_toward_zero(dtype: Dtype, level: Level) -> None:
    a, b = seeded((50,), dtype, 1), seeded((50,), dtype, 2)
    b[b == 0] = 3
    got = _core.divide(_core.frombuffer(a, dtype), _core.frombuffer(b, dtype), level=level)
    want = [int(float(x) / float(y)) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    assert got.tolist() == want


@every_level
def test_floats_divide_as_ieee(level: Level) -> None:
    a = np.array([1, -1, 0, 5] * 9, dtype=np.float32)
    b = np.array([0, 0, 0, 2] * 9, dtype=np.float32)
    with np.errstate(all="ignore"):
        want = a / b
    got = _core.divide(_core.frombuffer(a), _core.frombuffer(b), level=level)
    np.testing.assert_array_equal(np.asarray(got), want)


@every_level
@pytest.mark.parametrize("name", FLOAT)
@settings(max_examples=25, deadline=None)
@given(shape=shapes(), seed=SEEDS)
def test_float_functions(name: str, level: Level, shape: tuple[int, ...], seed: int) -> None:
    x = seeded(wide(shape), "float32", seed)
    got = getattr(_core, name)(_core.frombuffer(x, shape=x.shape), level=level)
    want = FLOAT[name](x.astype(np.float64))
    np.testing.assert_allclose(np.asarray(got), want, rtol=1e-6, atol=1e-37)


@every_level
def test_exp_over_its_whole_range(level: Level) -> None:
    x = np.linspace(-87.3, 88.7, 20_001, dtype=np.float32)
    got = np.asarray(_core.exp(_core.frombuffer(x), level=level))
    np.testing.assert_allclose(got, np.exp(x.astype(np.float64)), rtol=5e-7)
    ends = np.array([-np.inf, -200, -104, 89, 1000, np.inf, np.nan], dtype=np.float32)
    got = np.asarray(_core.exp(_core.frombuffer(ends), level=level))
    np.testing.assert_array_equal(got, [0, 0, got[2], np.inf, np.inf, np.inf, np.nan])
    assert got[2] < 1e-44


@every_level
@pytest.mark.parametrize("dtype", DTYPES)
def test_relu_negative_clip(dtype: Dtype, level: Level) -> None:
    x = seeded((5, 83), dtype, 4)
    tensor = _core.frombuffer(x, dtype, x.shape)
    for got, want in (
        (_core.relu(tensor, level=level), np.maximum(x, 0)),
        (_core.negative(tensor, level=level), -x),
        (_core.clip(tensor, -2, 40, level=level), np.clip(x, 0 if dtype == "uint8" else -2, 40)),
    ):
        np.testing.assert_array_equal(np.asarray(got), want)


@every_level
def test_not_a_number_goes_through(level: Level) -> None:
    x = np.full(40, np.nan, dtype=np.float32)
    one = _core.full((40,), 1.0)
    tensor = _core.frombuffer(x)
    for got in (
        _core.relu(tensor, level=level),
        _core.clip(tensor, 0, 1, level=level),
        _core.maximum(tensor, one, level=level),
        _core.maximum(one, tensor, level=level),
        _core.minimum(one, tensor, level=level),
        _core.max(tensor, level=level),
        _core.tanh(tensor, level=level),
    ):
        assert np.isnan(np.asarray(got)).all()


@every_level
@settings(max_examples=60, deadline=None)
@given(shape=shapes().filter(len), seed=SEEDS, data=st.data())
def test_reductions(level: Level, shape: tuple[int, ...], seed: int, data: st.DataObject) -> None:
    x = seeded(wide(shape), "float32", seed)
    axes = tuple(data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1)))
    keep = data.draw(st.booleans())
    tensor = _core.frombuffer(x, shape=x.shape)

    def reduced(name: str, of: Array) -> Array:
        made = np.asarray(getattr(of, name)(axis=axes, keepdims=True))
        return made if keep else made.squeeze(axes)

    got = np.asarray(_core.sum(tensor, axes, keep, level=level))
    want = reduced("sum", x.astype(np.float64))
    assert got.shape == want.shape
    assert np.all(np.abs(got - want) <= 1e-5 * (1 + reduced("sum", np.abs(x))))
    if all(x.shape[axis] for axis in axes):
        for name in ("max", "min"):
            made = np.asarray(getattr(_core, name)(tensor, axes, keep, level=level))
            np.testing.assert_array_equal(made, reduced(name, x))
        mean = np.asarray(_core.mean(tensor, axes, keep, level=level))
        assert np.all(np.abs(mean - reduced("mean", x.astype(np.float64))) <= 1e-4)


@every_level
@settings(max_examples=40, deadline=None)
@given(shape=shapes().filter(lambda s: 0 not in s and s), seed=SEEDS, data=st.data())
def test_softmax_and_argmax_on_any_axis(
    level: Level, shape: tuple[int, ...], seed: int, data: st.DataObject
) -> None:
    x = seeded(wide(shape), "float32", seed)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    tensor = _core.frombuffer(x, shape=x.shape)
    raised = np.exp(x.astype(np.float64) - x.max(axis, keepdims=True))
    want = raised / raised.sum(axis, keepdims=True)
    got = np.asarray(_core.softmax(tensor, axis, level=level))
    np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-12)
    places = _core.argmax(tensor, axis, True, level=level)
    assert places.dtype == "int64"
    np.testing.assert_array_equal(np.asarray(places), x.argmax(axis, keepdims=True))


@pytest.mark.parametrize("to", DTYPES)
@pytest.mark.parametrize("source", DTYPES)
def test_casts_of_what_fits(source: Dtype, to: Dtype) -> None:
    x = np.arange(0, 120, dtype=source)
    got = _core.frombuffer(x, source).astype(to)
    np.testing.assert_array_equal(np.asarray(got), x.astype(to))


def test_casts_of_what_does_not_fit_are_clipped() -> None:
    x = _core.tensor([300.7, -5.0, float("nan"), float("inf"), -1e30])
    assert x.astype("uint8").tolist() == [255, 0, 0, 255, 0]
    assert x.astype("int32").tolist() == [300, -5, 0, 2**31 - 1, -(2**31)]
    assert x.astype("int64").tolist() == [300, -5, 0, 2**63 - 1, -(2**63)]


@settings(max_examples=60, deadline=None)
@given(shape=shapes(), seed=SEEDS, data=st.data())
def test_movement(shape: tuple[int, ...], seed: int, data: st.DataObject) -> None:
    x = seeded(shape, "int32", seed)
    tensor = _core.frombuffer(x, "int32", shape)
    order = data.draw(st.permutations(range(len(shape))))
    np.testing.assert_array_equal(np.asarray(tensor.transpose(order)), x.transpose(order))
    flat = tensor.transpose(order).reshape(-1 if x.size else 0)
    np.testing.assert_array_equal(np.asarray(flat), x.transpose(order).reshape(-1))
    if shape:
        axis = data.draw(st.integers(0, len(shape) - 1))
        joined = _core.concat([tensor, tensor, tensor], axis)
        np.testing.assert_array_equal(np.asarray(joined), np.concatenate([x, x, x], axis))
        key = data.draw(st.slices(shape[0]))
        np.testing.assert_array_equal(np.asarray(tensor[key]), x[key])
