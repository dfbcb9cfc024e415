"""Signals as tensors: windows, frames and spectra, through the engine's products.

    from shoal_task import signal

    samples = signal.from_pcm16(event.payload)
    power = signal.spectrogram(samples, length=512, hop=256)

Rules of this module:

- A signal is float32; the last axis is time. A spectrum is two tensors, real and imaginary: the engine has no complex.
- The transform is Cooley and Tukey's (1965): a length that is a product is done as products of small matrices, so it
  needs no operator of its own. A prime length costs its square.
"""

import math

from shoal_task.tensor import Tensor, frombuffer, matmul, sqrt, stack, tensor

BASE_MAX = 32  # lengths up to this are one product
KEPT_MAX = 32
_kept: dict[tuple[str, int, int], tuple[Tensor, Tensor]] = {}


def from_pcm16(data: bytes) -> Tensor:
    """Samples of -1 to 1 from 16-bit little-endian numbers."""
    if len(data) % 2:
        raise ValueError(f"{len(data)} bytes are no whole number of 16-bit samples")
    pairs = frombuffer(data, "uint8", (len(data) // 2, 2)).astype("float32")
    low, high = pairs[:, 0], pairs[:, 1]
    value = low + high * 256.0
    whole = (high / 128.0).astype("int32").astype("float32")  # 1 where the number is negative
    return (value - whole * 65536.0) / 32768.0


def hann(length: int) -> Tensor:
    """The Hann window, periodic."""
    return _cosines(length, (0.5, -0.5))


def hamming(length: int) -> Tensor:
    """The Hamming window, periodic."""
    return _cosines(length, (0.54, -0.46))


def blackman(length: int) -> Tensor:
    """The Blackman window, periodic."""
    return _cosines(length, (0.42, -0.5, 0.08))


def frames(samples: Tensor, length: int, hop: int) -> Tensor:
    """Overlapping parts of a signal, (frames, length); what is left at the end is dropped.

    Raises:
        ValueError: the signal is shorter than one frame.
    """
    count = (samples.shape[0] - length) // hop + 1
    if count < 1 or hop < 1:
        raise ValueError(
            f"{samples.shape[0]} samples hold no frame of {length}, {hop} after another"
        )
    return stack([samples[at * hop : at * hop + length] for at in range(count)])


def fft(real: Tensor, imaginary: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The discrete Fourier transform along the last axis: its real and its imaginary part."""
    length = real.shape[-1]
    if length < 1:
        raise ValueError("a signal without samples has no spectrum")
    im = real * 0.0 if imaginary is None else imaginary
    shape = real.shape
    re, im = _transform(real.reshape((-1, length)), im.reshape((-1, length)))
    return re.reshape(shape), im.reshape(shape)


def ifft(real: Tensor, imaginary: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse of `fft`."""
    length = float(real.shape[-1])
    im, re = fft(imaginary, real)  # swapping the parts turns one into the other
    return re / length, im / length


def rfft(samples: Tensor) -> tuple[Tensor, Tensor]:
    """The half of the spectrum that says all of a real signal: length // 2 + 1 values."""
    re, im = fft(samples)
    kept = (slice(None),) * (re.ndim - 1) + (slice(0, re.shape[-1] // 2 + 1),)
    return re[kept], im[kept]


def spectrogram(samples: Tensor, *, length: int = 512, hop: int = 256) -> Tensor:
    """Power of each frequency in each frame, under a Hann window: (frames, length // 2 + 1)."""
    re, im = rfft(frames(samples, length, hop) * hann(length))
    return re * re + im * im


def magnitude(real: Tensor, imaginary: Tensor) -> Tensor:
    """How strong each frequency is."""
    return sqrt(real * real + imaginary * imaginary)


def _cosines(length: int, weights: tuple[float, ...]) -> Tensor:
    turn = 2.0 * math.pi / length
    return tensor(
        [
            sum(weight * math.cos(turn * order * at) for order, weight in enumerate(weights))
            for at in range(length)
        ]
    )


def _transform(re: Tensor, im: Tensor) -> tuple[Tensor, Tensor]:
    """X (n, length): length = rows * columns is done over columns, turned, and done over rows."""
    count, length = re.shape
    rows = _factor(length)
    if rows == 1 or length <= BASE_MAX:
        return _product(re, im, *_waves(length))
    columns = length // rows
    # x[columns * a + b] as (rows a, columns b); over a first, which is the last axis after the turn
    re, im = (
        part.reshape((count, rows, columns)).transpose((0, 2, 1)).reshape((count * columns, rows))
        for part in (re, im)
    )
    re, im = _transform(re, im)
    re, im = (part.reshape((count, columns, rows)) for part in (re, im))
    cos, sin = _twiddles(columns, rows)
    re, im = re * cos - im * sin, re * sin + im * cos
    re, im = (part.transpose((0, 2, 1)).reshape((count * rows, columns)) for part in (re, im))
    re, im = _transform(re, im)
    # (rows c, columns d) is the frequency c + rows * d
    re, im = (
        part.reshape((count, rows, columns)).transpose((0, 2, 1)).reshape((count, length))
        for part in (re, im)
    )
    return re, im


def _factor(length: int) -> int:
    """The largest factor up to BASE_MAX, 1 for none."""
    return next((one for one in range(min(BASE_MAX, length), 1, -1) if length % one == 0), 1)


def _product(re: Tensor, im: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    return matmul(re, cos) - matmul(im, sin), matmul(re, sin) + matmul(im, cos)


def _waves(length: int) -> tuple[Tensor, Tensor]:
    return _table("waves", length, length, length)


def _twiddles(columns: int, rows: int) -> tuple[Tensor, Tensor]:
    return _table("twiddles", columns, rows, columns * rows)


def _table(kind: str, height: int, width: int, length: int) -> tuple[Tensor, Tensor]:
    """cos and sin of -2 pi a b / length, (height, width)."""
    key = (kind, height, width)
    if key not in _kept:
        if len(_kept) >= KEPT_MAX:
            _kept.pop(next(iter(_kept)))
        turn = -2.0 * math.pi / length
        angles = [[turn * (a * b % length) for b in range(width)] for a in range(height)]
        _kept[key] = (
            tensor([[math.cos(angle) for angle in row] for row in angles]),
            tensor([[math.sin(angle) for angle in row] for row in angles]),
        )
    return _kept[key]
