"""The operators of op set 2 against numpy, over shapes, strides, broadcasts and dtypes.

Tolerances: comparisons, choices, order, movement, integers: exact. Functions: 1e-6 relative. fft: 1e-6 of the largest
element. Running sums: 1e-6 of the sum of sizes.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.engine import _core
from tests.helpers.arrays import (
    Array,
    Dtype,
    pairs_that_broadcast,
    seeded,
    shapes,
    strided,
    tensor_of,
)

NUMBERS: list[Dtype] = ["float32", "int32", "int64", "uint8"]
ALL: list[Dtype] = [*NUMBERS, "bool"]
SEEDS = st.integers(0, 2**32 - 1)
PAIRS = pairs_that_broadcast()
COMPARISONS = ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"]


def some(shape: tuple[int, ...], dtype: str, seed: int) -> Array:
    """Few different values, so that equals occur; floats with not-a-number among them."""
    rng = np.random.default_rng(seed)
    if dtype == "float32":
        values = np.array([-2.5, -0.0, 0.0, 1.0, 3.0, np.nan, np.inf], np.float32)
        return np.asarray(rng.choice(values, shape))
    return np.asarray(rng.integers(0, 4, shape)).astype(dtype)


def same(got: _core.Tensor, want: Array) -> None:
    assert (got.shape, got.dtype) == (want.shape, want.dtype.name)
    np.testing.assert_array_equal(np.asarray(got), want)


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("name", COMPARISONS)
@settings(max_examples=25, deadline=None)
@given(pair=PAIRS, seed=SEEDS)
def test_comparisons(
    name: str, dtype: Dtype, pair: tuple[tuple[int, ...], tuple[int, ...]], seed: int
) -> None:
    a, b = some(pair[0], dtype, seed), some(pair[1], dtype, seed + 1)
    same(getattr(_core, name)(tensor_of(a), tensor_of(b)), np.asarray(getattr(np, name)(a, b)))


@pytest.mark.parametrize("name", ["logical_and", "logical_or", "logical_xor"])
@settings(max_examples=25, deadline=None)
@given(pair=PAIRS, seed=SEEDS)
def test_logic(name: str, pair: tuple[tuple[int, ...], tuple[int, ...]], seed: int) -> None:
    a, b = some(pair[0], "bool", seed), some(pair[1], "bool", seed + 1)
    same(getattr(_core, name)(tensor_of(a), tensor_of(b)), np.asarray(getattr(np, name)(a, b)))
    same(_core.logical_not(tensor_of(a)), np.logical_not(a))


def test_any_byte_but_zero_is_true() -> None:
    odd = _core.frombuffer(bytes([0, 1, 2, 255]), "bool")
    assert odd.tolist() == [False, True, True, True]
    assert (odd == True).tolist() == [False, True, True, True]  # noqa: E712 - element by element
    assert odd.astype("int32").tolist() == [0, 1, 1, 1]
    assert (odd & odd).tobytes() == bytes([0, 1, 1, 1])
    assert _core.where(odd, 1, _core.zeros(4)).tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize("dtype", ALL)
@settings(max_examples=25, deadline=None)
@given(pair=PAIRS, seed=SEEDS)
def test_where(dtype: Dtype, pair: tuple[tuple[int, ...], tuple[int, ...]], seed: int) -> None:
    a, b = some(pair[0], dtype, seed), some(pair[1], dtype, seed + 1)
    holds = some(pair[0], "bool", seed + 2)
    same(
        _core.where(tensor_of(holds), tensor_of(a), tensor_of(b)), np.asarray(np.where(holds, a, b))
    )


FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "abs": np.abs,
    "log": np.log,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.round,
    "sin": np.sin,
    "cos": np.cos,
}


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=25, deadline=None)
@given(shape=shapes(), seed=SEEDS)
def test_functions(name: str, shape: tuple[int, ...], seed: int) -> None:
    x = seeded(shape, "float32", seed)
    with np.errstate(invalid="ignore"):
        want = FUNCTIONS[name](x)
    got = getattr(_core, name)(tensor_of(x))
    np.testing.assert_allclose(np.asarray(got), want, rtol=1e-6, atol=1e-6)


def test_halves_round_to_the_even_number() -> None:
    assert _core.round(_core.tensor([0.5, 1.5, 2.5, -0.5, -1.5])).tolist() == [0, 2, 2, 0, -2]


@settings(max_examples=25, deadline=None)
@given(pair=PAIRS, seed=SEEDS)
def test_power(pair: tuple[tuple[int, ...], tuple[int, ...]], seed: int) -> None:
    a, b = np.abs(seeded(pair[0], "float32", seed)), seeded(pair[1], "float32", seed + 1)
    want = np.asarray(a**b)
    np.testing.assert_allclose(
        np.asarray(_core.power(tensor_of(a), tensor_of(b))), want, rtol=1e-6, atol=1e-30
    )
    np.testing.assert_allclose(np.asarray(tensor_of(a) ** 2), a**2, rtol=1e-6)


shaped = shapes().filter(lambda shape: bool(shape) and 0 not in shape)


@pytest.mark.parametrize("dtype", ["float32", "int32", "int64"])
@settings(max_examples=40, deadline=None)
@given(shape=shaped, seed=SEEDS, axis=st.integers(0, 3))
def test_along_an_axis(dtype: Dtype, shape: tuple[int, ...], seed: int, axis: int) -> None:
    along = axis % len(shape)
    x = some(shape, dtype, seed)
    t = tensor_of(x)
    order = np.argsort(x, along, kind="stable").astype(np.int64)
    same(_core.argsort(t, along), order)
    same(_core.take_along_axis(t, _core.argsort(t, along), along), np.sort(x, along))
    same(_core.argmin(t, along), np.argmin(x, along).astype(np.int64))
    finite = np.nan_to_num(x, nan=0.5, posinf=2.0).astype(dtype)
    sums = np.asarray(_core.cumulative_sum(tensor_of(finite), along))
    np.testing.assert_allclose(sums, np.cumsum(finite, along), rtol=1e-6, atol=1e-5)
    products = np.asarray(_core.prod(tensor_of(finite), along))
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(products, np.prod(finite, along, dtype=dtype), rtol=1e-5)


@pytest.mark.parametrize("descending", [False, True])
def test_what_is_not_a_number_sorts_last_and_equals_keep_their_order(descending: bool) -> None:
    x = _core.tensor([2.0, float("nan"), 1.0, 2.0, float("nan"), 1.0])
    order = [0, 3, 2, 5, 1, 4] if descending else [2, 5, 0, 3, 1, 4]
    assert _core.argsort(x, descending=descending).tolist() == order


@pytest.mark.parametrize("dtype", ALL)
@settings(max_examples=40, deadline=None)
@given(shape=shaped, seed=SEEDS, axis=st.integers(0, 3), picks=shapes(2, 5))
def test_take(
    dtype: Dtype, shape: tuple[int, ...], seed: int, axis: int, picks: tuple[int, ...]
) -> None:
    along = axis % len(shape)
    x = some(shape, dtype, seed)
    size = shape[along]
    indices = np.random.default_rng(seed).integers(-size, size, picks).astype(np.int64)
    same(_core.take(tensor_of(x), tensor_of(indices), along), np.take(x, indices, along))
    view, t = strided(x)
    if view.shape[along] == size:
        same(_core.take(t, tensor_of(indices), along), np.take(view, indices, along))


@settings(max_examples=40, deadline=None)
@given(pair=PAIRS, seed=SEEDS)
def test_broadcast_to(pair: tuple[tuple[int, ...], tuple[int, ...]], seed: int) -> None:
    shape = np.broadcast_shapes(*pair)
    x = some(pair[1], "int32", seed)
    same(_core.broadcast_to(tensor_of(x), shape), np.broadcast_to(x, shape))


# Powers of two, of three and five, mixed, primes, and lengths that only Bluestein's algorithm makes.
LENGTHS = [
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    11,
    12,
    16,
    25,
    27,
    30,
    31,
    49,
    60,
    64,
    97,
    128,
    360,
    400,
    1021,
    2048,
]


@pytest.mark.parametrize("n", LENGTHS)
def test_fft(n: int) -> None:
    x = np.random.default_rng(n).standard_normal((2, n, 2)).astype(np.float32)
    want = np.fft.fft(x[..., 0].astype(np.float64) + 1j * x[..., 1].astype(np.float64))
    made = _core.fft(tensor_of(x))
    got = np.asarray(made)[..., 0] + 1j * np.asarray(made)[..., 1]
    assert np.abs(got - want).max() <= 1e-6 * np.abs(want).max()
    back = np.asarray(_core.fft(made, inverse=True))
    np.testing.assert_allclose(back, x, atol=3e-6)


type Kind = Literal["nearest", "smooth", "linear"]


def resized(x: Array, height: int, width: int, kind: Kind) -> Array:
    """The slow definition: each output pixel's weights over all input pixels of its row, then of its column."""

    def weights(size: int, wanted: int) -> Array:
        step = size / wanted
        out = np.zeros((wanted, size))
        for i in range(wanted):
            if kind == "nearest":
                out[i, min(int((i + 0.5) * step), size - 1)] = 1
                continue
            reach = max(step, 1.0) if kind == "smooth" else 1.0
            centre = min(max((i + 0.5) * step - 0.5, 0), size - 1)
            away = (
                np.abs(np.arange(size) - (centre if kind == "linear" else (i + 0.5) * step - 0.5))
                / reach
            )
            out[i] = np.maximum(0.0, 1 - away)
        return out / out.sum(1, keepdims=True)

    rows, columns = weights(x.shape[0], height), weights(x.shape[1], width)
    return np.asarray(np.einsum("hi,wj,ijc->hwc", rows, columns, x))


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 12)] * 4),
    channels=st.integers(1, 3),
    kind=st.sampled_from(["nearest", "smooth", "linear"]),
)
def test_resize(sizes: tuple[int, int, int, int], channels: int, kind: Kind) -> None:
    height, width, rows, columns = sizes
    x = np.random.default_rng(rows).random((rows, columns, channels)).astype(np.float32)
    got = _core.resize(tensor_of(x), height, width, kind)
    np.testing.assert_allclose(np.asarray(got), resized(x, height, width, kind), atol=1e-5)


