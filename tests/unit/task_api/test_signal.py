"""Signals: half spectra and back, frames, convolution and mel bands; against numpy and by what must hold of them."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shoal_task import signal, tensor

from tests.helpers.arrays import Array, tensor_of

LENGTHS = st.integers(1, 200)


def series(size: int, seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(length=LENGTHS, seed=st.integers(0, 2**32 - 1))
def test_half_spectra_and_back(length: int, seed: int) -> None:
    x = series(length, seed)
    re, im = signal.rfft(tensor_of(x))
    want = np.fft.rfft(x.astype(np.float64))
    np.testing.assert_allclose(np.asarray(re), want.real, atol=1e-4)
    np.testing.assert_allclose(np.asarray(im), want.imag, atol=1e-4)
    np.testing.assert_allclose(np.asarray(signal.irfft(re, im, length)), x, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(total=st.integers(1, 80), length=st.integers(1, 30), hop=st.integers(1, 30))
def test_frames(total: int, length: int, hop: int) -> None:
    x = series(total, 1)
    want = [x[at : at + length] for at in range(0, total - length + 1, hop)]
    if not want:
        with pytest.raises(ValueError, match="no frame"):
            signal.frames(tensor_of(x), length, hop)
        return
    made = np.asarray(signal.frames(tensor_of(x), length, hop))
    np.testing.assert_array_equal(made, np.array(want))


@settings(max_examples=40, deadline=None)
@given(n=LENGTHS, m=LENGTHS)
def test_convolution(n: int, m: int) -> None:
    a, b = series(n, 2), series(m, 3)
    got = np.asarray(signal.convolve(tensor_of(a), tensor_of(b)))
    np.testing.assert_allclose(got, np.convolve(a, b), atol=1e-3)


def test_a_tone_stands_out_in_its_band() -> None:
    rate, hertz = 16_000, 1_000
    sound = np.sin(2 * np.pi * hertz * np.arange(rate) / rate).astype(np.float32)
    bands = np.asarray(signal.log_mel(tensor_of(sound), rate=rate))
    assert bands.shape == (98, 80)
    (loudest,) = set(bands.argmax(1))
    mel = 2595 * np.log10(1 + np.array([hertz, rate / 2]) / 700)
    assert abs((loudest + 1) / 81 - mel[0] / mel[1]) < 1 / 81, "the band is where the tone is"


def test_mel_filters_cover_all_between_the_ends() -> None:
    filters = np.asarray(signal.mel_filters(40, 400, 16_000))
    assert filters.shape == (201, 40)
    assert filters.min() == 0
    assert (filters[2:187].sum(1) > 0.5).all(), "each bin is heard by some band"
    assert (np.diff(filters.argmax(0)) >= 0).all(), "bands go up"


def test_silence_has_a_finite_loudness() -> None:
    bands = np.asarray(signal.log_mel(tensor.zeros(800)))
    np.testing.assert_allclose(bands, np.log(signal.POWER_MIN), rtol=1e-5)


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda: signal.frames(tensor.zeros((2, 2)), 1, 1), "no frame"),
        (lambda: signal.frames(tensor.zeros(4), 0, 1), "no frame"),
        (lambda: signal.frames(tensor.zeros(4), 1, 0), "no frame"),
        (lambda: signal.fft(tensor.zeros(())), "without samples"),
        (
            lambda: signal.irfft(tensor.zeros(3), tensor.zeros(3), 7),
            "3 values are not the half spectrum of 7",
        ),
        (lambda: signal.convolve(tensor.zeros(0), tensor.zeros(2)), "no convolution"),
    ],
)
def test_what_cannot_be_is_refused(act: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        act()
