"""An ONNX model run by us and by onnxruntime, for tests that compare the two."""

from collections.abc import Mapping

import numpy as np
import onnxruntime as ort

from cloud.compiler.compile import compile_onnx
from cloud.compiler.narrowing import Weights
from device_agent.engine import _core
from device_agent.engine.model import Model
from tests.helpers.arrays import Array, Level, tensor_of


def compiled(data: bytes, *, threads: int = 1, weights: Weights = Weights.FLOAT32) -> Model:
    """Our model of an ONNX file."""
    return Model(_core.check_model(compile_onnx(data, weights)), threads=threads)


def ours(model: Model, feeds: Mapping[str, Array], *, level: Level | None = None) -> list[Array]:
    """What it makes of feeds."""
    made = model.run({name: tensor_of(array) for name, array in feeds.items()}, level=level)
    return [np.asarray(one) for one in made]


def steps_of(model: Model) -> int:
    """Steps of the one plan that it made so far."""
    (stage,) = model.plans()
    return stage.plan.steps


def wanted(data: bytes, feeds: Mapping[str, Array]) -> list[Array]:
    """What onnxruntime makes of the file and feeds, on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return [np.asarray(array) for array in session.run(None, dict(feeds))]
