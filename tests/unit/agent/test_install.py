"""Installing: deferral and its end, damage on disk, paths, downloads that go on, and clean-up."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from shoal.device.v1 import device_pb2

from device_agent.agent.bundles import check_paths
from device_agent.agent.conditions import Conditions, Network
from device_agent.agent.settings import AgentSettings, LocalPolicy
from device_agent.tasks.director import Action, BundleFile, Scope, TaskInstruction
from device_agent.tasks.errors import BundleInvalid
from tests.helpers.devices import VirtualDevice, event
from tests.helpers.fake_cloud import FakeCloud
from tests.helpers.manual_clock import ManualClock

ECHO = "def on_event(event): emit('answer', event.payload)"


class Changing:
    """Conditions that a test changes."""

    def __init__(self) -> None:
        self.now = Conditions()

    def read(self) -> Conditions:
        return self.now


@pytest.fixture
def conditions() -> Changing:
    return Changing()


@pytest.fixture
def cloud() -> FakeCloud:
    return FakeCloud(ManualClock())


@pytest.fixture
def device(cloud: FakeCloud, tmp_path: Path, conditions: Changing) -> Iterator[VirtualDevice]:
    cloud.publish("echo", 1, ECHO, triggers=[1001], resources={"model.bin": b"m" * 9_000})
    cloud.publish("echo", 2, ECHO + "  #", triggers=[1001], resources={"model.bin": b"m" * 9_000})
    cloud.release("echo", 1)
    with VirtualDevice(
        cloud,
        tmp_path / "home",
        clock=ManualClock(),
        conditions=conditions,
        policy=LocalPolicy(metered_bytes_max=5_000, disk_quota_bytes=20_000),
        settings=AgentSettings(retry_ms_max=2_000, given_up_retry_ms=60_000),
    ) as device:
        yield device


def version(device: VirtualDevice) -> int:
    row = device.core.store.held.tasks().get("echo")
    return row.version if row is not None else 0


def codes(device: VirtualDevice, outcome: int) -> list[str]:
    return [ack.error_code for ack in device.known.acks if ack.outcome == outcome]


@pytest.mark.parametrize(
    ("now", "code"),
    [
        (Conditions(battery_percent=3), "BATTERY_LOW"),
        (Conditions(network=Network.METERED), "NETWORK_METERED"),
        (Conditions(network=Network.OFFLINE), "NETWORK_OFFLINE"),
    ],
)
async def test_a_deferral_is_told_once_and_ends_by_itself(
    device: VirtualDevice, conditions: Changing, now: Conditions, code: str
) -> None:
    conditions.now = now
    await device.turns(8)
    assert version(device) == 0
    assert codes(device, device_pb2.OUTCOME_DEFERRED) == [code]
    assert device.known.installed["echo"] == (1, device_pb2.TASK_STATE_PENDING)
    conditions.now = Conditions()
    await device.until(lambda: version(device) == 1)


async def test_opting_out_holds_installation_and_runs(device: VirtualDevice) -> None:
    await device.turns(2)
    with device.core.store.transaction():
        device.core.store.held.put_opted_out("echo", True)
    device.core.feed([event(1)])
    await device.turns(2)
    assert device.pool.runs == []
    with device.core.store.transaction():
        device.core.store.held.put_opted_out("echo", False)
    device.core.feed([event(2)])
    await device.turns(2)
    assert [uid for _, uid in device.pool.runs] == [event(2).uid]


async def test_the_disk_quota_counts_what_lies_there(
    cloud: FakeCloud, device: VirtualDevice
) -> None:
    await device.turns(2)
    cloud.publish("big", 1, ECHO, triggers=[1], resources={"big.bin": b"b" * 12_000})
    cloud.release("big", 1)
    await device.turns(3)
    assert codes(device, device_pb2.OUTCOME_DEFERRED) == ["DISK_QUOTA"]


async def test_files_that_lie_there_are_not_fetched_again(
    cloud: FakeCloud, device: VirtualDevice
) -> None:
    await device.turns(2)
    cloud.release("echo", 2)
    await device.turns(2)
    assert version(device) == 2
    model = next(file for file in cloud.versions["echo", 2].files if file.path == "model.bin")
    assert cloud.fetched[model.digest] == 1


async def test_a_damaged_file_of_the_old_version_is_fetched_for_the_new_one(
    cloud: FakeCloud, device: VirtualDevice
) -> None:
    await device.turns(2)
    (model,) = (device.home / "bundles").rglob("model.bin")
    model.write_bytes(b"!" * 9_000)
    cloud.release("echo", 2)
    await device.turns(2)
    assert version(device) == 2
    new = device.core.runner._folders.folder(
        "echo", cloud.versions["echo", 2].digest, device.facts.python_tag
    )
    assert (new / "model.bin").read_bytes() == b"m" * 9_000


async def test_the_cloud_may_change_its_mind_while_files_are_on_their_way(
    cloud: FakeCloud, device: VirtualDevice
) -> None:
    await device.core.syncer.sync_if_due()
    fetch = device.known.supply.fetch

    async def slow(
        instruction: TaskInstruction, missing: Sequence[tuple[BundleFile, Path]], now_ms: int
    ) -> None:
        await fetch(instruction, missing, now_ms)
        cloud.release("echo", 0 if instruction.version == 1 else instruction.version)
        device.clock.advance_ms(1_100)
        await device.core.syncer.sync_if_due()

    device.core.installer._supply.fetch = slow  # type: ignore[method-assign]  # an answer comes in the middle
    await device.core.installer.install_wanted()
    assert version(device) == 0
    assert device.core.store.held.bundles() == []
    device.core.installer.clean_up()
    assert not list((device.home / "bundles").iterdir())


async def test_the_outsides_faults_are_not_acknowledged(
    cloud: FakeCloud, device: VirtualDevice
) -> None:
    await device.core.syncer.sync_if_due()
    cloud.offline = True
    for _ in range(6):
        await device.core.installer.install_wanted()
        device.clock.advance_ms(2_000)
    cloud.offline = False
    await device.turns(3)
    assert version(device) == 1
    outcomes = [ack.outcome for ack in device.known.acks]
    assert outcomes == [device_pb2.OUTCOME_NOTIFIED, device_pb2.OUTCOME_INSTALLED]


async def test_after_its_tries_a_refused_bundle_comes_rarely(
    cloud: FakeCloud, device: VirtualDevice
) -> None:
    for file in cloud.versions["echo", 1].files:
        cloud.tampered[file.digest] = b"?"
    await device.turns(12)
    assert codes(device, device_pb2.OUTCOME_FAILED) == ["FILE_DAMAGED"]
    assert device.core.store.held.tasks()["echo"].tries == 5
    cloud.tampered.clear()
    await device.turns(5)
    assert version(device) == 0
    device.clock.advance_ms(60_000)
    await device.turns(2)
    assert version(device) == 1


async def test_a_bundle_of_another_task_is_refused(cloud: FakeCloud, device: VirtualDevice) -> None:
    other = cloud.publish("other", 1, ECHO, triggers=[1001])
    published = cloud.versions["echo", 1]
    cloud.versions["echo", 1] = replace(published, files=other.files)
    await device.turns(2)
    assert version(device) == 0
    assert codes(device, device_pb2.OUTCOME_FAILED) == ["TARGET_MISMATCH"]
    assert not list((device.home / "bundles").iterdir())


async def test_a_document_of_another_device_is_refused(
    cloud: FakeCloud, device: VirtualDevice
) -> None:
    device.known.link.device_id, own = cloud.enrol().device_id, device.known.device_id
    await device.turns(2)
    assert device.core.syncer.last_error == "DIRECTOR_FOR_ANOTHER_DEVICE"
    assert device.core.store.held.agent().document is None
    device.known.link.device_id = own
    await device.until(lambda: version(device) == 1)


async def test_an_older_document_is_refused(cloud: FakeCloud, device: VirtualDevice) -> None:
    await device.turns(2)
    before = device.core.store.held.agent()
    old = msgspec.structs.replace(cloud.document(device.known.device_id, {}), epoch=1)
    with pytest.raises(Exception, match="older"):
        await device.core.syncer._accept(cloud.signer.sign(old), "")
    assert device.core.store.held.agent() == before


def with_path(path: str) -> TaskInstruction:
    files = [
        BundleFile(path=name, digest="sha256:" + "0" * 64, size=1, scope=Scope.SHARED, target="t")
        for name in ("manifest.json", "code.bin", path)
    ]
    return TaskInstruction(task="echo", action=Action.INSTALL, files=tuple(files))


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "a/../../b", "a//b", "", "a\\b", ".hidden"]
)
def test_paths_that_leave_the_bundle_are_refused(path: str) -> None:
    with pytest.raises(BundleInvalid):
        check_paths(with_path(path))


def test_a_bundle_without_bytecode_is_refused() -> None:
    whole = with_path("a.bin")
    check_paths(whole)
    with pytest.raises(BundleInvalid):
        check_paths(msgspec.structs.replace(whole, files=whole.files[:1]))


async def test_clean_up_removes_rubbish_and_keeps_what_is_wanted(
    cloud: FakeCloud, device: VirtualDevice
) -> None:
    await device.turns(2)

    def make(name: str) -> Path:
        return device.home / name

    for folder in ("bundles/echo/stray", "bundles/gone/stray", "staging/bundles/half"):
        make(folder).mkdir(parents=True)
        (make(folder) / "file").write_bytes(b"x")
    make("staging/files/left.part").write_bytes(b"x")
    await device.core.syncer.sync_if_due()
    cloud.release("echo", 2)
    cloud.offline = False
    await device.core.syncer.sync_if_due()
    wanted = cloud.versions["echo", 2].files[0].digest.removeprefix("sha256:")
    make(f"staging/files/{wanted}.part").write_bytes(b"x")
    device.clock.advance_ms(2_000)
    await device.core.syncer.sync_if_due()
    device.core.installer.clean_up()
    assert [path.name for path in make("bundles").iterdir()] == ["echo"]
    assert len(list(make("bundles/echo").iterdir())) == 1
    assert [path.name for path in make("staging/files").iterdir()] == [f"{wanted}.part"]
    assert not list(make("staging/bundles").iterdir())
