"""The fine-tuning example in a device's VM: one writer's digits are read better after some were labelled."""

from pathlib import Path

import pytest
from shoal_task.run_state import MemoryKept, RunState

from cloud.compiler.compile import compile_file
from device_agent.tasks.manifest import parse_manifest
from device_agent.vm import process
from device_agent.vm.interface import VmLimits, VmSpec
from device_agent.vm.pool import InterpreterPool
from docs.examples.digits.dataset import Fold
from docs.examples.fine_tune.writer import writer_folds
from tests.helpers.tasks_in_vm import make_event, make_spec

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
UNKNOWN = 255

process.install()


@pytest.fixture
def spec(tmp_path: Path) -> VmSpec:
    """The task as a device has it, with version 1 of the digits' model."""
    compile_file(EXAMPLES / "digits" / "models" / "device_v1.onnx", tmp_path / "m.shoalmodel")
    manifest = parse_manifest((EXAMPLES / "fine_tune" / "task.toml").read_text())
    assert manifest.emit == {"read"}
    source = (EXAMPLES / "fine_tune" / "main.py").read_text().replace('"read"', '"out"')
    limits = VmLimits(wall_ms=manifest.limits.wall_ms, memory_mib=manifest.limits.memory_mib)
    resources = {"digits.shoalmodel": str(tmp_path / "m.shoalmodel")}
    return make_spec(source, resources=resources, key="own-digits", limits=limits)


class Device:
    """A pool with the task's kept values."""

    def __init__(self, pool: InterpreterPool, spec: VmSpec) -> None:
        self._pool, self._spec = pool, spec
        self.kept = MemoryKept()
        self.logs: list[str] = []

    async def tell(self, pixels: bytes, label: int) -> bytes:
        """The payload of what the run emitted, if anything."""
        state = RunState(self.kept, lambda: 42)
        event = make_event(pixels + bytes([label]))
        result = await self._pool.run(self._spec, event, answer=state.answer)
        assert (result.outcome, result.message) == ("ok", "")
        self.kept.apply(state.changes)
        self.logs += result.logs
        return result.emits[0].payload if result.emits else b""

    async def share_right(self, fold: Fold) -> float:
        read = [await self.tell(pixels, UNKNOWN) for pixels in fold.payloads()]
        pairs = zip(read, fold.labels.tolist(), strict=True)
        return sum(one == bytes([truth]) for one, truth in pairs) / len(read)


async def test_a_writers_digits_are_learned_on_the_device(spec: VmSpec) -> None:
    labelled, others = writer_folds()
    pool = InterpreterPool()
    device = Device(pool, spec)
    before = await device.share_right(others)
    for pixels, label in zip(labelled.payloads(), labelled.labels.tolist(), strict=True):
        await device.tell(pixels, label)
    after = await device.share_right(others)
    assert [line.split(",")[0] for line in device.logs][-1] == "learned from 200 digits"
    print(f"{before:.3f} before, {after:.3f} after {len(labelled.labels)} labelled digits")
    assert after > before + 0.2
    assert after > 0.85
    await pool.retire(spec.key)  # a VM of its own again: what was learned is kept
    assert await device.share_right(others) == after
    await pool.close()


ENDLESS = """
from shoal_task import model, tensor, train

def on_event(event):
    trainer = train.Trainer(model.load("digits.shoalmodel"), loss=train.CrossEntropy(), optimizer=train.Adam())
    rows = int(event.payload)
    pixels, labels = tensor.zeros((rows, 64), "uint8"), tensor.zeros((rows,), "int64")
    while True:
        trainer.step(pixels, labels)
        if rows == 1:
            return
"""


async def test_training_keeps_to_the_limits_of_a_run(spec: VmSpec) -> None:
    limits = VmLimits(wall_ms=400, engine_mib=32)
    endless = make_spec(ENDLESS, resources=spec.resources, key="endless", limits=limits)
    pool = InterpreterPool()
    outcomes = [
        (await pool.run(endless, make_event(rows))).outcome
        for rows in (b"1", b"20", b"1", b"200000", b"1")
    ]
    await pool.close()
    assert outcomes == ["ok", "WALL_LIMIT", "ok", "ENGINE_MEMORY_LIMIT", "ok"]
