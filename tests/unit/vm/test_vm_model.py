"""A compiled model inside VMs: the digits example's script and weights."""

from pathlib import Path

import pytest

from cloud.compiler.compile import compile_file
from device_agent.vm.interface import VmLimits, VmSpec
from device_agent.vm.pool import InterpreterPool
from tests.helpers.tasks_in_vm import make_event, make_spec

MODELS = Path(__file__).parents[3] / "docs" / "examples" / "digits" / "models"
SOURCE = """
from shoal_task import emit, model, tensor
digits = model.load("digits.shoalmodel")
def on_event(event):
    pixels = tensor.frombuffer(event.payload, "uint8", (1, 64))
    emit("out", digits.run(pixels)[0].tobytes())
"""


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "digits.shoalmodel"
    compile_file(MODELS / "device_v1.onnx", path)
    return path


def _spec(key: str, resources: dict[str, str]) -> VmSpec:
    return make_spec(SOURCE, key=key, resources=resources, limits=VmLimits(wall_ms=5_000))


async def test_two_vms_agree_with_each_other_bit_for_bit(
    pool: InterpreterPool, model_path: Path
) -> None:
    resources = {"digits.shoalmodel": str(model_path)}
    event = make_event(bytes(range(64)))
    results = [await pool.run(_spec(key, resources), event) for key in ("a", "b")]
    assert [result.message for result in results] == ["", ""]
    assert results[0].emits == results[1].emits
    assert len(results[0].emits[0].payload) % 4 == 0


async def test_a_resource_that_the_manifest_does_not_name_is_not_found(
    pool: InterpreterPool,
) -> None:
    result = await pool.run(_spec("none", {}), make_event())
    assert result.outcome == "TASK_INVALID"
    assert "the bundle has no resource 'digits.shoalmodel'" in result.message


async def test_a_damaged_model_is_refused_and_names_itself(
    pool: InterpreterPool, tmp_path: Path
) -> None:
    damaged = tmp_path / "digits.shoalmodel"
    damaged.write_bytes(b"not a model")
    result = await pool.run(_spec("damaged", {"digits.shoalmodel": str(damaged)}), make_event())
    assert result.outcome == "TASK_INVALID"
    assert "ModelInvalid" in result.message
