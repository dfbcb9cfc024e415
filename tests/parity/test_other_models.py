"""Kinds of models that nobody asked for by name, against onnxruntime: in float32 and with weights in fewer bits."""

import numpy as np
import onnxruntime as ort
import pytest

from cloud.compiler.compile import compile_onnx
from cloud.compiler.narrowing import Weights
from device_agent.engine import _core
from device_agent.engine.model import Model
from tests.helpers.arrays import LEVELS, Array, Level, tensor_of
from tests.helpers.other_models import OTHERS, Shapes

TOLERANCE = 1e-4  # of the largest number
NARROW = {Weights.FLOAT16: 0.02, Weights.BFLOAT16: 0.1, Weights.INT8: 0.15}


def feeds_of(shapes: Shapes) -> dict[str, Array]:
    random = np.random.default_rng(7)
    return {
        name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()
    }


def wanted(data: bytes, feeds: dict[str, Array]) -> Array:
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, feeds)[0])


def error_of(model: Model, feeds: dict[str, Array], want: Array, level: Level) -> float:
    """The largest error over the largest number."""
    (got,) = model.run({name: tensor_of(array) for name, array in feeds.items()}, level=level)
    assert got.shape == want.shape
    return float(np.abs(np.asarray(got) - want).max() / np.abs(want).max())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", OTHERS)
def test_is_as_onnxruntime_has_it(name: str, threads: int) -> None:
    data, shapes = OTHERS[name]()
    feeds = feeds_of(shapes)
    want, file = wanted(data, feeds), _core.check_model(compile_onnx(data))
    for level in LEVELS if threads == 1 else LEVELS[-1:]:
        assert error_of(Model(file, threads=threads), feeds, want, level) < TOLERANCE


@pytest.mark.parametrize("weights", NARROW)
@pytest.mark.parametrize("name", OTHERS)
def test_weights_in_fewer_bits_are_near(name: str, weights: Weights) -> None:
    data, shapes = OTHERS[name]()
    feeds = feeds_of(shapes)
    want, file = wanted(data, feeds), _core.check_model(compile_onnx(data, weights))
    assert error_of(Model(file), feeds, want, LEVELS[-1]) < NARROW[weights]
