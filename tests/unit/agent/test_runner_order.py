"""What the runner hands to the pool, and what becomes of events that wait there for their turn."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agent.agent.settings import AgentSettings
from device_agent.tasks.manifest import Schedule
from device_agent.vm.turns import Priority
from tests.helpers.devices import VirtualDevice, event
from tests.helpers.fake_cloud import FakeCloud
from tests.helpers.manual_clock import ManualClock
from tests.helpers.odd_pools import QueuePool, SlowPool

ECHO = "def on_event(event): emit('answer', event.payload)"
HANDED = 3


@pytest.fixture
def cloud() -> FakeCloud:
    return FakeCloud(ManualClock())


@pytest.fixture
def device(cloud: FakeCloud, tmp_path: Path) -> Iterator[VirtualDevice]:
    settings = AgentSettings(events_handed_max=HANDED)
    clock = ManualClock()
    with VirtualDevice(cloud, tmp_path / "home", clock=clock, settings=settings) as device:
        yield device


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def queued(device: VirtualDevice) -> tuple[QueuePool, "asyncio.Task[None]"]:
    """Five events of which three wait in the pool."""
    pool = QueuePool()
    device.core.runner._pool = pool
    device.core.feed([event(number) for number in range(5)])
    running = asyncio.create_task(device.core.runner.run_pending())
    await settle()
    assert len(pool.lines) == HANDED
    return pool, running


async def test_a_few_events_are_handed_ahead_and_all_run_in_order(
    cloud: FakeCloud, device: VirtualDevice
) -> None:
    cloud.publish("echo", 1, ECHO, triggers=[1001])
    cloud.release("echo", 1)
    await device.turns(1)
    pool, running = await queued(device)
    assert device.core.store.log.take_running() == []  # none of them has begun
    while not running.done():
        pool.begin(1)
        await settle()
    await running
    assert [uid for _, uid in pool.runs] == [event(number).uid for number in range(5)]


async def test_events_that_wait_when_the_version_changes_run_in_the_new_one(
    cloud: FakeCloud, device: VirtualDevice
) -> None:
    cloud.publish("echo", 1, ECHO, triggers=[1001])
    cloud.publish("echo", 2, ECHO + "  # 2", triggers=[1001])
    cloud.release("echo", 1)
    await device.turns(1)
    pool, running = await queued(device)
    cloud.release("echo", 2)
    await device.core.syncer.sync_if_due()
    device.clock.advance_ms(2_000)
    await device.core.syncer.sync_if_due()
    await device.core.installer.install_wanted()
    device.core.runner.wake()
    while not running.done():
        await settle()
        pool.begin(1)
    await running
    assert len({key for key, _ in pool.runs}) == 1
    assert sorted(uid for _, uid in pool.runs) == [event(number).uid for number in range(5)]
    assert len(pool.retired) == 1
    assert pool.retired[0] not in {key for key, _ in pool.runs}


async def test_the_kill_switch_reaches_events_that_wait_for_their_turn(
    cloud: FakeCloud, device: VirtualDevice
) -> None:
    cloud.publish("echo", 1, ECHO, triggers=[1001])
    cloud.release("echo", 1)
    await device.turns(1)
    pool, running = await queued(device)
    with device.core.store.transaction():
        device.core.store.held.put_opted_out("echo", True)
    device.core.runner.wake()
    await asyncio.wait_for(running, 5)
    assert pool.runs == []
    assert device.core.store.held.agent().events_open == 5


async def test_priority_and_deadline_come_from_the_manifest(
    cloud: FakeCloud, device: VirtualDevice
) -> None:
    schedule = Schedule(priority="background", deadline_ms=500)
    cloud.publish("late", 1, ECHO, triggers=[1001], schedule=schedule)
    cloud.release("late", 1)
    await device.turns(1)
    device.core.feed([event(1)])
    device.clock.advance_ms(200)
    device.core.feed([event(2)])
    device.clock.advance_ms(350)
    await device.core.runner.run_pending()
    orders = [order for _, order in device.pool.orders]
    assert [order.within_ms for order in orders] == [-50, 150]
    assert {order.priority for order in orders} == {Priority.BACKGROUND}
    assert [uid for _, uid in device.pool.runs] == [event(2).uid]
    assert (
        device.core.store.held.agent().events_open == 0
    )  # the late one was dropped, with a report
    await device.turns(2)
    assert device.known.outcomes == {"DEADLINE_PASSED": 1, "ok": 1}


async def test_an_event_from_before_the_device_restarted_has_its_whole_deadline(
    cloud: FakeCloud, device: VirtualDevice
) -> None:
    cloud.publish("late", 1, ECHO, triggers=[1001], schedule=Schedule(deadline_ms=500))
    cloud.release("late", 1)
    await device.turns(1)
    old = event(1)
    old.monotonic_ns = device.clock.monotonic_ns() + 10**12
    device.core.feed([old])
    await device.core.runner.run_pending()
    assert [order.within_ms for _, order in device.pool.orders] == [500]


async def test_a_full_outbox_holds_back_what_was_handed_already(
    cloud: FakeCloud, device: VirtualDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.publish("echo", 1, ECHO, triggers=[1001])
    cloud.release("echo", 1)
    await device.turns(1)
    pool, running = await queued(device)
    monkeypatch.setattr(device.core.store.outbox, "has_room", lambda: False)
    pool.begin(HANDED)
    await asyncio.wait_for(running, 5)
    assert pool.runs == []
    assert device.core.store.held.agent().events_open == 5


async def test_an_agent_that_stops_begins_nothing_new_and_ends_what_runs(
    cloud: FakeCloud, device: VirtualDevice
) -> None:
    cloud.publish("echo", 1, ECHO, triggers=[1001])
    cloud.release("echo", 1)
    await device.turns(1)
    pool = SlowPool()
    device.core.runner._pool = pool
    device.core.feed([event(number) for number in range(5)])
    stop = asyncio.Event()
    serving = asyncio.create_task(device.core.runner.serve(stop))
    await pool.begun.wait()
    await settle()
    assert pool.lines
    stop.set()
    device.core.runner.wake()
    await settle()
    assert not serving.done()
    pool.release.set()
    await asyncio.wait_for(serving, 5)
    assert [uid for _, uid in pool.runs] == [event(0).uid]
    assert device.core.store.held.agent().events_open == 4
    assert device.core.store.log.take_running() == []
