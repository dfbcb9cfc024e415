"""Convolution kernels at every level against a slow reference in float64, over all shapes.

Tolerance: the error of one result is at most 3e-6 times the sum of the sizes of its terms.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.engine import _core
from tests.helpers.arrays import LEVELS, Level, tensor_of
from tests.helpers.convolutions import Case, Doubles, Floats, computed, convolutions, reference

every_level = pytest.mark.parametrize("level", LEVELS)


def check(got: Floats, want: Doubles, size: Doubles, tolerance: float = 3e-6) -> None:
    assert got.shape == want.shape
    assert np.all(np.abs(got - want) <= tolerance * size + 1e-30)


@every_level
@given(case=convolutions())
@settings(max_examples=60, deadline=None)
def test_direct(case: Case, level: Level) -> None:
    check(computed(case, "direct", level), *reference(case))


@every_level
@given(case=convolutions(st.integers(2, 3), (16, 16)))
@settings(max_examples=20, deadline=None)
def test_direct_in_groups_of_whole_blocks(case: Case, level: Level) -> None:
    check(computed(case, "direct", level), *reference(case))


@every_level
@given(case=convolutions(group_channels=(1, 36), kernel_max=7))
@settings(max_examples=40, deadline=None)
def test_planar(case: Case, level: Level) -> None:
    check(computed(case, "planar", level), *reference(case))


@every_level
@given(case=convolutions(st.integers(1, 40), (1, 1)))
@settings(max_examples=60, deadline=None)
def test_depthwise(case: Case, level: Level) -> None:
    check(computed(case, "depthwise", level), *reference(case))
    check(computed(case, "depthwise_plain", level), *reference(case))


@every_level
@given(case=convolutions(st.integers(1, 4), (1, 20)))
@settings(max_examples=60, deadline=None)
def test_im2col(case: Case, level: Level) -> None:
    check(computed(case, "im2col", level), *reference(case))


# Sizes of real models: more blocks than a pass of k takes, tiles and panels that do not come out even.
MODEL_CASES = [
    Case(in_channels=3, out_channels=64, height=56, width=56, kernel=(7, 7), strides=(2, 2), pads=(3, 3, 3, 3)),
    Case(in_channels=512, out_channels=80, height=7, width=7, kernel=(3, 3), pads=(1, 1, 1, 1)),
    Case(in_channels=1024, out_channels=96, height=14, width=14, kernel=(1, 1)),
    Case(in_channels=256, out_channels=72, height=14, width=14, kernel=(1, 1), strides=(2, 2)),
    Case(in_channels=58, out_channels=58, height=28, width=28, kernel=(1, 1)),
    Case(in_channels=96, out_channels=96, groups=96, height=35, width=35, kernel=(3, 3), strides=(2, 2)),
    Case(in_channels=64, out_channels=64, height=17, width=17, kernel=(1, 7), pads=(0, 3, 0, 3)),
]  # fmt: skip


@every_level
@pytest.mark.parametrize("case", MODEL_CASES, ids=str)
@pytest.mark.parametrize("threads", [1, 3])
def test_shapes_of_models(case: Case, threads: int, level: Level) -> None:
    want, size = reference(case)
    own = {3: "planar"}.get(case.in_channels, "direct") if case.groups == 1 else "depthwise"
    for algorithm in (own, "im2col"):
        check(computed(case, algorithm, level, threads=threads), want, size)


@every_level
@pytest.mark.parametrize(
    "algorithm", ["direct", "planar", "depthwise", "depthwise_plain", "im2col"]
)
@given(seed=st.integers(0, 99))
@settings(max_examples=5, deadline=None)
def test_epilogue_adds_the_residual_then_clips(algorithm: str, level: Level, seed: int) -> None:
    channels, groups = (20, 20) if "depthwise" in algorithm else (20, 1)
    case = Case(
        in_channels=channels,
        out_channels=20,
        groups=groups,
        height=9,
        width=11,
        kernel=(3, 3),
        seed=seed,
    )
    want, size = reference(case)
    residual = np.random.default_rng(seed).uniform(-3, 3, want.shape).astype(np.float32)
    got = computed(
        case, algorithm, level, residual=tensor_of(residual), activation="clip", low=-0.25, high=1.5
    )
    check(got, np.clip(want + residual, -0.25, 1.5), size + np.abs(residual))


@every_level
@pytest.mark.parametrize(
    "algorithm", ["direct", "planar", "depthwise", "depthwise_plain", "im2col"]
)
def test_functions_end_a_tile_too(algorithm: str, level: Level) -> None:
    channels, groups = (19, 19) if "depthwise" in algorithm else (19, 1)
    case = Case(
        in_channels=channels, out_channels=19, groups=groups, height=8, width=9, kernel=(3, 3)
    )
    want, size = reference(case)
    got = computed(case, algorithm, level, activation="silu")
    check(got, want / (1 + np.exp(-want)), 2 * size)


@pytest.mark.parametrize(
    ("algorithm", "case"),
    [
        ("planar", Case(in_channels=4, out_channels=4, groups=2, height=4, width=4, kernel=(1, 1))),
        ("depthwise", Case(in_channels=4, out_channels=8, groups=4, height=4, width=4, kernel=(1, 1))),
        ("direct", Case(in_channels=6, out_channels=6, groups=2, height=4, width=4, kernel=(1, 1))),
        ("winograd", Case(in_channels=6, out_channels=6, height=9, width=9, kernel=(3, 3), strides=(2, 2))),
    ],
)  # fmt: skip
def test_what_an_algorithm_does_not_do_is_refused(algorithm: str, case: Case) -> None:
    with pytest.raises(ValueError, match="does not do this convolution"):
        computed(case, algorithm, "portable")


def test_bad_operands_are_refused() -> None:
    x, w = (_core.zeros(shape) for shape in ((1, 2, 4, 4), (3, 2, 1, 1)))
    with pytest.raises(ValueError, match="needs another rank"):
        _core.kernel_conv2d(_core.zeros((2, 4, 4)), w)
    with pytest.raises(ValueError, match="differ in channels"):
        _core.kernel_conv2d(x, _core.zeros((3, 1, 1, 1)))
    with pytest.raises(ValueError, match="does not fit"):
        _core.kernel_conv2d(x, _core.zeros((3, 2, 5, 5)))
    with pytest.raises(ValueError, match="a stride cannot be 0"):
        _core.kernel_conv2d(x, w, strides=(0, 1))
    with pytest.raises(ValueError, match="threads are 1 to 64"):
        _core.kernel_conv2d(x, w, threads=0)
    with pytest.raises(TypeError, match="float32"):
        _core.kernel_conv2d(x.astype("int32"), w)


# Winograd's products are sums of scaled terms of a whole part: errors grow with its side (unit + kernel - 1), and are
# measured against the biggest result's terms, since a result at the border has few of its own.
WINOGRAD = [(2, 3, 2e-6), (4, 3, 5e-6), (6, 3, 2e-5), (2, 5, 1e-5), (4, 5, 4e-5)]


@every_level
@pytest.mark.parametrize(("unit", "kernel", "tolerance"), WINOGRAD, ids=str)
@given(case=convolutions(), threads=st.integers(1, 2))
@settings(max_examples=12, deadline=None)
def test_winograd(
    unit: int, kernel: int, tolerance: float, level: Level, case: Case, threads: int
) -> None:
    case = replace(case, kernel=(kernel, kernel), strides=(1, 1), dilations=(1, 1))
    if case.fits():
        got = computed(case, "winograd", level, threads=threads, unit=unit)
        want, size = reference(case)
        check(got, want, np.full(want.shape, size.max()), tolerance)


@every_level
@pytest.mark.parametrize("unit", [2, 4, 6])
def test_winograd_over_many_parts(unit: int, level: Level) -> None:
    case = Case(
        in_channels=70, out_channels=90, height=30, width=57, kernel=(3, 3), pads=(1, 1, 1, 1)
    )
    want, size = reference(case)
    residual = np.random.default_rng(5).uniform(-3, 3, want.shape).astype(np.float32)
    got = computed(
        case,
        "winograd",
        level,
        unit=unit,
        residual=tensor_of(residual),
        activation="clip",
        high=4.0,
    )
    check(got, np.clip(want + residual, 0, 4), np.full(want.shape, size.max()), 1e-5)


@every_level
@pytest.mark.parametrize("threads", [1, 2])
def test_denormals_count_as_zeros_and_the_caller_keeps_its_own(level: Level, threads: int) -> None:
    """They cost a processor a hundred cycles each; what Python computes on the same thread is not touched."""
    x = np.full((1, 32, 24, 24), 1e-40, np.float32)
    w = np.full((32, 32, 1, 1), 1e30, np.float32)
    made, _ = _core.kernel_conv2d(tensor_of(x), tensor_of(w), threads=threads, level=level)
    assert not np.asarray(made).any()
    assert 5e-324 * 1.0 > 0
    assert np.multiply(np.float32(1e-40), np.float32(1)) > 0
