"""Whole models on torch, and the choice between it and the core."""

import numpy as np
import pytest

from cloud.compiler.compile import compile_onnx
from device_agent.engine import _core
from device_agent.engine.backend import registered
from device_agent.engine.model import CORE, Model
from tests.helpers.arrays import Array, tensor_of
from tests.helpers.graphs import node, onnx_model
from tests.helpers.walle_models import MODELS, bert, feeds_of

torch = pytest.importorskip("torch", reason="5 GB: `make test-torch` installs it beside")
backend = pytest.importorskip("cloud.backends.torch_backend")

TOLERANCE = 1e-5  # of the largest number


@pytest.fixture(autouse=True)
def devices() -> list[str]:
    names: list[str] = backend.register_devices()
    return names


def run(data: bytes, *backends: str) -> list[np.ndarray]:
    model = Model(_core.check_model(compile_onnx(data)), backends=backends)
    feeds = {name: tensor_of(array) for name, array in feeds_of(data).items()}
    return [np.asarray(tensor) for tensor in model.run(feeds)]


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_as_the_core_has_it(name: str) -> None:
    data = MODELS[name]()
    for got, want in zip(run(data, "torch:cpu"), run(data, CORE), strict=True):
        assert np.abs(got - want).max() < TOLERANCE * np.abs(want).max()


def test_every_device_is_registered(devices: list[str]) -> None:
    assert set(devices) <= set(registered())
    assert devices[0] == "torch:cpu"
    assert len(devices) == 1 + torch.cuda.device_count()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_an_encoder_on_each_cuda_device(devices: list[str]) -> None:
    data = bert(layers=2, width=64, heads=4, tokens=12)
    for device in devices[1:]:
        for got, want in zip(run(data, device), run(data, CORE), strict=True):
            assert np.abs(got - want).max() < 1e-3 * np.abs(want).max()


def test_what_torch_lacks_runs_on_the_core() -> None:
    data = onnx_model([node("Det", "x", "y")], {"x": [2, 3, 3]}, ["y"])
    model = Model(_core.check_model(compile_onnx(data)), backends=["torch:cpu", CORE])
    x = np.arange(18, dtype=np.float32).reshape(2, 3, 3) ** 2
    (made,) = model.run([tensor_of(x)])
    np.testing.assert_allclose(np.asarray(made), np.linalg.det(x), rtol=1e-4)


def test_views_that_run_backwards_and_broadcast() -> None:
    nodes = [
        node("Slice", "x first last axes steps", "back"),
        node("Add", "back row", "sum"),
        node("Transpose", "sum", "turned", perm=[1, 0]),
        node("Concat", "turned turned", "y", axis=0),
    ]
    constants: dict[str, Array] = {
        "first": np.array([-1], np.int64), "last": np.array([-9], np.int64), "axes": np.array([1], np.int64),
        "steps": np.array([-2], np.int64), "row": np.array([[1.0], [2.0]], np.float32),
    }  # fmt: skip
    data = onnx_model(nodes, {"x": [2, 5]}, ["y"], constants)
    x = np.arange(10, dtype=np.float32).reshape(2, 5)
    turned = (x[:, ::-2] + np.array([[1.0], [2.0]])).T
    (made,) = Model(_core.check_model(compile_onnx(data)), backends=["torch:cpu"]).run(
        [tensor_of(x)]
    )
    np.testing.assert_array_equal(np.asarray(made), np.concatenate([turned, turned]))
