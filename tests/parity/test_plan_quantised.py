"""Convolutions by 8-bit weights: what dynamic quantisation of a picture means, spelled out, at every level."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.compiler.narrowing import Weights
from cloud.compiler.settings import LIMITS
from device_agent.engine.format import encode_model
from device_agent.engine.graph import Attribute, Constant, Graph, Operator, Port
from device_agent.engine.model import parse_model
from device_agent.engine.ops import Dtype
from tests.helpers.arrays import LEVELS, Array, Level
from tests.helpers.graphs import node, onnx_model
from tests.helpers.parity import compiled, ours, steps_of, wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A convolution and what follows it.

    Attributes:
        batch: Pictures.
        channels: In and out.
        size: Height and width.
        kernel: Its two sizes.
        stride: Its two steps.
        dilation: Down.
        pads: Top, left, bottom, right.
        behind: "Bias", "Relu", "Sigmoid", "Residual" or "".
    """

    batch: int
    channels: tuple[int, int]
    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: int
    pads: tuple[int, int, int, int]
    behind: str

    def fits(self) -> bool:
        """Whether a window fits the padded picture, and begins within it; and weights are many enough for 8 bits."""
        (h, w), (kh, kw), (top, left, bottom, right) = self.size, self.kernel, self.pads
        reach = self.dilation * (kh - 1) + 1
        if self.channels[0] * self.channels[1] * kh * kw < LIMITS.narrowed_elements_min:
            return False
        return h + top + bottom >= reach and w + left + right >= kw and top < reach and left < kw