REFUSED: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: _core.tensor([True], "bool") + 1, TypeError, "add takes numbers, not bool"),
    (lambda: -_core.tensor([True], "bool"), TypeError, "negative takes numbers, not bool"),
    (lambda: _core.sum(_core.tensor([True], "bool")), TypeError, "not bool: cast it first"),
    (lambda: _core.tensor([1.0]) & True, TypeError, "logical_and takes bool, not float32"),
    (lambda: ~_core.tensor([1.0]), TypeError, "logical_not takes bool"),
    (lambda: _core.where(_core.tensor([1.0]), 1, _core.tensor([1.0])), TypeError, "bool condition"),
    (lambda: _core.log(_core.tensor([1], "int32")), TypeError, "logarithm takes float32"),
    (lambda: abs(_core.tensor([1], "uint8")), TypeError, "absolute takes float32, int32 or int64"),
    (lambda: _core.take(_core.zeros(3), _core.tensor([3], "int64")), ValueError, "outside an axis"),
    (lambda: _core.take(_core.zeros(3), _core.tensor([-4], "int64")), ValueError, "index -4"),
    (lambda: _core.take(_core.zeros(3), _core.tensor([0], "int32")), TypeError, "int64 indices"),
    (lambda: _core.take(_core.zeros(0), _core.tensor([0], "int64")), ValueError, "axis of 0"),
    (
        lambda: _core.take_along_axis(_core.zeros((2, 3)), _core.zeros((3, 3), "int64")),
        ValueError,
        "all axes but the one",
    ),
    (lambda: _core.broadcast_to(_core.zeros(3), (2, 2)), ValueError, "do not broadcast"),
    (lambda: _core.broadcast_to(_core.zeros(3), (1,)), ValueError, "does not broadcast to"),
    (lambda: _core.broadcast_to(_core.zeros(1), (-1,)), ValueError, "negative"),
    (lambda: _core.broadcast_to(_core.zeros(1), (2**40,)), ValueError, "too many elements"),
    (lambda: _core.fft(_core.zeros((4, 3))), ValueError, "an axis of 2 at the end"),
    (lambda: _core.fft(_core.zeros(2)), ValueError, "an axis of 2 at the end"),
    (lambda: _core.resize(_core.zeros((0, 2, 1)), 1, 1), ValueError, "without pixels"),
    (lambda: _core.resize(_core.zeros((2, 2, 1)), 0, 1), ValueError, "at least one pixel"),
    (lambda: _core.resize(_core.zeros((2, 2, 1)), 2**40, 2**40), ValueError, "too many elements"),
    (lambda: _core.resize(_core.zeros((1, 1, 1)), 1, 1, "cubic"), ValueError, "no kind 'cubic'"),  # type: ignore[arg-type]
    (lambda: _core.argmin(_core.zeros((2, 0))), ValueError, "argmin over an empty axis"),
    (lambda: bool(_core.zeros(2)), ValueError, "neither true nor false"),
    (lambda: hash(_core.zeros(2)), TypeError, "unhashable"),
    (lambda: _core.zeros(1) < "a", TypeError, "not supported"),  # type: ignore[operator]
]


@pytest.mark.parametrize(("act", "kind", "says"), REFUSED)
def test_what_cannot_be_is_refused_and_says_why(
    act: Callable[[], object], kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says):
        act()


def test_one_element_is_true_or_false() -> None:
    cases = [(0.0, False), (-0.0, False), (0.5, True)]
    assert [bool(_core.tensor([x])) for x, _ in cases] == [want for _, want in cases]
    assert bool(_core.tensor([0], "int64")) is False
    assert bool(_core.tensor([2**40], "int64")) is True
