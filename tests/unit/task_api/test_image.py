"""Pictures: what is turned, padded, shrunk and read from a camera; against numpy and by what must hold of them."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shoal_task import image
from shoal_task.tensor import Tensor

from tests.helpers.arrays import Array, tensor_of

PICTURE = np.random.default_rng(7).integers(0, 256, (6, 8, 3)).astype(np.float32)
T = tensor_of(PICTURE)

SAME: dict[str, tuple[Callable[[], Tensor], Array]] = {
    "pad": (
        lambda: image.pad(T, top=1, bottom=2, left=3, value=9),
        np.pad(PICTURE, ((1, 2), (3, 0), (0, 0)), constant_values=9),
    ),
    "pad with nothing": (lambda: image.pad(T), PICTURE),
    "mirror": (lambda: image.mirror(T), PICTURE[:, ::-1]),
    "no turn": (lambda: image.turn(T, 4), PICTURE),
    "a quarter": (lambda: image.turn(T), np.rot90(PICTURE)),
    "a half": (lambda: image.turn(T, 2), np.rot90(PICTURE, 2)),
    "three quarters": (lambda: image.turn(T, -1), np.rot90(PICTURE, 3)),
    "same size": (lambda: image.resize(T, 6, 8), PICTURE),
    "twice as large": (
        lambda: image.resize(T, 12, 16, nearest=True),
        PICTURE.repeat(2, 0).repeat(2, 1),
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_as_numpy(name: str) -> None:
    act, want = SAME[name]
    np.testing.assert_array_equal(np.asarray(act()), want)


def test_half_the_size_is_the_weighted_mean_of_what_falls_together() -> None:
    line = tensor_of(np.array([0, 0, 80, 160, 240, 240], np.float32).reshape(1, 6, 1))
    # A triangle four pixels wide: weights 1/8, 3/8, 3/8, 1/8, cut off and made up for at the ends.
    want = [(3 * 0 + 3 * 0 + 80) / 7, (0 + 3 * 80 + 3 * 160 + 240) / 8, (160 + 6 * 240) / 7]
    np.testing.assert_allclose(np.asarray(image.resize(line, 1, 3)).ravel(), want, rtol=1e-6)
    sharp = image.resize(line, 1, 3, antialias=False)
    assert np.asarray(sharp).ravel().tolist() == [0, 120, 240]


@settings(max_examples=40, deadline=None)
@given(sizes=st.tuples(*[st.integers(1, 40)] * 4))
def test_letterbox_keeps_the_shape_and_the_middle(sizes: tuple[int, int, int, int]) -> None:
    rows, columns, height, width = sizes
    white = tensor_of(np.full((rows, columns, 1), 255, np.float32))
    made = np.asarray(image.letterbox(white, height, width))[:, :, 0].round()
    assert made.shape == (height, width)
    assert set(np.unique(made)) <= {0, 255}
    inside = made == 255
    filled = int(inside.any(1).sum()), int(inside.any(0).sum())
    assert filled[0] == height or filled[1] == width, "it is as large as it fits"
    assert inside.sum() == filled[0] * filled[1], "one rectangle"
    top, left = int(inside.any(1).argmax()), int(inside.any(0).argmax())
    assert abs(2 * top + filled[0] - height) <= 1, "in the middle"
    assert abs(2 * left + filled[1] - width) <= 1, "in the middle"
    assert abs(filled[0] * columns - filled[1] * rows) <= max(rows, columns), "not stretched"


def yuv(rgb: tuple[int, int, int]) -> tuple[int, int, int]:
    """Full-range BT.601, forwards."""
    r, g, b = rgb
    y = 0.299 * r + 0.587 * g + 0.114 * b
    u, v = (b - y) / 1.772 + 128, (r - y) / 1.402 + 128
    return round(y), min(255, round(u)), min(255, round(v))


COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (12, 99, 180)]


@pytest.mark.parametrize("rgb", COLOURS)
def test_camera_frames_come_back_in_their_colour(rgb: tuple[int, int, int]) -> None:
    y, u, v = yuv(rgb)
    luma = bytes([y]) * (4 * 6)
    for read, pair in ((image.from_nv21, (v, u)), (image.from_nv12, (u, v))):
        got = np.asarray(read(luma + bytes(pair) * (2 * 3), height=4, width=6))
        assert got.shape == (4, 6, 3)
        assert np.abs(got - np.array(rgb)).max() <= 2


def test_a_frames_chroma_belongs_to_its_four_pixels() -> None:
    grey, red = yuv((99, 99, 99)), yuv((200, 30, 30))
    luma = bytes([grey[0]] * 8 + [red[0]] * 8)
    chroma = bytes([grey[2], grey[1]] * 2 + [red[2], red[1]] * 2)
    got = np.asarray(image.from_nv21(luma + chroma, height=4, width=4))
    assert np.abs(got[:2] - 99).max() <= 2
    assert np.abs(got[2:] - np.array([200, 30, 30])).max() <= 2


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda: image.from_nv21(bytes(10), height=3, width=2), "even sizes"),
        (lambda: image.from_nv12(bytes(10), height=4, width=4), "does not reshape"),
        (lambda: image.centre_crop(T, 7, 2), "outside"),
        (lambda: image.crop(T, top=0, left=0, height=-1, width=2), "outside"),
        (lambda: image.pad(T, top=-1), "use crop"),
        (lambda: image.normalise(T, std=(1.0, 0.0, 1.0)), "divides by zero"),
        (lambda: image.normalise(T, mean=(0.1, 0.2), std=(1.0, 1.0)), "broadcast"),
        (lambda: image.resize(T, 0, 4), "at least one pixel"),
    ],
)
def test_what_cannot_be_is_refused(act: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        act()
