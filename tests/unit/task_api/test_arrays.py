"""The functions that shoal_task.tensor makes of the engine's operators, against numpy."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shoal_task import arrays, tensor

from tests.helpers.arrays import Array, seeded, shapes, tensor_of

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4) - 7
T = tensor_of(X)

SAME: dict[str, tuple[Callable[[], tensor.Tensor], Array]] = {
    "ones": (lambda: tensor.ones((2, 3), "int32"), np.ones((2, 3), np.int32)),
    "arange of one": (lambda: tensor.arange(4), np.arange(4)),
    "arange down": (lambda: tensor.arange(5, -2, -3), np.arange(5, -2, -3)),
    "arange of nothing": (lambda: tensor.arange(3, 1), np.arange(3, 1)),
    "arange of floats": (
        lambda: tensor.arange(0, 1, 0.25),
        np.arange(0, 1, 0.25).astype(np.float32),
    ),
    "linspace": (lambda: tensor.linspace(-1, 1, 5), np.linspace(-1, 1, 5, dtype=np.float32)),
    "linspace without its end": (
        lambda: tensor.linspace(1, 2, 4, endpoint=False),
        np.linspace(1, 2, 4, endpoint=False, dtype=np.float32),
    ),
    "asarray": (lambda: tensor.asarray([[1, 2]], "int64"), np.array([[1, 2]])),
    "asarray of one": (lambda: tensor.asarray(T, "int32"), X.astype(np.int32)),
    "square": (lambda: tensor.square(T), X * X),
    "linspace of one": (lambda: tensor.linspace(2, 9, 1), np.linspace(2, 9, 1, dtype=np.float32)),
    "reshape": (lambda: tensor.reshape(T, (4, -1)), X.reshape(4, -1)),
    "permute_dims": (lambda: tensor.permute_dims(T, (2, 0, 1)), X.transpose(2, 0, 1)),
    "astype": (lambda: tensor.astype(T, "int64"), X.astype(np.int64)),
    "expand_dims": (lambda: tensor.expand_dims(T, 1), np.expand_dims(X, 1)),
    "expand_dims at the end": (lambda: tensor.expand_dims(T, -1), np.expand_dims(X, -1)),
    "squeeze": (lambda: tensor.squeeze(T[:1, :, :1], (0, -1)), X[0, :, 0]),
    "flip": (lambda: tensor.flip(T), np.flip(X)),
    "flip one": (lambda: tensor.flip(T, -1), np.flip(X, -1)),
    "flip two": (lambda: tensor.flip(T, (0, 2)), np.flip(X, (0, 2))),
    "stack": (lambda: tensor.stack([T, T + 1], 1), np.stack([X, X + 1], 1)),
    "stack at the end": (lambda: tensor.stack([T, T], -1), np.stack([X, X], -1)),
    "tile": (lambda: tensor.tile(T, (2, 1, 3)), np.tile(X, (2, 1, 3))),
    "tile more axes": (lambda: tensor.tile(T[0, 0], (2, 2)), np.tile(X[0, 0], (2, 2))),
    "tile to nothing": (lambda: tensor.tile(T, (0,)), np.tile(X, (0,))),
    "sign": (lambda: tensor.sign(T), np.sign(X)),
    "any": (lambda: tensor.any(T == -7, (1, 2)), np.any(X == -7, (1, 2))),
    "all": (lambda: tensor.all(T, 0, True), np.all(X, 0, keepdims=True)),
    "count_nonzero": (lambda: tensor.count_nonzero(T, 2), np.count_nonzero(X, 2)),
    "sort": (lambda: tensor.sort(tensor.flip(T), 1), np.sort(np.flip(X), 1)),
    "sort down": (lambda: tensor.sort(T, descending=True), -np.sort(-X)),
    "pow": (lambda: tensor.pow(T, 2), X**2),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_as_numpy(name: str) -> None:
    act, want = SAME[name]
    got = act()
    assert (got.shape, got.dtype) == (want.shape, want.dtype.name)
    np.testing.assert_array_equal(np.asarray(got), want)


def test_not_a_number_and_infinite() -> None:
    x = tensor.tensor([1.0, float("nan"), float("inf"), -float("inf"), -3.0])
    assert tensor.isnan(x).tolist() == [False, True, False, False, False]
    assert tensor.isfinite(x).tolist() == [True, False, False, False, True]
    signs = tensor.sign(x).tolist()
    assert (signs[0], signs[4]) == (1.0, -1.0)  # type: ignore[index]  # a list: x has an axis
    assert tensor.isnan(tensor.sign(x)).tolist()[1] is True  # type: ignore[index]


@settings(max_examples=30, deadline=None)
@given(
    shape=shapes(3, 5).filter(lambda s: bool(s) and 0 not in s),
    seed=st.integers(0, 2**32 - 1),
    axis=st.one_of(st.none(), st.just(0), st.just(-1)),
)
def test_variance(shape: tuple[int, ...], seed: int, axis: int | None) -> None:
    x = seeded(shape, "float32", seed)
    got = np.asarray(tensor.var(tensor_of(x), axis))
    np.testing.assert_allclose(got, np.asarray(x).var(axis=axis), rtol=1e-5, atol=1e-5)
    got = np.asarray(tensor.std(tensor_of(x), axis))
    np.testing.assert_allclose(got, np.asarray(x).std(axis=axis), rtol=1e-4, atol=2e-3)


def test_variance_of_a_sample_takes_a_correction() -> None:
    x = tensor.tensor([1.0, 2.0, 4.0])
    assert tensor.var(x, correction=1).item() == pytest.approx(np.var([1, 2, 4], ddof=1))


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda: tensor.arange(0, 1, 0), "step is 0"),
        (lambda: tensor.expand_dims(T, 5), "axis 5"),
        (lambda: tensor.squeeze(T, 1), "axis 1 of shape .* has not length 1"),
        (lambda: tensor.squeeze(T, -4), "axis -4"),
        (lambda: tensor.flip(T, 3), "axis 3"),
    ],
)
def test_what_cannot_be_is_refused(act: Callable[[], object], says: str) -> None:
    with pytest.raises((ValueError, IndexError), match=says):
        act()


def test_they_are_reached_through_tensor_and_only_what_it_names() -> None:
    assert set(arrays.__all__) < set(tensor.__all__)
    assert all(getattr(tensor, name) is getattr(arrays, name) for name in arrays.__all__)
    with pytest.raises(AttributeError, match="has no nothing"):
        tensor.nothing  # noqa: B018 - reading it is the test
