"""Tensors and arrays in tests: to and from numpy, and strategies that make them in every layout.

Example:
    @given(arrays(shapes()))
    def test_relu(x): check(np.asarray(_core.relu(tensor_of(x))), np.maximum(x, 0))
"""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from device_agent.engine import _core

type Array = npt.NDArray[Any]  # of any dtype: numpy has no type for "these four"
type Dtype = Literal["float32", "int32", "int64", "uint8", "bool"]
type Level = Literal["portable", "neon", "avx2", "avx512"]

LEVELS = _core.levels()


def tensor_of(array: Array) -> _core.Tensor:
    """The array's elements as a contiguous Tensor."""
    name: Dtype = array.dtype.name  # type: ignore[assignment]  # one of ours, by the strategies
    return _core.frombuffer(np.ascontiguousarray(array), name, array.shape)


def strided(array: Array) -> tuple[Array, _core.Tensor]:
    """Every second element of the last axis, backwards, as an array and as a Tensor; both are views."""
    name: Dtype = array.dtype.name  # type: ignore[assignment]  # one of ours, by the strategies
    whole = _core.frombuffer(array, name, array.shape)
    key = (*(slice(None),) * (array.ndim - 1), slice(None, None, -2))
    return array[key], whole[key]


def shapes(axes_max: int = 4, size_max: int = 7) -> st.SearchStrategy[tuple[int, ...]]:
    """Small shapes; axes of size 0 and 1 are as likely as others."""
    return st.lists(st.integers(0, size_max), max_size=axes_max).map(tuple)


def pairs_that_broadcast() -> st.SearchStrategy[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Two shapes that broadcast together."""

    def thin(shape: tuple[int, ...], keep: list[bool], cut: int) -> tuple[int, ...]:
        return tuple(n if k else 1 for n, k in zip(shape, keep, strict=False))[cut:]

    def pair(shape: tuple[int, ...]) -> st.SearchStrategy[tuple[tuple[int, ...], tuple[int, ...]]]:
        rank = len(shape)
        flags = st.lists(st.booleans(), min_size=rank, max_size=rank)
        thinned = st.builds(thin, st.just(shape), flags, st.integers(0, rank))
        return st.one_of(st.tuples(st.just(shape), thinned), st.tuples(thinned, st.just(shape)))

    return shapes().flatmap(pair)


def seeded(shape: tuple[int, ...], dtype: str, seed: int) -> Array:
    """Numbers of either sign and several magnitudes."""
    rng = np.random.default_rng(seed)
    if dtype == "float32":
        return (rng.standard_normal(shape) * 3).astype(np.float32)
    if dtype == "uint8":
        return rng.integers(0, 256, shape).astype(np.uint8)
    return rng.integers(-1000, 1000, shape).astype(dtype)
