"""The example's models on the folds: as good as the example says, and version 2 better than version 1.

The bounds are wide enough for another BLAS and narrow enough to see a broken model.
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from cloud.compiler.compile import compile_file, compile_onnx
from device_agent.engine import _core
from device_agent.engine.model import Model, parse_model
from docs.examples.digits import measure
from docs.examples.digits.dataset import Fold, held_out_fold, train_fold, validation_fold
from docs.examples.digits.recognise import Recogniser
from docs.examples.digits.shifts import NEIGHBOURS, augmented, shifted, with_neighbours

HERE = Path(__file__).parents[3] / "docs" / "examples" / "digits"
Floats = npt.NDArray[np.float32]


def model(name: str) -> Model:
    return parse_model(compile_onnx((HERE / "models" / f"{name}.onnx").read_bytes()))


def probabilities(name: str, pixels: npt.NDArray[np.uint8]) -> Floats:
    flat = np.ascontiguousarray(pixels)
    made = model(name).run(_core.frombuffer(flat, "uint8", flat.shape))[0]
    return np.asarray(made, dtype=np.float32)


def averaged(name: str, pixels: npt.NDArray[np.uint8]) -> Floats:
    views = [probabilities(name, shifted(pixels, *by)) for by in NEIGHBOURS]
    return np.mean(views, axis=0, dtype=np.float32)


def accuracy(made: Floats, fold: Fold) -> float:
    return float((made.argmax(axis=1) == fold.labels).mean())


def threshold(version: str) -> float:
    found = re.search(r"CONFIDENCE_MIN = (\S+)", (HERE / version / "threshold.py").read_text())
    assert found
    return float(found[1])


def test_folds_are_whole_and_apart() -> None:
    folds = [train_fold(), validation_fold(), held_out_fold()]
    assert [len(fold.labels) for fold in folds] == [1077, 360, 360]
    assert all(fold.pixels.max() <= 16 for fold in folds)
    assert all(len(payload) == 64 for payload in folds[2].payloads())
    again = train_fold()
    assert (again.pixels == folds[0].pixels).all()


@pytest.mark.parametrize(
    ("name", "bytes_max"), [("device_v1", 50_000), ("device_v2", 50_000), ("cloud", 2_000_000)]
)
def test_models_are_small_enough(name: str, bytes_max: int) -> None:
    assert (HERE / "models" / f"{name}.onnx").stat().st_size < bytes_max


def test_each_model_is_better_than_the_one_before() -> None:
    fold = validation_fold()
    first = accuracy(probabilities("device_v1", fold.pixels), fold)
    plain = accuracy(probabilities("device_v2", fold.pixels), fold)
    second = accuracy(averaged("device_v2", fold.pixels), fold)
    cloud = accuracy(probabilities("cloud", fold.pixels), fold)
    assert 0.90 < first < plain <= second <= cloud


def test_the_cloud_reads_the_test_fold() -> None:
    fold = held_out_fold()
    assert accuracy(probabilities("cloud", fold.pixels), fold) >= 0.98


@pytest.mark.parametrize(
    ("version", "made"),
    [
        ("v1", lambda pixels: probabilities("device_v1", pixels)),
        ("v2", lambda pixels: averaged("device_v2", pixels)),
    ],
)
def test_thresholds_escalate_about_an_eighth(
    version: str, made: Callable[[npt.NDArray[np.uint8]], Floats]
) -> None:
    sure = made(validation_fold().pixels).max(axis=1) >= threshold(version)
    assert 0.10 <= 1 - sure.mean() <= 0.14
    unseen = made(held_out_fold().pixels).max(axis=1) >= threshold(version)
    assert 0.05 <= 1 - unseen.mean() <= 0.25


def test_the_cloud_corrects_the_device() -> None:
    fold = held_out_fold()
    device, cloud = (probabilities(name, fold.pixels) for name in ("device_v1", "cloud"))
    sure = device.max(axis=1) >= threshold("v1")
    readings = [
        measure.Reading(truth=truth, device=d, cloud=None if kept else c)
        for truth, d, c, kept in zip(
            fold.labels.tolist(),
            device.argmax(axis=1).tolist(),
            cloud.argmax(axis=1).tolist(),
            sure.tolist(),
            strict=True,
        )
    ]
    assert measure.collaborative(readings).hits > measure.device_only(readings).hits
    assert measure.never_left(readings).hits == int(sure.sum())


def test_the_recogniser_reads_a_digit(tmp_path: Path) -> None:
    compile_file(HERE / "models" / "cloud.onnx", tmp_path / "cloud.shoalmodel")
    recogniser = Recogniser(tmp_path / "cloud.shoalmodel")
    fold = validation_fold()
    read = [recogniser.read(payload) for payload in fold.payloads()[:50]]
    assert sum(label == truth for (label, _), truth in zip(read, fold.labels, strict=False)) >= 48
    assert all(0.1 <= confidence <= 1 for _, confidence in read)
    with pytest.raises(ValueError, match="reshape"):
        recogniser.read(b"short")


def test_shifts_move_and_drop() -> None:
    digit = np.arange(64, dtype=np.uint8).reshape(1, 64)
    down = shifted(digit, 1, 0).reshape(8, 8)
    assert not down[0].any()
    assert down[1].tolist() == list(range(8))
    left = shifted(digit, 0, -1).reshape(8, 8)
    assert left[0].tolist() == [1, 2, 3, 4, 5, 6, 7, 0]
    fold = Fold(pixels=digit // 4, labels=np.array([3]))
    assert with_neighbours(fold).pixels.shape == (5, 64)
    warped = augmented(fold, 3, seed=1)
    assert warped.pixels.shape == (4, 64)
    assert warped.pixels.max() <= 16
    assert (warped.pixels == augmented(fold, 3, seed=1).pixels).all()
