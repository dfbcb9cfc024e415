"""Trained models that come inside wheels: where their files lie. The packages are not imported, they ask for torch."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import onnxruntime as ort

from cloud.compiler.compile import compile_onnx
from device_agent.engine.model import Model, parse_model
from tests.helpers.arrays import Array, tensor_of


def wheel_file(package: str, path: str) -> Path:
    """A file inside an installed package."""
    spec = importlib.util.find_spec(package)
    assert spec is not None, f"{package} is not installed: make setup"
    assert spec.origin is not None
    found = Path(spec.origin).parent / path
    assert found.is_file(), found
    return found


def safetensors(path: Path) -> dict[str, Array]:
    """The tensors of a safetensors file: eight bytes of length, a JSON table, the numbers."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    kinds = {"F32": np.float32, "I64": np.int64}
    made = {}
    for name, row in json.loads(data[8:start]).items():
        if name != "__metadata__":
            first, last = row["data_offsets"]
            flat = np.frombuffer(data[start + first : start + last], kinds[row["dtype"]])
            made[name] = flat.reshape(row["shape"])
    return made


class Twin:
    """One model on our engine and on onnxruntime; every answer of ours is held to the peer's."""

    def __init__(self, data: bytes, tolerance: float) -> None:
        self.model: Model = parse_model(compile_onnx(data))
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self._tolerance = tolerance

    def __call__(self, **feeds: Array) -> list[Array]:
        """Our outputs."""
        made = self.model.run({name: tensor_of(array) for name, array in feeds.items()})
        got = [np.asarray(tensor) for tensor in made]
        for ours, theirs in zip(got, self.session.run(None, feeds), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=self._tolerance)
        return got
