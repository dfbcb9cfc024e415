"""Images as tensors: height, width and channels, in this order; through the engine's products, without OpenCV.

    from shoal_task import image

    picture = image.from_bytes(event.payload, height=480, width=640)
    batch = image.to_batch(image.normalise(image.resize(picture, 224, 224)))

Rules of this module:

- An image is float32, (H, W, C), colours 0 to 255; `from_bytes` makes one from bytes, `to_bytes` rounds back.
- Resizing is bilinear with pixel centres at halves and no anti-aliasing (as OpenCV's INTER_LINEAR and ONNX Resize with
  half_pixel), or nearest; both are products with a small matrix for each axis, kept for the next image of the size.
"""

from shoal_task.tensor import Tensor, clip, frombuffer, matmul, tensor

KEPT_MAX = 16
GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_kept: dict[tuple[int, int, bool], Tensor] = {}


def from_bytes(data: bytes, *, height: int, width: int, channels: int = 3) -> Tensor:
    """An image of 8-bit colours, row after row.

    Raises:
        ValueError: there are more or fewer bytes than such an image has.
    """
    return frombuffer(data, "uint8", (height, width, channels)).astype("float32")


def to_bytes(image: Tensor) -> bytes:
    """The image in 8-bit colours, rounded and clipped."""
    return (clip(image, 0.0, 255.0) + 0.5).astype("uint8").tobytes()


def crop(image: Tensor, *, top: int, left: int, height: int, width: int) -> Tensor:
    """A part of the image.

    Raises:
        ValueError: it does not lie inside.
    """
    rows, columns = image.shape[:2]
    if top < 0 or left < 0 or top + height > rows or left + width > columns:
        raise ValueError(f"{height} x {width} at {top}, {left} is outside of {rows} x {columns}")
    return image[top : top + height, left : left + width]


def centre_crop(image: Tensor, height: int, width: int) -> Tensor:
    """The middle of the image."""
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return crop(image, top=top, left=left, height=height, width=width)


def resize(image: Tensor, height: int, width: int, *, nearest: bool = False) -> Tensor:
    """The image in another size."""
    if min(height, width, *image.shape) < 1:
        raise ValueError(f"cannot resize {image.shape} to {height} x {width}")
    planes = image.transpose((2, 0, 1))
    rows = _weights(image.shape[0], height, nearest)
    columns = _weights(image.shape[1], width, nearest)
    return matmul(matmul(rows, planes), columns.transpose((1, 0))).transpose((1, 2, 0))


def to_grey(image: Tensor) -> Tensor:
    """One channel of luminance from red, green and blue."""
    return matmul(image, tensor([[weight] for weight in GREY]))


def swap_red_blue(image: Tensor) -> Tensor:
    """RGB as BGR and back."""
    return image[:, :, ::-1]


def normalise(
    image: Tensor,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
) -> Tensor:
    """Colours of 0 to 1, minus a channel's mean, over its deviation."""
    return (image / 255.0 - tensor(mean)) / tensor(std)


def to_batch(image: Tensor) -> Tensor:
    """What most models take: (1, C, H, W)."""
    return image.transpose((2, 0, 1)).reshape((1, image.shape[2], *image.shape[:2]))


def _weights(size: int, wanted: int, nearest: bool) -> Tensor:
    """W (wanted, size): row i holds what each old pixel adds to the new pixel i."""
    key = (size, wanted, nearest)
    if key not in _kept:
        if len(_kept) >= KEPT_MAX:
            _kept.pop(next(iter(_kept)))
        _kept[key] = tensor([_row(size, wanted, new, nearest) for new in range(wanted)])
    return _kept[key]


def _row(size: int, wanted: int, new: int, nearest: bool) -> list[float]:
    row = [0.0] * size
    at = min(max((new + 0.5) * size / wanted - 0.5, 0.0), size - 1.0)
    if nearest:
        row[min((2 * new + 1) * size // (2 * wanted), size - 1)] = 1.0
        return row
    low = int(at)
    row[low] += 1.0 - (at - low)
    row[min(low + 1, size - 1)] += at - low
    return row
