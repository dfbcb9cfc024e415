"""Convolutions in tests: strategies over every shape, and a slow reference in float64.

Example:
    @given(convolutions())
    def test_direct(case): check(case, _core.kernel_conv2d(...)[0])
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from device_agent.engine import _core
from tests.helpers.arrays import tensor_of

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One convolution: sizes, and a seed for its numbers."""

    batch: int = 1
    groups: int = 1
    in_channels: int
    out_channels: int
    height: int
    width: int
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    seed: int = 0

    def fits(self) -> bool:
        """Whether the dilated kernel fits the padded picture."""
        top, left, bottom, right = self.pads
        high = (self.kernel[0] - 1) * self.dilations[0] + 1
        wide = (self.kernel[1] - 1) * self.dilations[1] + 1
        return high <= self.height + top + bottom and wide <= self.width + left + right

    def x(self) -> Floats:
        return _floats((self.batch, self.in_channels, self.height, self.width), self.seed)

    def weights(self) -> Floats:
        inner = self.in_channels // self.groups
        return _floats((self.out_channels, inner, *self.kernel), self.seed + 1)

    def bias(self) -> Floats:
        return _floats((self.out_channels,), self.seed + 2)


def _floats(shape: tuple[int, ...], seed: int) -> Floats:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def reference(case: Case) -> tuple[Doubles, Doubles]:
    """The convolution with its bias in float64, and the sum of the sizes of the terms of each result."""
    top, left, bottom, right = case.pads
    x = np.pad(case.x().astype(np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)))
    w, bias = case.weights().astype(np.float64), case.bias().astype(np.float64)
    value, size = _sums(case, x, w), _sums(case, np.abs(x), np.abs(w))
    return value + bias[:, None, None], size + np.abs(bias)[:, None, None]


def _sums(case: Case, x: Doubles, w: Doubles) -> Doubles:
    (kh, kw), (sh, sw), (dh, dw) = case.kernel, case.strides, case.dilations
    oh = (x.shape[2] - (kh - 1) * dh - 1) // sh + 1
    ow = (x.shape[3] - (kw - 1) * dw - 1) // sw + 1
    g, inner, outer = case.groups, w.shape[1], case.out_channels // case.groups
    out = np.zeros((case.batch, g, outer, oh, ow))
    for i in range(kh):
        for j in range(kw):
            seen = x[:, :, i * dh : i * dh + (oh - 1) * sh + 1 : sh]
            seen = seen[:, :, :, j * dw : j * dw + (ow - 1) * sw + 1 : sw]
            seen = seen.reshape(case.batch, g, inner, oh * ow)
            taps = w[:, :, i, j].reshape(g, outer, inner)
            out += (taps @ seen).reshape(out.shape)
    return out.reshape(case.batch, case.out_channels, oh, ow)


def computed(
    case: Case,
    algorithm: str,
    level: str,
    *,
    threads: int = 1,
    **rest: Any,
) -> Floats:
    """What the kernel makes of it."""
    kernel: Any = _core.kernel_conv2d  # names of algorithms and levels come from tests
    out, seconds = kernel(
        tensor_of(case.x()),
        tensor_of(case.weights()),
        tensor_of(case.bias()),
        strides=case.strides,
        dilations=case.dilations,
        pads=case.pads,
        groups=case.groups,
        algorithm=algorithm,
        threads=threads,
        level=level,
        **rest,
    )
    assert seconds > 0
    return np.asarray(out)


def convolutions(
    groups: st.SearchStrategy[int] | None = None,
    group_channels: tuple[int, int] = (1, 40),
    kernel_max: int = 5,
) -> st.SearchStrategy[Case]:
    """Any small convolution whose kernel fits."""
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    pads = st.tuples(*[st.integers(0, 3)] * 4)

    def build(g: int, inner: int, outer: int, **rest: object) -> Case:
        return Case(groups=g, in_channels=g * inner, out_channels=g * outer, **rest)  # type: ignore[arg-type]

    channels = st.integers(*group_channels)
    return st.builds(
        build,
        g=st.just(1) if groups is None else groups,
        inner=channels,
        outer=channels,
        batch=st.integers(1, 2),
        height=st.integers(1, 20),
        width=st.integers(1, 34),
        kernel=st.tuples(st.integers(1, kernel_max), st.integers(1, kernel_max)),
        strides=pair,
        dilations=pair,
        pads=pads,
        seed=st.integers(0, 999),
    ).filter(Case.fits)
