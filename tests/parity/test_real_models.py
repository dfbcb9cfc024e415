"""Trained models on real input: text in a picture, speech in a recording, sentences that mean the same.

Each runs on the engine and on onnxruntime side by side (`Twin`), and what it finds has to be what is there.
"""

import io
import os
import shutil
import subprocess
import wave

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from scipy import signal

from tests.helpers.arrays import Array
from tests.helpers.optical_reading import Reader
from tests.helpers.sentences import Tokenizer, minilm
from tests.helpers.wheel_models import Twin, wheel_file

pytestmark = pytest.mark.slow  # models of tens of megabytes

LINES = ("Releases reach every device", "42 phones, 7 tablets", "Shoal runs tasks at the edge")
RATE_HZ = 16_000
CHUNK, CONTEXT = 512, 64  # samples of a step, and of the one before it that it sees again
SILENCE_S = 1.0
SPEAK_S_MAX = 60


def drawn() -> Image.Image:
    picture = Image.new("RGB", (640, 256), (246, 244, 238))
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(30)
    for i, line in enumerate(LINES):
        pen.text((30 + 12 * i, 30 + 70 * i), line, font=font, fill=(20, 24, 40))
    return picture


def test_ppocr_reads_a_rendered_picture_either_way_up() -> None:
    reader = Reader()
    found = reader.lines(drawn())
    assert [line.text for line in found] == list(LINES)
    assert not any(line.upside_down for line in found)
    turned = reader.lines(drawn().rotate(180))
    assert [line.text for line in turned] == list(reversed(LINES))
    assert all(line.upside_down for line in turned)


@pytest.fixture(scope="module")
def recording() -> Array:
    """A second of silence, a sentence, a second of silence."""
    speaker = shutil.which("espeak-ng")
    assert speaker is not None, "espeak-ng is missing: deploy/setup/servers.sh"
    said = subprocess.run(
        [speaker, "--stdout", "The release has reached every device of the fleet."],
        stdout=subprocess.PIPE,
        check=True,
        timeout=SPEAK_S_MAX,
        # The sanitizers are for our own code.
        env={name: value for name, value in os.environ.items() if name != "LD_PRELOAD"},
    )
    with wave.open(io.BytesIO(said.stdout)) as sound:
        rate_hz = sound.getframerate()
        samples = np.frombuffer(sound.readframes(sound.getnframes()), np.int16)
    spoken = signal.resample_poly(samples / 32768.0, RATE_HZ, rate_hz).astype(np.float32)
    quiet = np.zeros(int(SILENCE_S * RATE_HZ), np.float32)
    return np.concatenate([quiet, spoken, quiet])


def chunks(recording: Array) -> Array:
    """(steps, 576): each step with the end of the one before it."""
    steps = len(recording) // CHUNK
    padded = np.concatenate([np.zeros(CONTEXT, np.float32), recording])
    return np.stack([padded[i * CHUNK : (i + 1) * CHUNK + CONTEXT] for i in range(steps)])


def speech_is_where_it_is(chances: Array) -> None:
    """Silence is told from speech, and both ends of the sentence lie within a third of a second."""
    heard = np.flatnonzero(chances > 0.5) * CHUNK / RATE_HZ
    length_s = len(chances) * CHUNK / RATE_HZ
    assert abs(heard[0] - SILENCE_S) < 0.35
    assert abs(length_s - SILENCE_S - heard[-1]) < 0.35
    assert len(heard) * CHUNK / RATE_HZ > 0.7 * (length_s - 2 * SILENCE_S)


@pytest.mark.parametrize(
    ("name", "asks_rate"),
    [
        ("silero_vad", True),  # If around two networks, LSTM
        ("silero_vad_16k_op15", True),
        ("silero_vad_half", False),
        ("silero_vad_op18_ifless", True),
        ("silero_vad_openvino_16k", False),
    ],
)
def test_silero_finds_speech_step_by_step(recording: Array, name: str, asks_rate: bool) -> None:
    network = Twin(wheel_file("silero_vad", f"data/{name}.onnx").read_bytes(), 1e-4)
    rate = {"sr": np.array(RATE_HZ)} if asks_rate else {}
    state, chances = np.zeros((2, 1, 128), np.float32), []
    for step in chunks(recording):
        chance, state = network(input=step[None], state=state, **rate)
        chances.append(float(chance[0, 0]))
    speech_is_where_it_is(np.array(chances))


def test_silero_finds_speech_in_one_sequence(recording: Array) -> None:
    data = wheel_file("silero_vad", "data/silero_vad_16k_sequence.onnx").read_bytes()
    zero = np.zeros((1, 1, 128), np.float32)
    chances, _, _ = Twin(data, 1e-4)(input=chunks(recording), h=zero, c=zero)
    speech_is_where_it_is(chances.reshape(-1))


def test_silero_hears_eight_kilohertz_by_its_other_branch(recording: Array) -> None:
    network = Twin(wheel_file("silero_vad", "data/silero_vad.onnx").read_bytes(), 1e-4)
    half = signal.resample_poly(recording, 1, 2).astype(np.float32)
    state, chances = np.zeros((2, 1, 128), np.float32), []
    for start in range(0, len(half) - 288, 256):
        step = half[None, start : start + 288]
        chance, state = network(input=step, state=state, sr=np.array(8_000))
        chances.append(float(chance[0, 0]))
    speech_is_where_it_is(np.array(chances))


def test_minilm_knows_which_sentences_mean_the_same() -> None:
    network, tokens = Twin(minilm(), 2e-5), Tokenizer()
    ids, mask = tokens(
        "The update was rolled back on every phone.",
        "All devices went back to the old version!",
        "A recipe for a chocolate cake",
        "How does one bake a cake?",
    )
    (made,) = network(input_ids=ids, attention_mask=mask)
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, rtol=1e-5)
    alike = made @ made.T
    assert min(alike[0, 1], alike[2, 3]) > alike[:2, 2:].max() + 0.2
    alone, seen = tokens("How does one bake a cake?")
    np.testing.assert_allclose(
        network(input_ids=alone, attention_mask=seen)[0][0], made[3], atol=1e-5
    )
