"""Signals as tensors: windows, frames, spectra and mel bands, through the engine, without NumPy or SciPy.

    from shoal_task import signal

    samples = signal.from_pcm16(event.payload)
    bands = signal.log_mel(samples, rate=16_000)                # (frames, 80), what speech models take

Rules of this module:

- A signal is float32; the last axis is time. A spectrum is two tensors, real and imaginary: there is no complex dtype.
- Every length has a fast transform, primes too (device_agent/engine/native/ops/spectrum.cpp says how).
"""

import math

from device_agent.engine import _core
from shoal_task.tensor import (
    Tensor,
    concat,
    cumulative_sum,
    frombuffer,
    full,
    log,
    matmul,
    maximum,
    sqrt,
    take,
    tensor,
    where,
    zeros,
)

POWER_MIN = 1e-10  # the logarithm of silence is that of this


def from_pcm16(data: bytes) -> Tensor:
    """Samples of -1 to 1 from 16-bit little-endian numbers.

    Raises:
        ValueError: the number of bytes is odd.
    """
    if len(data) % 2:
        raise ValueError(f"{len(data)} bytes are no whole number of 16-bit samples")
    pairs = frombuffer(data, "uint8", (len(data) // 2, 2)).astype("int32")
    value = pairs[:, 0] + pairs[:, 1] * 256
    return where(value >= 32_768, value - 65_536, value).astype("float32") / 32_768.0


# --- windows and frames ----------------------------------------------------------------------------------------------


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
        ValueError: the signal is shorter than one frame, or has more than one axis.
    """
    count = (samples.shape[0] - length) // hop + 1 if samples.ndim == 1 and hop > 0 else 0
    if count < 1 or length < 1:
        raise ValueError(
            f"samples of shape {samples.shape} hold no frame of {length}, {hop} after another"
        )
    starts = cumulative_sum(full((count, 1), hop, "int64"), 0) - hop
    steps = cumulative_sum(full((1, length), 1, "int64"), 1) - 1
    return take(samples, starts + steps)


def _cosines(length: int, weights: tuple[float, ...]) -> Tensor:
    turn = 2.0 * math.pi / length
    return tensor(
        [
            sum(weight * math.cos(turn * order * at) for order, weight in enumerate(weights))
            for at in range(length)
        ]
    )


# --- spectra ---------------------------------------------------------------------------------------------------------


def fft(real: Tensor, imaginary: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The discrete Fourier transform along the last axis: its real and its imaginary part.

    Raises:
        ValueError: there is no sample.
    """
    return _transformed(real, zeros(real.shape) if imaginary is None else imaginary, inverse=False)


def ifft(real: Tensor, imaginary: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse of `fft`."""
    return _transformed(real, imaginary, inverse=True)


def rfft(samples: Tensor) -> tuple[Tensor, Tensor]:
    """The half of the spectrum that says all of a real signal: length // 2 + 1 values."""
    re, im = fft(samples)
    kept = (slice(None),) * (re.ndim - 1) + (slice(0, re.shape[-1] // 2 + 1),)
    return re[kept], im[kept]


def irfft(real: Tensor, imaginary: Tensor, length: int) -> Tensor:
    """The signal of `length` samples that has this half spectrum.

    Raises:
        ValueError: it is not half a spectrum of so many samples.
    """
    bins = real.shape[-1]
    if length < 1 or length // 2 + 1 != bins:
        raise ValueError(f"{bins} values are not the half spectrum of {length} samples")
    mirrored = (slice(None),) * (real.ndim - 1) + (slice(bins - 2 + length % 2, 0, -1),)
    whole = concat([real, real[mirrored]], -1), concat([imaginary, -imaginary[mirrored]], -1)
    return ifft(*whole)[0]


def magnitude(real: Tensor, imaginary: Tensor) -> Tensor:
    """How strong each frequency is."""
    return sqrt(real * real + imaginary * imaginary)


def spectrogram(samples: Tensor, *, length: int = 512, hop: int = 256) -> Tensor:
    """Power of each frequency in each frame, under a Hann window: (frames, length // 2 + 1)."""
    re, im = rfft(frames(samples, length, hop) * hann(length))
    return re * re + im * im


def mel_filters(bands: int, length: int, rate: int) -> Tensor:
    """Triangles of equal width in mel, 2595 log10(1 + hertz / 700): (length // 2 + 1, bands).

    Args:
        bands: How many.
        length: Samples of a frame.
        rate: Samples a second.
    """
    top = 2595.0 * math.log10(1.0 + rate / 2 / 700.0)
    edges = [700.0 * (10.0 ** (top * i / (bands + 1) / 2595.0) - 1.0) for i in range(bands + 2)]
    triangles = list(zip(edges, edges[1:], edges[2:], strict=False))

    def weight(hertz: float, low: float, mid: float, high: float) -> float:
        return max(0.0, min((hertz - low) / (mid - low), (high - hertz) / (high - mid)))

    bins = range(length // 2 + 1)
    return tensor([[weight(k * rate / length, *one) for one in triangles] for k in bins])


def log_mel(
    samples: Tensor, *, rate: int = 16_000, bands: int = 80, length: int = 400, hop: int = 160
) -> Tensor:
    """Natural logarithm of the power in mel bands over time: (frames, bands)."""
    power = spectrogram(samples, length=length, hop=hop)
    return log(maximum(matmul(power, mel_filters(bands, length, rate)), POWER_MIN))


def convolve(samples: Tensor, kernel: Tensor) -> Tensor:
    """The full convolution of two signals, n + m - 1 samples, by their spectra.

    Raises:
        ValueError: one is empty, or has more than one axis.
    """
    if samples.ndim != 1 or kernel.ndim != 1 or not samples.size or not kernel.size:
        raise ValueError(f"no convolution of shapes {samples.shape} and {kernel.shape}")
    length = samples.size + kernel.size - 1
    padded = (concat([one, zeros(length - one.size)], 0) for one in (samples, kernel))
    (a, b), (c, d) = (rfft(one) for one in padded)
    return irfft(a * c - b * d, a * d + b * c, length)


def _transformed(real: Tensor, imaginary: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
    if real.ndim == 0 or real.shape[-1] < 1:
        raise ValueError("a signal without samples has no spectrum")
    parts = [part.reshape((*real.shape, 1)) for part in (real, imaginary)]
    made = _core.fft(concat(parts, -1), inverse=inverse)
    lead = (slice(None),) * real.ndim
    return made[(*lead, 0)], made[(*lead, 1)]
