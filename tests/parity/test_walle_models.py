"""Models of Walle's paper and a detector against onnxruntime, with seeded random weights; every level of kernels."""

import numpy as np
import pytest

from device_agent.engine.model import Model
from tests.helpers.arrays import LEVELS, Array, Level
from tests.helpers.detector import yolov8n
from tests.helpers.parity import compiled, ours, wanted
from tests.helpers.walle_models import MODELS, bert, feeds_of

QUICK = {"din", "squeezenet", "mobilenet_v2"}  # the others take seconds to build and to compile
TOLERANCE = 2e-4  # of the largest number


def compare(model: Model, data: bytes, feeds: dict[str, Array], level: Level | None) -> None:
    for got, want in zip(ours(model, feeds, level=level), wanted(data, feeds), strict=True):
        assert got.shape == want.shape
        error = np.abs(got - want).max() / np.abs(want).max()
        assert error < TOLERANCE


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else (pytest.mark.slow,), id=name)
        for name in MODELS
    ],
)
def test_a_model_is_as_onnxruntime_has_it(name: str) -> None:
    data = MODELS[name]()
    compare(compiled(data), data, feeds_of(data), None)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_detector_is_as_onnxruntime_has_it(threads: int) -> None:
    """Silu, halves and joins of channels, doubled pictures, boxes from distributions."""
    data = yolov8n()
    model = compiled(data, threads=threads)
    compare(model, data, feeds_of(data), None)


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_makes_the_same(level: Level) -> None:
    data = MODELS["din"]()
    compare(compiled(data), data, feeds_of(data), level)


def test_a_small_encoder_runs_with_any_batch_and_on_two_threads() -> None:
    data = bert(layers=1, width=64, heads=4, tokens=12)
    model = compiled(data, threads=2)
    one = feeds_of(data)
    compare(model, data, one, None)
    compare(model, data, {name: np.repeat(array, 3, axis=0) for name, array in one.items()}, None)
    assert len(list(model.plans())) == 2
