"""The agent on the in-memory cloud: install, run, report, switch, roll back, remove, offline, wrong clock."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from shoal.device.v1 import device_pb2

from device_agent.tasks.director import Action
from tests.helpers.devices import VirtualDevice, event
from tests.helpers.fake_cloud import FakeCloud
from tests.helpers.manual_clock import ManualClock

ECHO = "def on_event(event): emit('answer', b'v1:' + event.payload)"
ECHO_2 = "def on_event(event): emit('answer', b'v2:' + event.payload)"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def cloud(clock: ManualClock) -> FakeCloud:
    return FakeCloud(clock)


@pytest.fixture
def device(cloud: FakeCloud, clock: ManualClock, tmp_path: Path) -> Iterator[VirtualDevice]:
    with VirtualDevice(cloud, tmp_path / "home", clock=clock) as device:
        yield device


def outcomes(device: VirtualDevice) -> list[tuple[int, str]]:
    return [(ack.outcome, ack.error_code) for ack in device.known.acks]


def versions(device: VirtualDevice) -> dict[str, int]:
    return {task: row.version for task, row in device.core.store.held.tasks().items()}


async def test_installs_runs_and_reports(cloud: FakeCloud, device: VirtualDevice) -> None:
    cloud.publish("echo", 1, ECHO, triggers=[1001])
    cloud.release("echo", 1)
    await device.turns(2)
    assert versions(device) == {"echo": 1}
    answers = device.core.feed([event(1, payload=b"a"), event(2, payload=b"b"), event(1)])
    assert [answer.status for answer in answers] == ["accepted", "accepted", "duplicate"]
    await device.turns(2)
    assert [report.payload for report in device.known.emits] == [b"v1:a", b"v1:b"]
    assert sum(device.known.runs.values()) == 2
    assert device.core.store.held.agent().reports_open == 0
    assert outcomes(device) == [
        (device_pb2.OUTCOME_NOTIFIED, ""),
        (device_pb2.OUTCOME_INSTALLED, ""),
    ]


async def test_a_switch_keeps_every_event_once(cloud: FakeCloud, device: VirtualDevice) -> None:
    cloud.publish("echo", 1, ECHO, triggers=[1001])
    cloud.publish("echo", 2, ECHO_2, triggers=[1001])
    cloud.release("echo", 1)
    await device.turns(1)
    device.core.feed([event(1)])
    await device.turns(1)
    cloud.release("echo", 2)
    device.core.feed([event(2)])
    await device.turns(2)
    device.core.feed([event(3)])
    await device.turns(2)
    ran = [version for (_, _, version), times in device.known.runs.items() if times == 1]
    assert sorted(ran) == [1, 2, 2] or sorted(ran) == [1, 1, 2]
    assert len(device.pool.retired) == 1
    folders = list((device.home / "bundles" / "echo").iterdir())
    assert len(folders) == 2
    device.core.installer.clean_up()
    assert len(list((device.home / "bundles" / "echo").iterdir())) == 1


async def test_rolls_back_without_fetching_again(cloud: FakeCloud, device: VirtualDevice) -> None:
    cloud.publish("echo", 1, ECHO, triggers=[1001])
    cloud.publish("echo", 2, ECHO_2, triggers=[1001])
    cloud.release("echo", 1)
    await device.turns(1)
    cloud.release("echo", 2)
    await device.turns(1)
    fetched = cloud.fetched.total()
    cloud.release("echo", 1, Action.ROLL_BACK)
    await device.turns(2)
    assert versions(device) == {"echo": 1}
    assert cloud.fetched.total() == fetched
    assert outcomes(device)[-1] == (device_pb2.OUTCOME_ROLLED_BACK, "")


async def test_remove_reports_the_events_it_ends(cloud: FakeCloud, device: VirtualDevice) -> None:
    cloud.publish("echo", 1, ECHO, triggers=[1001])
    cloud.release("echo", 1)
    await device.turns(1)
    device.core.feed([event(0)])
    await device.turns(1)
    device.core.feed([event(1)])
    cloud.release("echo", 0)
    await device.core.syncer.sync_if_due()
    assert versions(device) == {}
    await device.turns(2)
    assert len(device.pool.retired) == 1
    assert device.known.outcomes == {"ok": 1, "TASK_REMOVED": 1}
    assert not (device.home / "bundles" / "echo").exists() or device.core.installer.clean_up()
    assert outcomes(device)[-1] == (device_pb2.OUTCOME_REMOVED, "")


async def test_a_failing_run_is_consumed_with_its_report(
    cloud: FakeCloud, device: VirtualDevice
) -> None:
    cloud.publish("bad", 1, "def on_event(event): emit('answer', b''); 1 / 0", triggers=[1001])
    cloud.release("bad", 1)
    await device.turns(1)
    device.core.feed([event(1)])
    await device.turns(3)
    assert device.known.outcomes == {"TASK_ERROR": 1}
    assert device.known.emits == []
    assert device.core.store.held.agent().events_open == 0


async def test_offline_goes_on_and_tells_later(cloud: FakeCloud, device: VirtualDevice) -> None:
    cloud.publish("echo", 1, ECHO, triggers=[1001])
    cloud.release("echo", 1)
    await device.turns(2)
    cloud.offline = True
    device.core.feed([event(number) for number in range(5)])
    await device.turns(5)
    assert device.core.store.held.agent().reports_open == 10
    assert device.core.syncer.last_error == "PEER_UNREACHABLE"
    cloud.offline = False
    await device.until(lambda: sum(device.known.runs.values()) == 5)


async def test_the_kill_switch_is_remembered_offline(
    cloud: FakeCloud, device: VirtualDevice
) -> None:
    cloud.publish("echo", 1, ECHO, triggers=[1001])
    cloud.release("echo", 1)
    await device.turns(1)
    cloud.set_kill(tasks=["echo"])
    await device.turns(1)
    cloud.offline = True
    core = device.reborn()
    core.feed([event(1)])
    await device.turns(2)
    assert device.pool.runs == []
    cloud.offline = False
    await device.until(lambda: device.known.installed.get("echo") == (1, 5))
    cloud.set_kill()
    await device.until(lambda: device.known.installed.get("echo") == (1, 2))
    core.feed([event(2)])
    await device.turns(2)
    assert [uid for _, uid in device.pool.runs] == [event(2).uid]


@pytest.mark.parametrize("wrong_ms", [0, 4_000_000_000_000])
async def test_a_wrong_clock_is_mended(
    cloud: FakeCloud, clock: ManualClock, tmp_path: Path, wrong_ms: int
) -> None:
    wrong = ManualClock(wall_ms=wrong_ms)
    cloud.publish("echo", 1, ECHO, triggers=[1001])
    cloud.release("echo", 1)
    with VirtualDevice(cloud, tmp_path / "home", clock=wrong) as device:
        await device.turns(3)
        assert versions(device) == {"echo": 1}
        assert abs(device.core.clock.wall_ms() - clock.wall_ms()) < 60_000
        assert [notice.code for notice in device.known.notices] == ["CLOCK_MENDED"]
        core = device.reborn()
        assert abs(core.clock.wall_ms() - clock.wall_ms()) < 60_000


async def test_an_expired_document_installs_nothing_and_is_told_once(
    cloud: FakeCloud, device: VirtualDevice, clock: ManualClock
) -> None:
    cloud.publish("echo", 1, ECHO, triggers=[1001])
    cloud.publish("echo", 2, ECHO_2, triggers=[1001])
    cloud.release("echo", 1)
    await device.turns(1)
    cloud.release("echo", 2)
    await device.core.syncer.sync_if_due()
    cloud.offline = True
    clock.advance_ms(cloud.validity_ms + 1)
    device.core.feed([event(1)])
    await device.turns(3)
    device.reborn()
    await device.turns(3)
    assert versions(device) == {"echo": 1}
    cloud.offline = False
    await device.until(lambda: versions(device) == {"echo": 2})
    await device.turns(2)
    assert [notice.code for notice in device.known.notices] == ["DIRECTOR_EXPIRED"]
    assert device.known.runs == {(event(1).uid, "echo", 1): 1}


async def test_the_clouds_answer_comes_back_as_an_event(
    cloud: FakeCloud, device: VirtualDevice
) -> None:
    source = (
        "def on_event(event):\n"
        "    emit('escalate' if event.event_id == 1001 else 'answer', event.payload)"
    )
    cloud.answers["escalate"] = 1002
    cloud.publish(
        "ask", 1, source, triggers=[1001], emit=("answer", "escalate"), replies={"escalate": 1002}
    )
    cloud.release("ask", 1)
    await device.turns(1)
    device.core.feed([event(number) for number in range(3)])
    await device.until(lambda: len(device.known.emits) == 6)
    assert device.known.replies == {}
    assert (
        sorted(report.topic for report in device.known.emits) == ["answer"] * 3 + ["escalate"] * 3
    )


async def test_a_tampered_file_is_refused_and_the_old_version_runs(
    cloud: FakeCloud, device: VirtualDevice
) -> None:
    cloud.publish("echo", 1, ECHO, triggers=[1001])
    published = cloud.publish("echo", 2, ECHO_2, triggers=[1001])
    cloud.release("echo", 1)
    await device.turns(1)
    code = next(file for file in published.files if file.path == "code.bin")
    cloud.tampered[code.digest] = b"evil"
    cloud.release("echo", 2)
    before = sorted((device.home / "bundles").rglob("*"))
    await device.turns(3)
    assert versions(device) == {"echo": 1}
    assert (device_pb2.OUTCOME_FAILED, "FILE_DAMAGED") in outcomes(device)
    assert sorted((device.home / "bundles").rglob("*")) == before
    assert device.known.installed["echo"] == (2, device_pb2.TASK_STATE_FAILED)
    cloud.tampered.clear()
    await device.until(lambda: versions(device) == {"echo": 2})


async def test_an_answer_to_the_log_before_drops_nothing_of_the_new_one(
    cloud: FakeCloud, device: VirtualDevice
) -> None:
    cloud.publish("echo", 1, ECHO, triggers=[1001])
    cloud.release("echo", 1)
    await device.turns(1)
    store, link = device.core.store, device.known.link
    sync = link.sync

    async def renumbered(request: device_pb2.SyncRequest) -> device_pb2.SyncResponse:
        response = await sync(request)
        with store.transaction():
            store.outbox.renumber(b"n" * 16)
        device.core.syncer.forget_sent()
        return response

    link.sync = renumbered  # type: ignore[method-assign]  # the log changes while the call is on its way
    waiting = store.outbox.ack_count()
    assert waiting > 0
    await device.turns(1)
    assert store.outbox.ack_count() == waiting
    link.sync = sync  # type: ignore[method-assign]  # and is as before
    await device.until(lambda: store.outbox.ack_count() == 0)