cases = st.builds(
    Case,
    batch=st.integers(1, 2),
    channels=st.tuples(st.integers(16, 50), st.integers(1, 70)),
    size=st.tuples(st.integers(1, 13), st.integers(1, 20)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    dilation=st.integers(1, 2),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    behind=st.sampled_from(["", "Bias", "Relu", "Sigmoid", "Residual"]),
).filter(Case.fits)


def rounded(array: Array, axes: tuple[int, ...]) -> Array:
    """As 8 bits hold it: by the largest number over some axes."""
    steps = np.abs(array).max(axes, keepdims=True) / np.float32(127)
    whole = np.rint(np.divide(array, steps, where=steps > 0, out=np.zeros_like(array)))
    return np.asarray(whole * steps, np.float32)


def model_of(case: Case, x: Array, w: Array, rest: Array) -> bytes:
    """The convolution of these weights, and what follows."""
    constants, given = {"w": w}, "x w"
    if case.behind == "Bias":
        constants["b"], given = rest[0, :, 0, 0].copy(), "x w b"
    attributes: dict[str, Any] = {
        "strides": case.stride,
        "dilations": (case.dilation, 1),
        "pads": case.pads,
    }
    ports = {"x": x.shape}
    last = case.behind in ("", "Bias")
    nodes = [node("Conv", given, "y" if last else "c", **attributes)]
    if case.behind == "Residual":
        ports["r"] = rest.shape
        nodes.append(node("Add", "c r", "y"))
    elif not last:
        nodes.append(node(case.behind, "c", "y"))
    return onnx_model(nodes, ports, ["y"], constants)


def numbers(case: Case) -> tuple[Array, Array, np.random.Generator]:
    """The picture and the weights, and what makes the rest."""
    random = np.random.default_rng(case.size[0] * 31 + case.channels[1])
    (into, out), (kh, kw) = case.channels, case.kernel
    x = random.standard_normal((case.batch, into, *case.size)).astype(np.float32)
    return x, random.standard_normal((out, into, kh, kw)).astype(np.float32), random


def built(case: Case) -> tuple[bytes, bytes, dict[str, Array], dict[str, Array]]:
    """The model, one of rounded weights, feeds, and feeds that were rounded."""
    x, w, random = numbers(case)
    out, (kh, kw) = case.channels[1], case.kernel
    (h, wide), (top, left, bottom, right) = case.size, case.pads
    made = (
        (h + top + bottom - case.dilation * (kh - 1) - 1) // case.stride[0] + 1,
        (wide + left + right - kw) // case.stride[1] + 1,
    )
    rest = random.standard_normal((case.batch, out, *made)).astype(np.float32)
    feeds = {"x": x, "r": rest} if case.behind == "Residual" else {"x": x}
    exact = model_of(case, x, rounded(w, (1, 2, 3)), rest)
    return model_of(case, x, w, rest), exact, feeds, feeds | {"x": rounded(x, (1, 2, 3))}


def step_of_a_product(case: Case) -> float:
    """What a result changes by when one number of the picture is rounded the other way."""
    x, w, _ = numbers(case)
    return float(np.abs(x).max() / 127 * np.abs(w).max())


def compare(case: Case, threads: int, level: Level) -> None:
    data, exact, feeds, rounded_feeds = built(case)
    model = compiled(data, threads=threads, weights=Weights.INT8)
    (got,), (want,) = ours(model, feeds, level=level), wanted(exact, rounded_feeds)
    assert got.shape == want.shape
    wrong, size = np.abs(got - want), max(1.0, float(np.abs(want).max()))
    # A number between two steps may go either way: one step of one product, seldom.
    assert wrong.max() <= step_of_a_product(case) + 1e-4 * size
    assert np.median(wrong) <= 1e-5 * size


@settings(max_examples=150, deadline=None)
@given(case=cases, threads=st.sampled_from([1, 2]), level=st.sampled_from(LEVELS))
def test_is_a_convolution_of_rounded_numbers(case: Case, threads: int, level: Level) -> None:
    compare(case, threads, level)


SQUARE = Case(
    batch=1, channels=(32, 48), size=(14, 14), kernel=(3, 3), stride=(1, 1), dilation=1, pads=(1, 1, 1, 1),
    behind="Relu",
)  # fmt: skip


@pytest.mark.parametrize("kernel", [1, 3])
def test_convolutions_in_a_row_stay_in_blocks(kernel: int) -> None:
    """Rounded, multiplied, ended, rounded again: pictures turn at both ends only."""
    pad = kernel // 2
    random = np.random.default_rng(5)
    held = {
        name: random.standard_normal((32, 32, kernel, kernel)).astype(np.float32) / 10
        for name in ("u", "v", "w")
    }
    nodes = []
    for i, name in enumerate(held):
        nodes += [
            node("Conv", f"{'x' if i == 0 else f'r{i - 1}'} {name}", f"c{i}", pads=[pad] * 4),
            node("Relu", f"c{i}", "y" if i == 2 else f"r{i}"),
        ]
    data = onnx_model(nodes, {"x": (1, 32, 14, 14)}, ["y"], held)
    model = compiled(data, weights=Weights.INT8)
    x = random.standard_normal((1, 32, 14, 14)).astype(np.float32)
    (got,), (want,) = ours(model, {"x": x}), wanted(data, {"x": x})
    assert steps_of(model) == 5
    assert np.abs(got - want).max() < 0.05 * np.abs(want).max()


def test_a_picture_of_zeros_stays_one() -> None:
    data, _, feeds, _ = built(replace(SQUARE, behind=""))
    (got,) = ours(compiled(data, weights=Weights.INT8), {"x": np.zeros_like(feeds["x"])})
    assert not got.any()


@pytest.mark.parametrize("level", LEVELS)
def test_weights_that_are_computed_are_multiplied_alike(level: Level) -> None:
    """The core's own step against the packed kernel: the same integers."""
    random = np.random.default_rng(3)
    x = random.standard_normal((2, 20, 9, 11)).astype(np.float32)
    held = {
        "w": random.integers(-127, 128, (33, 20, 3, 2)).astype(np.int8),
        "s": random.uniform(0.01, 0.1, 33).astype(np.float32),
    }
    codes = {"w": Dtype.INT8, "s": Dtype.FLOAT32}
    attributes: dict[str, Attribute] = {
        "strides": (2, 1), "dilations": (1, 1), "pads": (1, 0, 0, 1), "group": 1, "auto_pad": "NOTSET",
        "kernel_shape": (3, 2),
    }  # fmt: skip
    packed = Graph(
        inputs=(Port(name="x", dtype=Dtype.FLOAT32, shape=x.shape),),
        outputs=(Port(name="y"),),
        operators=(
            Operator(
                op="quantized_conv", inputs=("x", "w", "s"), outputs=("y",), attributes=attributes
            ),
        ),
        constants={
            name: Constant(dtype=codes[name], shape=array.shape, data=array.tobytes())
            for name, array in held.items()
        },
    )
    ports = [Port(name=n, dtype=codes[n], shape=a.shape) for n, a in held.items()]
    computed = replace(packed, inputs=(*packed.inputs, *ports), constants={})
    (one,) = ours(parse_model(encode_model(packed)), {"x": x}, level=level)
    (other,) = ours(parse_model(encode_model(computed)), {"x": x, **held}, level=level)
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"channels": (15, 48)}, "conv"),
        ({"dilation": 2}, "quantized_conv"),
        ({}, "quantized_conv"),
    ],
)
def test_what_has_a_kernel_of_8_bits(change: dict[str, tuple[int, int]], kept: str) -> None:
    case = replace(SQUARE, **change)  # type: ignore[arg-type]  # fields of a case
    model = compiled(built(case)[0], weights=Weights.INT8)
    assert kept in [operator.op for operator in model.graph.operators]
