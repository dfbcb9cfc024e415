"""Bytecode of another Python is refused by name, and the next Sync brings what fits."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from shoal.device.v1 import device_pb2

from device_agent.tasks.bytecode import python_tag, running_magic
from tests.helpers.devices import VirtualDevice, event
from tests.helpers.fake_cloud import FakeCloud
from tests.helpers.manual_clock import ManualClock

ECHO = "def on_event(event): emit('answer', event.payload)"


@pytest.fixture
def cloud() -> FakeCloud:
    return FakeCloud(ManualClock())


@pytest.fixture
def device(cloud: FakeCloud, tmp_path: Path) -> Iterator[VirtualDevice]:
    with VirtualDevice(cloud, tmp_path / "home", clock=ManualClock()) as device:
        yield device


async def test_another_magic_number_is_refused_and_the_right_build_installed(
    cloud: FakeCloud, device: VirtualDevice
) -> None:
    cloud.publish("echo", 1, ECHO, triggers=[1001], magic=running_magic() + 1)
    cloud.publish("echo", 2, ECHO + "  # again", triggers=[1001])
    cloud.release("echo", 1)
    await device.turns(3)
    failed = [ack.error_code for ack in device.known.acks if ack.outcome == 4]
    assert failed == ["BYTECODE_FOR_ANOTHER_PYTHON"]
    assert device.core.store.held.tasks()["echo"].version == 0
    cloud.release("echo", 2)
    await device.turns(3)
    device.core.feed([event(1)])
    await device.turns(2)
    assert device.known.installed["echo"] == (2, device_pb2.TASK_STATE_INSTALLED)
    assert device.known.runs[(event(1).uid, "echo", 2)] == 1


async def test_a_device_whose_python_was_replaced_says_so_and_gets_the_right_build(
    cloud: FakeCloud, device: VirtualDevice
) -> None:
    device.facts = replace(device.facts, python_tag="cpython-313-3570")
    device.reborn()
    cloud.publish("echo", 1, ECHO, triggers=[1001])
    cloud.release("echo", 1)
    await device.turns(3)
    assert device.core.store.held.tasks()["echo"].python_tag == "cpython-313-3570"
    device.facts = replace(device.facts, python_tag=python_tag())
    device.reborn()
    device.core.feed([event(1)])
    await device.core.runner.run_pending()
    assert device.known.runs == {}  # never with the old build
    await device.turns(3)
    assert device.core.store.held.tasks()["echo"].python_tag == python_tag()
    assert device.known.runs[(event(1).uid, "echo", 1)] == 1
