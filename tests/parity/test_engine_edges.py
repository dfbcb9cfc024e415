"""Numbers at the edges of their type, against numpy: infinities, not-a-number, denormals, signed zeros, extremes.

Every level gives numpy's bits, also where the lanes of a vector differ from one another. Tolerances: arithmetic,
comparison and movement exact to the bit (a not-a-number is one, whatever its payload); exp, tanh and sigmoid 1e-6
relative, or 1e-37 absolute near zero.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.engine import _core
from tests.helpers.arrays import LEVELS, Array, Level, tensor_of

every_level = pytest.mark.parametrize("level", LEVELS)
SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    np.inf,
    -np.inf,
    np.nan,
    3.4e38,
    -3.4e38,
    1e-38,
    -1e-45,
    2.0**24,
    88.8,
    -103.9,
]
FLOATS = st.lists(st.sampled_from(SPECIAL) | st.floats(width=32), min_size=1, max_size=70)
BINARY = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
}
INTEGERS = ["int32", "int64", "uint8"]


def same_bits(got: _core.Tensor, want: Array) -> None:
    made = np.asarray(got)
    assert (made.dtype, made.shape) == (want.dtype, want.shape)
    np.testing.assert_array_equal(made, want)
    if made.dtype == np.float32:
        signed = ~np.isnan(want)
        np.testing.assert_array_equal(np.signbit(made)[signed], np.signbit(want)[signed])


@every_level
@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide"])
@settings(max_examples=60, deadline=None)
@given(left=FLOATS, right=FLOATS)
def test_arithmetic(name: str, level: Level, left: list[float], right: list[float]) -> None:
    a, b = np.resize(np.array(left, np.float32), 70), np.resize(np.array(right, np.float32), 70)
    with np.errstate(all="ignore"):
        want = BINARY[name](a, b)
    same_bits(getattr(_core, name)(tensor_of(a), tensor_of(b), level=level), want)


@every_level
@pytest.mark.parametrize("name", ["maximum", "minimum"])
@settings(max_examples=60, deadline=None)
@given(left=FLOATS, right=FLOATS)
def test_comparison(name: str, level: Level, left: list[float], right: list[float]) -> None:
    a, b = np.resize(np.array(left, np.float32), 70), np.resize(np.array(right, np.float32), 70)
    got = np.asarray(getattr(_core, name)(tensor_of(a), tensor_of(b), level=level))
    np.testing.assert_array_equal(got, BINARY[name](a, b))  # which zero of two is nobody's promise


@every_level
@settings(max_examples=60, deadline=None)
@given(values=FLOATS)
def test_one_sided(level: Level, values: list[float]) -> None:
    x = np.resize(np.array(values, np.float32), 70)
    tensor = tensor_of(x)
    with np.errstate(all="ignore"):
        same_bits(_core.negative(tensor, level=level), -x)
        same_bits(_core.sqrt(tensor, level=level), np.sqrt(x))
        relu = np.asarray(_core.relu(tensor, level=level))
        np.testing.assert_array_equal(relu, np.maximum(x, np.float32(0)))
        clipped = np.asarray(_core.clip(tensor, -2.5, 1e30, level=level))
        np.testing.assert_array_equal(clipped, np.clip(x, np.float32(-2.5), np.float32(1e30)))
        wide = x.astype(np.float64)
        for name, want in (
            ("exp", np.exp(wide)),
            ("tanh", np.tanh(wide)),
            ("sigmoid", 1 / (1 + np.exp(-wide))),
        ):
            got = np.asarray(getattr(_core, name)(tensor, level=level))
            np.testing.assert_allclose(
                got, want.astype(np.float32), rtol=1e-6, atol=1e-37, err_msg=name
            )


@every_level
@settings(max_examples=60, deadline=None)
@given(values=FLOATS)
def test_reductions_see_every_lane(level: Level, values: list[float]) -> None:
    x = np.array(values, np.float32)
    tensor = tensor_of(x)
    np.testing.assert_array_equal(np.asarray(_core.max(tensor, level=level)), x.max())
    np.testing.assert_array_equal(np.asarray(_core.min(tensor, level=level)), x.min())
    assert _core.argmax(tensor, 0, level=level).tolist() == int(np.argmax(x))
    with np.errstate(all="ignore"):
        total = float(x.astype(np.float64).sum())
        finite = float(np.abs(x[np.isfinite(x)].astype(np.float64)).sum())
    got = _core.sum(tensor, level=level).tolist()
    # Where finite values alone may overflow on the way, what comes of an infinity depends on the order.
    if not np.isfinite(x).all() and finite < float(np.finfo(np.float32).max):
        np.testing.assert_equal(got, total)


@every_level
@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "maximum", "minimum"])
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_integers_wrap_as_in_numpy(
    name: str, dtype: str, level: Level, data: st.DataObject
) -> None:
    info = np.iinfo(dtype)
    ends = st.sampled_from([info.min, info.max, info.min + 1, 0, 1, info.max // 2])
    numbers = st.lists(ends | st.integers(info.min, info.max), min_size=1, max_size=40)
    a, b = (np.resize(np.array(data.draw(numbers), dtype), 70) for _ in range(2))
    with np.errstate(all="ignore"):
        want = BINARY[name](a, b)
    same_bits(getattr(_core, name)(tensor_of(a), tensor_of(b), level=level), want)


@every_level
@pytest.mark.parametrize("dtype", INTEGERS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_integer_reductions(dtype: str, level: Level, data: st.DataObject) -> None:
    info = np.iinfo(dtype)
    x = np.array(
        data.draw(st.lists(st.integers(info.min, info.max), min_size=1, max_size=70)), dtype
    )
    tensor = tensor_of(x)
    if dtype != "uint8":  # which reductions do not take
        same_bits(_core.max(tensor, level=level), np.asarray(x.max()))
        same_bits(_core.min(tensor, level=level), np.asarray(x.min()))
    same_bits(_core.negative(tensor, level=level), -x)
    assert _core.argmax(tensor, 0, level=level).tolist() == int(np.argmax(x))


@every_level
@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(
        st.sampled_from([np.inf, -np.inf, np.nan, 0.0, 88.0, -1e30, 3e38]), min_size=1, max_size=40
    )
)
def test_softmax(level: Level, values: list[float]) -> None:
    x = np.array(values, np.float32)
    with np.errstate(all="ignore"):
        raised = np.exp(x.astype(np.float64) - x.max())
        want = raised / raised.sum()
    got = np.asarray(_core.softmax(tensor_of(x), 0, level=level))
    np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-12)


@every_level
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("rows", [1, 3, 90])
def test_a_products_bad_number_stays_in_its_row_and_column(
    rows: int, bad: float, level: Level
) -> None:
    """Padding of tiles must neither spread a bad number nor swallow one."""
    a, b = np.ones((rows, 37), np.float32), np.ones((37, 45), np.float32)
    a[rows // 2, 36] = bad
    b[5, 44] = bad
    with np.errstate(all="ignore"):
        want = a @ b
    np.testing.assert_array_equal(
        np.asarray(_core.matmul(tensor_of(a), tensor_of(b), level=level)), want
    )
