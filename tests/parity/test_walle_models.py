"""Models of Walle's paper and a detector against onnxruntime, with seeded random weights; every level of kernels."""

import numpy as np
import onnxruntime as ort
import pytest

from cloud.compiler.compile import compile_onnx
from device_agent.engine import _core
from device_agent.engine.model import Model, parse_model
from tests.helpers.arrays import Array, tensor_of
from tests.helpers.detector import yolov8n
from tests.helpers.walle_models import MODELS, bert, feeds_of

QUICK = {"din", "squeezenet", "mobilenet_v2"}  # the others take seconds to build and to compile
TOLERANCE = 2e-4  # of the largest number


def wanted(data: bytes, feeds: dict[str, Array]) -> list[Array]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return [np.asarray(array) for array in session.run(None, feeds)]


def compare(model: Model, data: bytes, feeds: dict[str, Array], level: str | None) -> None:
    tensors = {name: tensor_of(array) for name, array in feeds.items()}
    made = model.run(tensors, level=level)  # type: ignore[arg-type]  # a level's name
    for got, want in zip(made, wanted(data, feeds), strict=True):
        assert got.shape == want.shape
        error = np.abs(np.asarray(got) - want).max() / np.abs(want).max()
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
    compare(parse_model(compile_onnx(data)), data, feeds_of(data), None)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_detector_is_as_onnxruntime_has_it(threads: int) -> None:
    """Silu, halves and joins of channels, doubled pictures, boxes from distributions."""
    data = yolov8n()
    model = Model(_core.check_model(compile_onnx(data)), threads=threads)
    compare(model, data, feeds_of(data), None)


@pytest.mark.parametrize("level", _core.levels())
def test_every_level_makes_the_same(level: str) -> None:
    data = MODELS["din"]()
    compare(parse_model(compile_onnx(data)), data, feeds_of(data), level)


def test_a_small_encoder_runs_with_any_batch_and_on_two_threads() -> None:
    data = bert(layers=1, width=64, heads=4, tokens=12)
    model = Model(_core.check_model(compile_onnx(data)), threads=2)
    one = feeds_of(data)
    compare(model, data, one, None)
    compare(model, data, {name: np.repeat(array, 3, axis=0) for name, array in one.items()}, None)
    assert len(list(model.plans())) == 2
