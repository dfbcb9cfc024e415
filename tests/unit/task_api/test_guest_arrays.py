"""The guest's arrays, images and signals against numpy."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from shoal_task import image, signal, tensor

from tests.helpers.arrays import Dtype

RANDOM = np.random.default_rng(7)
type Array = NDArray[np.float64]


def to_tensor(array: Array) -> tensor.Tensor:
    return tensor.frombuffer(array.astype("<f4").tobytes(), "float32", array.shape)


def to_numpy(x: tensor.Tensor) -> Array:
    return np.array(x.tolist(), dtype=np.float64).reshape(x.shape)


def near(x: tensor.Tensor, expected: Array, tolerance: float = 1e-5) -> None:
    assert x.shape == expected.shape
    scale = 1.0 + float(np.abs(expected).max(initial=0.0))
    assert float(np.abs(to_numpy(x) - expected).max(initial=0.0)) <= tolerance * scale


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 200))
def test_fft_is_numpys(length: int) -> None:
    real, imaginary = RANDOM.standard_normal((2, 3, length)).astype("f4").astype("f8")
    expected = np.fft.fft(real + 1j * imaginary)
    re, im = signal.fft(to_tensor(real), to_tensor(imaginary))
    near(re, expected.real)
    near(im, expected.imag)
    back_re, back_im = signal.ifft(re, im)
    near(back_re, real)
    near(back_im, imaginary)


@pytest.mark.parametrize("length", [512, 1000, 1024])
def test_rfft_and_magnitude(length: int) -> None:
    samples = RANDOM.standard_normal(length).astype("f4").astype("f8")
    re, im = signal.rfft(to_tensor(samples))
    near(signal.magnitude(re, im), np.abs(np.fft.rfft(samples)))


def test_a_spectrogram_finds_the_tone() -> None:
    rate, tone = 16_000, 1_250
    samples = np.sin(2 * np.pi * tone * np.arange(rate) / rate)
    power = signal.spectrogram(to_tensor(samples), length=512, hop=256)
    assert power.shape == (1 + (rate - 512) // 256, 257)
    assert {row.item() for row in tensor.argmax(power)} == {tone * 512 // rate}


@pytest.mark.parametrize(
    ("window", "terms"),
    [
        (signal.hann, (0.5, 0.5)),
        (signal.hamming, (0.54, 0.46)),
        (signal.blackman, (0.42, 0.5, 0.08)),
    ],
)
def test_windows(window: object, terms: tuple[float, ...]) -> None:
    at = 2 * math.pi * np.arange(64) / 64
    expected = sum((-1) ** order * term * np.cos(order * at) for order, term in enumerate(terms))
    near(window(64), np.asarray(expected))  # type: ignore[operator]  # one of three functions


def test_pcm_covers_the_whole_range() -> None:
    samples = np.array([0, 1, -1, 255, 256, -256, 32_767, -32_768, 1_234, -4_321], "<i2")
    near(signal.from_pcm16(samples.tobytes()), samples / 32_768, tolerance=0)
    with pytest.raises(ValueError, match="16-bit"):
        signal.from_pcm16(b"abc")


def test_frames_drop_the_rest_and_refuse_too_little() -> None:
    samples = tensor.arange(10)
    assert signal.frames(samples, 4, 3).tolist() == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    with pytest.raises(ValueError, match="no frame"):
        signal.frames(samples, 11, 3)
    with pytest.raises(ValueError, match="without samples"):
        signal.fft(tensor.zeros((2, 0)))


def bilinear(array: Array, height: int, width: int) -> Array:
    """The definition, pixel by pixel."""
    rows, columns, channels = array.shape
    out = np.zeros((height, width, channels))
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * rows / height - 0.5, 0), rows - 1)
            x = min(max((j + 0.5) * columns / width - 0.5, 0), columns - 1)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, rows - 1), min(x0 + 1, columns - 1)
            top = array[y0, x0] * (1 - (x - x0)) + array[y0, x1] * (x - x0)
            bottom = array[y1, x0] * (1 - (x - x0)) + array[y1, x1] * (x - x0)
            out[i, j] = top * (1 - (y - y0)) + bottom * (y - y0)
    return out


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.integers(1, 9)] * 4), st.sampled_from([1, 3]))
def test_resize_without_antialiasing_is_bilinear(sizes: tuple[int, ...], channels: int) -> None:
    rows, columns, height, width = sizes
    array = RANDOM.integers(0, 256, (rows, columns, channels)).astype("f8")
    linear = image.resize(to_tensor(array), height, width, antialias=False)
    near(linear, bilinear(array, height, width))
    nearest = array[(2 * np.arange(height) + 1) * rows // (2 * height)][
        :, (2 * np.arange(width) + 1) * columns // (2 * width)
    ]
    near(image.resize(to_tensor(array), height, width, nearest=True), nearest, tolerance=0)


def test_colours_crops_and_bytes() -> None:
    array = RANDOM.integers(0, 256, (6, 8, 3)).astype("f8")
    picture = image.from_bytes(array.astype("u1").tobytes(), height=6, width=8)
    near(picture, array, tolerance=0)
    assert image.to_bytes(picture) == array.astype("u1").tobytes()
    assert (
        image.to_bytes(picture * 10.0 - 300.0)
        == np.clip(array * 10 - 300, 0, 255).astype("u1").tobytes()
    )
    near(image.to_grey(picture), (array @ np.array(image.GREY))[..., None])
    near(image.swap_red_blue(picture), array[..., ::-1], tolerance=0)
    near(image.crop(picture, top=1, left=2, height=3, width=4), array[1:4, 2:6], tolerance=0)
    near(image.centre_crop(picture, 4, 4), array[1:5, 2:6], tolerance=0)
    normal = (array / 255 - np.array(image.IMAGENET_MEAN)) / np.array(image.IMAGENET_STD)
    near(image.normalise(picture), normal)
    near(image.to_batch(picture), array.transpose(2, 0, 1)[None], tolerance=0)
    for wrong in ({"top": 4}, {"left": -1}, {"width": 7}):
        with pytest.raises(ValueError, match="outside"):
            image.crop(picture, **{"top": 1, "left": 2, "height": 3, "width": 4, **wrong})
    with pytest.raises(ValueError, match="resize"):
        image.resize(picture, 0, 4)


def test_arrays_by_the_names_of_the_standard() -> None:
    array = RANDOM.standard_normal((2, 3, 4)).astype("f4").astype("f8")
    x = to_tensor(array)
    near(tensor.permute_dims(x, (2, 0, 1)), array.transpose(2, 0, 1), tolerance=0)
    near(tensor.reshape(x, (4, -1)), array.reshape(4, -1), tolerance=0)
    near(tensor.abs(x), np.abs(array), tolerance=0)
    near(tensor.square(x), array**2)
    near(tensor.var(x, 1), array.var(1))
    near(tensor.std(x), np.asarray(array.std()))
    for axis in (0, 1, -1):
        near(tensor.flip(x, axis), np.flip(array, axis), tolerance=0)
        near(tensor.stack([x, x], axis), np.stack([array, array], axis), tolerance=0)
        near(tensor.expand_dims(x, axis), np.expand_dims(array, axis), tolerance=0)
        near(tensor.squeeze(tensor.expand_dims(x, axis), axis), array, tolerance=0)
    for arguments in ((5,), (1, 3, 0.25), (3, 0, -1), (0, 1, 0.3), (2, 1)):
        near(tensor.arange(*arguments), np.arange(*arguments, dtype="f8"))
    near(tensor.linspace(1, 2, 5), np.linspace(1, 2, 5))
    near(tensor.linspace(1, 2, 4, endpoint=False), np.linspace(1, 2, 4, endpoint=False))
    near(tensor.ones((2, 2)), np.ones((2, 2)), tolerance=0)
    assert tensor.asarray([1, 2], "int64").dtype == "int64"
    assert tensor.asarray(x, "int32").dtype == "int32"
    with pytest.raises(ValueError, match="length 1"):
        tensor.squeeze(x, 0)
    with pytest.raises(IndexError, match="outside"):
        tensor.expand_dims(x, 5)
    with pytest.raises(ValueError, match="step is 0"):
        tensor.arange(0, 1, 0)


ODD = np.array([[1.5, -2.5, np.nan, 0.0], [np.inf, 3.5, -0.5, 3.5], [-np.inf, 1.0, 1.0, -1.0]])


def same(x: tensor.Tensor, expected: NDArray[Any]) -> None:
    assert x.shape == expected.shape
    np.testing.assert_array_equal(to_numpy(x), expected.astype("f8"))


@pytest.mark.parametrize(
    "name", ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"]
)
def test_comparisons_broadcast_and_know_not_a_number(name: str) -> None:
    ours, theirs = getattr(tensor, name), getattr(np, name)
    same(ours(to_tensor(ODD), to_tensor(ODD[:1])), theirs(ODD, ODD[:1]))
    same(ours(to_tensor(ODD), 1.0), theirs(ODD, 1.0))
    same(ours(1.0, to_tensor(ODD)), theirs(1.0, ODD))
    whole = tensor.tensor([[3, 4], [5, 6]], "int64")
    same(ours(whole, 4), theirs(np.array([[3, 4], [5, 6]]), 4))
    with pytest.raises(TypeError, match="cast one"):
        ours(whole, to_tensor(np.ones(2)))


@pytest.mark.parametrize("name", ["log", "log1p", "sin", "cos", "floor", "ceil", "round"])
def test_functions_of_one_number(name: str) -> None:
    positive = np.abs(RANDOM.standard_normal((3, 4))) * 5 + 0.1
    array = (
        positive
        if name.startswith("log")
        else np.concatenate([positive, -positive, [[0.5, 1.5, 2.5, -0.5]]])
    )
    x = array.astype("f4").astype("f8")
    near(getattr(tensor, name)(to_tensor(x)), getattr(np, name)(x))
    near(getattr(tensor, name)(to_tensor(x)[::2, 1:]), getattr(np, name)(x[::2, 1:]))
    with pytest.raises(TypeError, match="cast it first"):
        getattr(tensor, name)(tensor.tensor([1], "int32"))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.data())
def test_order_sums_and_choices(shape: list[int], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    array = RANDOM.integers(-3, 4, shape).astype("f8")
    x = to_tensor(array)
    same(tensor.argsort(x, axis), np.argsort(array, axis, stable=True))
    same(tensor.argsort(x, axis, descending=True), np.argsort(-array, axis, stable=True))
    same(tensor.sort(x, axis), np.sort(array, axis))
    same(tensor.sort(x, axis, descending=True), -np.sort(-array, axis))
    same(tensor.cumulative_sum(x, axis), np.cumsum(array, axis))
    length = shape[axis]
    indices = data.draw(st.lists(st.integers(-length, length - 1), max_size=6))
    same(
        tensor.take(x, tensor.asarray(indices, "int64"), axis),
        np.take(array, np.array(indices, int), axis),
    )
    positive = tensor.greater(x, 0.0)
    same(tensor.where(positive, x, 0.0), np.where(array > 0, array, 0))
    same(
        tensor.where(positive, x, to_tensor(array[..., :1])),
        np.where(array > 0, array, array[..., :1]),
    )
    even = tensor.equal(x, 2.0)
    same(tensor.logical_or(positive, even), (array > 0) | (array == 2))
    same(tensor.logical_and(positive, tensor.logical_not(even)), (array > 0) & (array != 2))
    same(tensor.any(positive, axis), (array > 0).any(axis))
    same(tensor.all(positive, axis, True), (array > 0).all(axis, keepdims=True))
    near(tensor.pow(tensor.abs(x), 2.5), np.abs(array) ** 2.5)


def test_not_a_number_comes_last_both_ways() -> None:
    row = to_tensor(np.array([2.0, np.nan, -1.0, np.inf, np.nan, 0.0]))
    assert tensor.argsort(row).tolist() == [2, 5, 0, 3, 1, 4]
    assert tensor.argsort(row, descending=True).tolist() == [3, 0, 5, 2, 1, 4]


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_whole_numbers_have_an_order_too(dtype: Dtype) -> None:
    x = tensor.asarray([[3, 1, 2], [9, 7, 8]], dtype)
    assert tensor.sort(x).tolist() == [[1, 2, 3], [7, 8, 9]]
    if dtype != "uint8":  # sums of bytes would not fit: cast them first
        assert tensor.cumulative_sum(x).tolist() == [[3, 4, 6], [9, 16, 24]]
    assert tensor.take(x, tensor.asarray([2, -3], "int64"), 1).tolist() == [[2, 3], [8, 9]]
    assert tensor.where(tensor.less(x, 3), x, tensor.asarray(0, dtype)).dtype == dtype


@pytest.mark.parametrize(
    ("act", "error", "says"),
    [
        (
            lambda x: tensor.take(x, tensor.asarray([4], "int64"), 0),
            ValueError,
            "outside an axis of 3",
        ),
        (lambda x: tensor.take(x, tensor.asarray([0], "int64"), 5), ValueError, "axis"),
        (lambda x: tensor.argsort(x, 5), ValueError, "axis"),
        (lambda x: tensor.where(x, x, x), TypeError, "a bool condition"),
        (lambda x: tensor.cumulative_sum(x, -4), ValueError, "axis"),
        (lambda x: tensor.equal(x, to_tensor(np.ones(5))), ValueError, "."),
        (lambda _: tensor.log("x"), TypeError, "."),  # type: ignore[arg-type]  # an author's mistake
    ],
)
def test_what_cannot_be_is_refused(
    act: Callable[[tensor.Tensor], object], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        act(to_tensor(ODD))


def test_everything_is_there_and_empty_arrays_pass() -> None:
    for name in tensor.__all__:
        assert getattr(tensor, name) is not None
    empty = tensor.zeros((0, 3))
    assert tensor.sort(empty).shape == tensor.log(empty).shape == (0, 3)
    assert tensor.take(empty, tensor.asarray([], "int64"), 1).shape == (0, 0)
    assert tensor.argsort(empty, 0).shape == (0, 3)
