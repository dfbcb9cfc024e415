"""The example's two versions run in the devices' VM: the engine loads there, and versions do what they say."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from cloud.compiler.compile import compile_file
from device_agent.engine import _core
from device_agent.engine.model import load_model
from device_agent.tasks.manifest import parse_manifest
from device_agent.vm import process
from device_agent.vm.interface import VmSpec
from device_agent.vm.pool import InterpreterPool
from docs.examples.digits.dataset import validation_fold
from docs.examples.digits.shifts import NEIGHBOURS, shifted
from docs.examples.digits.v1 import wire
from tests.helpers.tasks_in_vm import make_event, make_spec

HERE = Path(__file__).parents[3] / "docs" / "examples" / "digits"

process.install()


@pytest.fixture
async def pool() -> AsyncIterator[InterpreterPool]:
    made = InterpreterPool()
    yield made
    await made.close()


@pytest.fixture
def bundle(tmp_path: Path) -> Callable[[str], VmSpec]:
    """A version as a device has it."""

    def make(version: str) -> VmSpec:
        target = tmp_path / f"{version}.shoalmodel"
        if not target.exists():
            compile_file(HERE / "models" / f"device_{version}.onnx", target)
        sources = {path.stem: path.read_text() for path in (HERE / version).glob("*.py")}
        manifest = parse_manifest((HERE / version / "task.toml").read_text())
        main, resources = sources.pop("main"), {"digits.shoalmodel": str(target)}
        spec = make_spec(main, modules=sources, resources=resources, key=version)
        return replace(spec, emit_topics=manifest.emit)

    return make


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_a_version_answers_or_escalates(
    version: str, pool: InterpreterPool, bundle: Callable[[str], VmSpec]
) -> None:
    fold = validation_fold()
    spec, right, escalated = bundle(version), 0, 0
    for payload, truth in zip(fold.payloads()[:60], fold.labels.tolist(), strict=False):
        result = await pool.run(spec, make_event(payload, event_id=wire.DIGIT_EVENT))
        assert (result.outcome, result.message, len(result.emits)) == ("ok", "", 1)
        emit = result.emits[0]
        if emit.topic == "answer":
            _, label, source, confidence = wire.decode_answer(emit.payload)
            assert source == wire.FROM_DEVICE
            assert 0.5 < confidence <= 1
            right += label == truth
        else:
            assert wire.decode_escalation(emit.payload)[3] == payload
            escalated += 1
    assert 0 < escalated < 20
    assert right >= 0.9 * (60 - escalated)


async def test_the_clouds_reply_becomes_the_answer(
    pool: InterpreterPool, bundle: Callable[[str], VmSpec]
) -> None:
    reply = wire.encode_reply(bytes(16), 4, 0.75)
    for version in ("v1", "v2"):
        result = await pool.run(bundle(version), make_event(reply, event_id=wire.REPLY_EVENT))
        assert wire.decode_answer(result.emits[0].payload) == (
            bytes(16),
            4,
            wire.FROM_CLOUD,
            0.75,
        )


async def test_vms_and_the_process_share_one_mapping_of_the_weights(
    pool: InterpreterPool, bundle: Callable[[str], VmSpec]
) -> None:
    spec = bundle("v2")
    path = spec.resources["digits.shoalmodel"]
    payload = validation_fold().payloads()[0]
    held = load_model(path)
    for key in ("a", "b", "c"):
        other = replace(spec, key=key)
        assert (await pool.run(other, make_event(payload))).outcome == "ok"
    assert pool.stats().vms == 3
    maps = [one.path for one in psutil.Process().memory_maps(grouped=False)]
    assert maps.count(path) == 1
    assert held.inputs[0][0] == "pixels"


async def test_a_tensor_beyond_the_engines_memory_ends_the_run_and_the_next_has_a_new_vm(
    pool: InterpreterPool,
) -> None:
    spec = make_spec("""
        from shoal_task import emit, tensor
        def on_event(event):
            try:
                tensor.zeros((len(event.payload) << 20,), "uint8")
            except MemoryError:
                emit("out", b"caught")
    """)
    result = await pool.run(spec, make_event(bytes(256)))
    assert (result.outcome, result.emits) == ("ENGINE_MEMORY_LIMIT", ())
    assert (await pool.run(spec, make_event(b"x"))).outcome == "ok"


async def test_version_two_says_the_mean_over_the_shifts_of_training(
    pool: InterpreterPool, bundle: Callable[[str], VmSpec]
) -> None:
    spec = bundle("v2")
    digits = validation_fold().pixels[:20]
    model = load_model(spec.resources["digits.shoalmodel"])
    views = [
        np.asarray(model.run(_core.frombuffer(shifted(digits, *by), "uint8", (20, 64)))[0])
        for by in NEIGHBOURS
    ]
    means = np.mean(views, axis=0)
    for digit, mean in zip(digits, means, strict=True):
        emit = (await pool.run(spec, make_event(digit.tobytes()))).emits[0]
        if emit.topic == "answer":
            _, label, _, confidence = wire.decode_answer(emit.payload)
        else:
            _, label, confidence, _ = wire.decode_escalation(emit.payload)
        assert label == mean.argmax()
        assert confidence == pytest.approx(mean.max(), abs=1e-5)
