"""Mutated ONNX files: refused by name, or compiled; never another error, and nothing crashes."""

import random

import numpy as np
import pytest

from cloud.compiler.compile import compile_onnx
from cloud.compiler.errors import OnnxInvalid, OnnxUnsupported
from device_agent.engine.model import parse_model
from tests.helpers.graphs import node, onnx_model

CONSTANTS = {
    "w": np.arange(6, dtype=np.float32).reshape(3, 2),
    "b": np.array([0.5, 1.0], np.float32),
    "low": np.array(0.0, np.float32),
    "shape": np.array([0, 2]),
}
MODEL = onnx_model(
    [
        node("Gemm", "x w b", "a", "first", alpha=0.5),
        node("Clip", "a low", "c"),
        node("Reshape", "c shape", "d"),
        node("ReduceMean", "d", "e", axes=[1], keepdims=1),
        node("Concat", "d e", "f", axis=1),
        node("Softmax", "f", "y", axis=1),
    ],
    {"x": ["n", 3]},
    ["y"],
    CONSTANTS,
)


def mutated(rng: random.Random) -> bytes:
    data = bytearray(MODEL)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data))
        kind = rng.randrange(4)
        if kind == 0:
            data[at] = rng.randrange(256)
        elif kind == 1:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del data[at : at + rng.randint(1, 6)]
        else:
            data[at:at] = data[rng.randrange(len(data)) :][: rng.randint(1, 12)]
    return bytes(data)


@pytest.mark.parametrize("seed", range(3))
def test_mutated_models_are_refused_or_compile(seed: int) -> None:
    rng = random.Random(seed)
    for number in range(400):
        data = mutated(rng)
        try:
            parse_model(compile_onnx(data))
        except (OnnxInvalid, OnnxUnsupported):
            continue
        except Exception as error:
            pytest.fail(f"seed {seed}, mutation {number}: {error!r}")
