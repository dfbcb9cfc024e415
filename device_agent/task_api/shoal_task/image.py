"""Images as tensors: height, width and channels, in this order; through the engine, without OpenCV.

    from shoal_task import image

    picture = image.from_nv21(event.payload, height=480, width=640)          # what a phone's camera gives
    batch = image.to_batch(image.normalise(image.letterbox(picture, 224, 224)))

Rules of this module:

- An image is float32, (H, W, C), colours 0 to 255; the `from_` functions make one from bytes, `to_bytes` rounds back.
"""

from device_agent.engine import _core
from shoal_task.tensor import (
    Tensor,
    clip,
    concat,
    frombuffer,
    full,
    matmul,
    round,  # noqa: A004 - the engine's
    tensor,
)

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def from_bytes(data: bytes, *, height: int, width: int, channels: int = 3) -> Tensor:
    """An image of 8-bit colours, row after row.

    Raises:
        ValueError: there are more or fewer bytes than such an image has.
    """
    return frombuffer(data, "uint8", (height, width, channels)).astype("float32")


def from_nv21(data: bytes, *, height: int, width: int) -> Tensor:
    """Red, green and blue of an NV21 frame, the usual one of Android's cameras.

    All Y, then V and U by turns at half size; full-range BT.601, as JPEG and Android use it.

    Raises:
        ValueError: a size is odd, or the bytes are not height * width * 3 / 2.
    """
    luma, first, second = _semiplanar(data, height, width)
    return _rgb(luma, u=second, v=first)


def from_nv12(data: bytes, *, height: int, width: int) -> Tensor:
    """Red, green and blue of an NV12 frame: as NV21, but U before V.

    Raises:
        ValueError: a size is odd, or the bytes are not height * width * 3 / 2.
    """
    luma, first, second = _semiplanar(data, height, width)
    return _rgb(luma, u=first, v=second)


def to_bytes(image: Tensor) -> bytes:
    """The image in 8-bit colours, rounded and clipped."""
    return round(clip(image, 0.0, 255.0)).astype("uint8").tobytes()


# --- size ------------------------------------------------------------------------------------------------------------


def crop(image: Tensor, *, top: int, left: int, height: int, width: int) -> Tensor:
    """A part of the image; a view.

    Raises:
        ValueError: it does not lie inside.
    """
    rows, columns = image.shape[:2]
    inside = 0 <= top <= top + height <= rows and 0 <= left <= left + width <= columns
    if not inside:
        raise ValueError(f"{height} x {width} at {top}, {left} is outside of {rows} x {columns}")
    return image[top : top + height, left : left + width]


def centre_crop(image: Tensor, height: int, width: int) -> Tensor:
    """The middle of the image; a view.

    Raises:
        ValueError: the image is smaller.
    """
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return crop(image, top=top, left=left, height=height, width=width)


def resize(
    image: Tensor, height: int, width: int, *, nearest: bool = False, antialias: bool = True
) -> Tensor:
    """The image in another size, pixel centres at halves.

    Args:
        image: (H, W, C).
        height: Rows wanted.
        width: Columns wanted.
        nearest: The nearest pixel instead of a weighted mean.
        antialias: Where it shrinks, all pixels that fall together count (as PIL and ONNX's antialias); without it, the
            two next to the centre only (as OpenCV's INTER_LINEAR), which flickers but is what many models saw.

    Raises:
        ValueError: there is no pixel to take, or none to make.
    """
    if nearest:
        return _core.resize(image, height, width, "nearest")
    return _core.resize(image, height, width, "smooth" if antialias else "linear")


def pad(
    image: Tensor,
    *,
    top: int = 0,
    bottom: int = 0,
    left: int = 0,
    right: int = 0,
    value: float = 0.0,
) -> Tensor:
    """The image with a margin of one value.

    Raises:
        ValueError: a margin is negative.
    """
    if min(top, bottom, left, right) < 0:
        raise ValueError("a margin is negative; use crop to take pixels away")
    out = image
    for axis, before, after in ((0, top, bottom), (1, left, right)):
        parts = [_margin(out, axis, before, value), out, _margin(out, axis, after, value)]
        out = concat(parts, axis)
    return out


def letterbox(image: Tensor, height: int, width: int, *, value: float = 0.0) -> Tensor:
    """The whole image as large as it fits, in the middle of height x width, the rest of one value."""
    rows, columns = image.shape[:2]
    # In whole numbers: min(height / rows, width / columns) as a fraction.
    above, below = (height, rows) if height * columns <= width * rows else (width, columns)
    inner = [max(1, (2 * size * above + below) // (2 * below)) for size in (rows, columns)]
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    bottom, right = height - inner[0] - top, width - inner[1] - left
    made = resize(image, *inner)
    return pad(made, top=top, bottom=bottom, left=left, right=right, value=value)


def mirror(image: Tensor) -> Tensor:
    """Left and right exchanged; a view."""
    return image[:, ::-1]


def turn(image: Tensor, quarters: int = 1) -> Tensor:
    """Turned counter-clockwise by quarters of a full turn; a view."""
    quarters %= 4
    if quarters == 0:
        return image
    if quarters == 2:
        return image[::-1, ::-1]
    across = image.transpose((1, 0, 2))
    return across[::-1] if quarters == 1 else across[:, ::-1]


# --- colour ----------------------------------------------------------------------------------------------------------


def to_grey(image: Tensor) -> Tensor:
    """One channel of luminance from red, green and blue."""
    return matmul(image, tensor([[weight] for weight in GREY]))


def swap_red_blue(image: Tensor) -> Tensor:
    """RGB as BGR and back; a view."""
    return image[:, :, ::-1]


def normalise(
    image: Tensor,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
) -> Tensor:
    """Colours of 0 to 1, minus a channel's mean, over its deviation.

    Raises:
        ValueError: a deviation is 0, or there are neither one nor as many as channels.
    """
    if 0 in std:
        raise ValueError("a deviation of 0 divides by zero")
    return (image / 255.0 - tensor(mean)) / tensor(std)


def to_batch(image: Tensor) -> Tensor:
    """What most models take: (1, C, H, W)."""
    return image.transpose((2, 0, 1)).reshape((1, image.shape[2], *image.shape[:2]))


def _margin(image: Tensor, axis: int, size: int, value: float) -> Tensor:
    shape = [*image.shape]
    shape[axis] = size
    return full(shape, value)


def _semiplanar(data: bytes, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Luma (H, W, 1), and the two chroma planes, each at full size and around 0."""
    if height % 2 or width % 2:
        raise ValueError(
            f"a frame with colours of half size has even sizes, not {height} x {width}"
        )
    rows = frombuffer(data, "uint8", (height * 3 // 2, width)).astype("float32")
    pairs = rows[height:].reshape((height // 2, width // 2, 2)) - 128.0
    chroma = resize(pairs, height, width, nearest=True)
    return rows[:height].reshape((height, width, 1)), chroma[:, :, 0:1], chroma[:, :, 1:2]


def _rgb(luma: Tensor, *, u: Tensor, v: Tensor) -> Tensor:
    planes = [luma + v * 1.402, luma - u * 0.344136 - v * 0.714136, luma + u * 1.772]
    return clip(concat(planes, 2), 0.0, 255.0)
