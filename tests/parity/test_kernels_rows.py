"""Pooling, normalisation, softmax and chains of elementwise steps against numpy in float64, at every level."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.engine import _core
from tests.helpers.arrays import LEVELS, Level, tensor_of

every_level = pytest.mark.parametrize("level", LEVELS)
Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]


def floats(seed: int, *shape: int) -> Floats:
    return np.random.default_rng(seed).uniform(-2, 2, shape).astype(np.float32)


# --- pooling ------------------------------------------------------------------------------------------------------


def pooled(
    x: Floats,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int],
    pads: tuple[int, int, int, int],
    out: tuple[int, int],
    *,
    maximum: bool,
    count_pads: bool,
) -> Doubles:
    """Window by window."""
    made = np.zeros((*x.shape[:2], *out))
    height, width = x.shape[2:]
    for i in range(out[0]):
        for j in range(out[1]):
            rows = [i * strides[0] - pads[0] + k * dilations[0] for k in range(kernel[0])]
            columns = [j * strides[1] - pads[1] + k * dilations[1] for k in range(kernel[1])]
            inside = np.ix_(
                range(x.shape[0]),
                range(x.shape[1]),
                [row for row in rows if 0 <= row < height],
                [column for column in columns if 0 <= column < width],
            )
            window = x[inside].astype(np.float64)
            if maximum:
                made[:, :, i, j] = window.max(axis=(2, 3), initial=-np.inf)
                continue
            counted = sum(row < height + pads[2] for row in rows) * sum(
                column < width + pads[3] for column in columns
            )
            if not count_pads:
                counted = window.shape[2] * window.shape[3]
            made[:, :, i, j] = window.sum(axis=(2, 3)) / max(counted, 1)
    return made


@every_level
@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("kind", ["maximum", "average", "average with pads"])
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 20), st.integers(1, 12), st.integers(1, 20)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilations=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    extra=st.integers(0, 1),
)
@settings(max_examples=25, deadline=None)
def test_pooling(
    shape: tuple[int, int, int, int],
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int],
    pads: tuple[int, int, int, int],
    extra: int,
    kind: str,
    blocked: bool,
    level: Level,
) -> None:
    room = (shape[2] + pads[0] + pads[2], shape[3] + pads[1] + pads[3])
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    if reach[0] > room[0] or reach[1] > room[1]:
        return
    # `extra` is ceil mode: one window more, which hangs over the edge.
    down, right = ((r - k) // s + 1 + extra for r, k, s in zip(room, reach, strides, strict=True))
    x = floats(3, *shape)
    maximum, count_pads = kind == "maximum", kind == "average with pads"
    got, _ = _core.kernel_pool2d(
        tensor_of(x),
        kernel,
        strides,
        dilations,
        pads,
        (down, right),
        maximum=maximum,
        count_pads=count_pads,
        blocked=blocked,
        level=level,
    )
    want = pooled(
        x, kernel, strides, dilations, pads, (down, right), maximum=maximum, count_pads=count_pads
    )
    np.testing.assert_allclose(np.asarray(got), want, rtol=1e-6, atol=1e-6)


@every_level
@pytest.mark.parametrize("blocked", [False, True])
def test_global_pooling_keeps_what_is_not_a_number(blocked: bool, level: Level) -> None:
    x = floats(1, 1, 3, 7, 7)
    x[0, 1, 3, 4] = np.nan
    for maximum in (True, False):
        got, _ = _core.kernel_pool2d(
            tensor_of(x), (7, 7), (1, 1), (1, 1), (0,) * 4, (1, 1), maximum=maximum, blocked=blocked, level=level
        )  # fmt: skip
        want = x.max(axis=(2, 3)) if maximum else x.mean(axis=(2, 3))
        np.testing.assert_allclose(np.asarray(got)[:, :, 0, 0], want, rtol=1e-5)


# --- rows ---------------------------------------------------------------------------------------------------------


@every_level
@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 200),
    with_residual=st.booleans(),
    with_scale=st.booleans(),
    threads=st.integers(1, 2),
)
@settings(max_examples=40, deadline=None)
def test_layer_norm(
    rows: int, columns: int, with_residual: bool, with_scale: bool, threads: int, level: Level
) -> None:
    x, residual = floats(1, rows, columns) + 3, floats(2, rows, columns)
    scale, shift = floats(3, columns), floats(4, columns)
    got, _ = _core.kernel_layer_norm(
        tensor_of(x),
        tensor_of(residual) if with_residual else None,
        tensor_of(scale) if with_scale else None,
        tensor_of(shift) if with_scale else None,
        epsilon=1e-3,
        threads=threads,
        level=level,
    )
    both = x.astype(np.float64) + (residual if with_residual else 0)
    want = (both - both.mean(1, keepdims=True)) / np.sqrt(both.var(1, keepdims=True) + 1e-3)
    if with_scale:
        want = want * scale + shift
    np.testing.assert_allclose(np.asarray(got), want, rtol=2e-5, atol=2e-5)


@every_level
@given(rows=st.integers(1, 9), columns=st.integers(1, 300), threads=st.integers(1, 2))
@settings(max_examples=30, deadline=None)
def test_softmax(rows: int, columns: int, threads: int, level: Level) -> None:
    x = floats(7, rows, columns) * 20
    got = np.asarray(_core.kernel_softmax(tensor_of(x), threads=threads, level=level)[0])
    powers = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    # x - max is rounded to float32 before its exp: an error of up to 80 * 6e-8.
    np.testing.assert_allclose(got, powers / powers.sum(1, keepdims=True), rtol=6e-6, atol=1e-30)


# --- chains -------------------------------------------------------------------------------------------------------

Step = tuple[str, int, int, int, str, float, float]


def step(
    op: str, a: int, b: int, to: int, activation: str = "none", low: float = 0, high: float = 0
) -> Step:
    return (op, a, b, to, activation, low, high)


def each(x: Doubles) -> dict[str, Doubles]:
    return {
        "negative": -x,
        "absolute": np.abs(x),
        "square": x * x,
        "square_root": np.sqrt(x),
        "reciprocal": 1 / x,
        "logarithm": np.log(x),
    }


@every_level
@pytest.mark.parametrize("op", ["add", "subtract", "multiply", "divide", "maximum", "minimum"])
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 40), st.integers(1, 90)),
    thin=st.tuples(st.tuples(*[st.booleans()] * 3), st.tuples(*[st.booleans()] * 3)),
    threads=st.integers(1, 2),
)
@settings(max_examples=15, deadline=None)
def test_steps_of_two_repeat_along_any_axis(
    op: str,
    shape: tuple[int, int, int],
    thin: tuple[tuple[bool, bool, bool], tuple[bool, bool, bool]],
    threads: int,
    level: Level,
) -> None:
    a, b = (
        floats(seed, *(1 if t else n for t, n in zip(flags, shape, strict=True)))
        for seed, flags in enumerate(thin)
    )
    got, _ = _core.kernel_chain(
        [tensor_of(a), tensor_of(b)], [step(op, 0, 1, 8)], shape, threads=threads, level=level
    )
    want = np.broadcast_to(getattr(np, op)(a, b), shape)
    np.testing.assert_allclose(np.asarray(got), want, rtol=1e-6)


@every_level
@pytest.mark.parametrize("op", list(each(np.ones(1))))
def test_steps_of_one(op: str, level: Level) -> None:
    x = np.abs(floats(1, 2, 3, 301)) + np.float32(0.1)
    got, _ = _core.kernel_chain([tensor_of(x)], [step(op, 0, 0, 8)], x.shape, level=level)
    np.testing.assert_allclose(
        np.asarray(got), each(x.astype(np.float64))[op], rtol=1e-6, atol=1e-7
    )


@every_level
def test_a_chain_as_batch_norm_and_gelu_make_it(level: Level) -> None:
    x, scale, shift = floats(1, 3, 700, 16), floats(2, 3, 1, 16), floats(3, 3, 1, 16)
    steps = [
        step("multiply", 0, 1, 8),
        step("add", 8, 2, 8),
        step("activate", 8, 0, 9, "sigmoid"),
        step("multiply", 8, 9, 8),
        step("activate", 8, 0, 10, "clip", -0.1, 1.0),
    ]
    got, _ = _core.kernel_chain(
        [tensor_of(y) for y in (x, scale, shift)], steps, x.shape, threads=2, level=level
    )
    y = x.astype(np.float64) * scale + shift
    want = np.clip(y / (1 + np.exp(-y)), -0.1, 1)
    np.testing.assert_allclose(np.asarray(got), want, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [step("add", 0, 3, 8)],
        [step("add", 0, 9, 8)],
        [step("add", 0, 0, 0)],
        [step("add", 0, 0, 24)],
        [step("negative", 0, 0, 8)] * 17,
    ],
)
def test_chains_that_cannot_be_are_refused(steps: list[Step]) -> None:
    with pytest.raises(ValueError, match="reads what is not written, or is too long"):
        _core.kernel_chain([_core.zeros((1, 1, 4))], steps, (1, 1, 4))


def test_an_unknown_step_is_refused() -> None:
    with pytest.raises(ValueError, match="no step 'addd'"):
        _core.kernel_chain([_core.zeros((1, 1, 4))], [step("addd", 0, 0, 8)], (1, 1, 4))
