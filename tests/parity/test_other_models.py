"""Kinds of models that nobody asked for by name, against onnxruntime: in float32 and with weights in fewer bits."""

import numpy as np
import pytest

from cloud.compiler.narrowing import Weights
from device_agent.engine.model import Model
from tests.helpers.arrays import LEVELS, Array, Level
from tests.helpers.other_models import OTHERS, Shapes
from tests.helpers.parity import compiled, ours, wanted

TOLERANCE = 1e-4  # of the largest number
NARROW = {Weights.FLOAT16: 0.02, Weights.BFLOAT16: 0.1, Weights.INT8: 0.15}


def feeds_of(shapes: Shapes) -> dict[str, Array]:
    random = np.random.default_rng(7)
    return {
        name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()
    }


def error_of(model: Model, feeds: dict[str, Array], want: Array, level: Level) -> float:
    """The largest error over the largest number."""
    (got,) = ours(model, feeds, level=level)
    assert got.shape == want.shape
    return float(np.abs(got - want).max() / np.abs(want).max())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", OTHERS)
def test_is_as_onnxruntime_has_it(name: str, threads: int) -> None:
    data, shapes = OTHERS[name]()
    feeds = feeds_of(shapes)
    (want,), model = wanted(data, feeds), compiled(data, threads=threads)
    for level in LEVELS if threads == 1 else LEVELS[-1:]:
        assert error_of(model, feeds, want, level) < TOLERANCE


@pytest.mark.parametrize("weights", NARROW)
@pytest.mark.parametrize("name", OTHERS)
def test_weights_in_fewer_bits_are_near(name: str, weights: Weights) -> None:
    data, shapes = OTHERS[name]()
    feeds = feeds_of(shapes)
    (want,), model = wanted(data, feeds), compiled(data, weights=weights)
    assert error_of(model, feeds, want, LEVELS[-1]) < NARROW[weights]
