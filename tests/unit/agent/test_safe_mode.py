"""Safe mode: who is blamed for the agent's death, who is taken out, and who gets off."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from shoal.device.v1 import device_pb2

from device_agent.agent.settings import AgentSettings
from device_agent.tasks.manifest import Schedule
from tests.helpers.devices import VirtualDevice, event
from tests.helpers.fake_cloud import FakeCloud
from tests.helpers.manual_clock import ManualClock
from tests.helpers.odd_pools import DeadlyPool, Death, FullPool, SlowPool


@pytest.fixture
def cloud() -> FakeCloud:
    return FakeCloud(ManualClock())


@pytest.fixture
def device(cloud: FakeCloud, tmp_path: Path) -> Iterator[VirtualDevice]:
    clock = ManualClock()
    with VirtualDevice(cloud, tmp_path / "home", clock=clock) as device:
        for task in ("deadly", "good"):
            source = f"def on_event(event): emit('answer', b'{task}')"
            cloud.publish(task, 1, source, triggers=[1001])
            cloud.publish(task, 2, source + "  # mended", triggers=[1001])
            cloud.release(task, 1)
        yield device


async def die(device: VirtualDevice) -> DeadlyPool:
    pool = DeadlyPool("deadly")
    device.core.runner._pool = pool
    with pytest.raises(BaseExceptionGroup) as caught:
        await device.core.runner.run_pending()
    assert caught.value.subgroup(Death) is not None
    device.reborn()
    return pool


def deaths(device: VirtualDevice) -> dict[str, tuple[int, bool]]:
    rows = device.core.store.held.tasks().values()
    return {row.task: (row.deaths, row.quarantined) for row in rows}


async def test_a_deadly_task_is_quarantined_and_a_new_version_frees_it(
    cloud: FakeCloud, device: VirtualDevice
) -> None:
    await device.turns(2)
    device.core.feed([event(1)])
    limit = AgentSettings().deaths_max
    for number in range(1, limit + 1):
        await die(device)
        assert deaths(device)["deadly"] == (number, number >= limit)
    await device.turns(3)
    assert ("deadly", 1) not in {(task, v) for _, task, v in device.known.runs}
    assert device.known.runs[(event(1).uid, "good", 1)] == 1
    assert [notice.code for notice in device.known.notices] == ["TASK_QUARANTINED"]
    last = device.known.acks[-1]
    assert (last.outcome, last.error_code) == (device_pb2.OUTCOME_FAILED, "TASK_QUARANTINED")
    assert device.known.installed["deadly"] == (1, device_pb2.TASK_STATE_QUARANTINED)
    cloud.release("deadly", 2)
    await device.turns(3)
    assert device.known.runs[(event(1).uid, "deadly", 2)] == 1


async def test_a_suspect_runs_alone_and_the_innocent_is_cleared(device: VirtualDevice) -> None:
    await device.turns(2)
    device.core.feed([event(1), event(2)])
    await die(device)
    blamed = deaths(device)
    assert blamed["good"][0] + blamed["deadly"][0] >= 1
    pool = DeadlyPool("nobody")
    device.core.runner._pool = pool
    await device.core.runner.run_pending()
    assert deaths(device) == {"deadly": (0, False), "good": (0, False)}
    assert len(pool.runs) >= 2
    suspects = {task for task, (count, _) in blamed.items() if count}
    for task in suspects:  # the first event of a suspect; the next follows when it has been cleared
        orders = [order.alone for key, order in pool.orders if key.startswith(task)]
        assert orders == [True, False]


async def test_a_finished_run_takes_the_blame_away(device: VirtualDevice) -> None:
    await device.turns(2)
    for number in range(1, 6):
        device.core.feed([event(number)])
        await die(device)
        await device.turns(1)
        assert deaths(device)["deadly"] == (0, False)


async def test_stopping_the_agent_is_no_death(device: VirtualDevice) -> None:
    await device.turns(2)
    device.core.feed([event(1)])
    device.core.runner._pool = slow = SlowPool()
    running = asyncio.create_task(device.core.runner.run_pending())
    await asyncio.wait_for(slow.begun.wait(), 5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    device.reborn()
    assert deaths(device)["deadly"] == (0, False)


async def test_a_pool_without_room_is_asked_again_later(device: VirtualDevice) -> None:
    await device.turns(2)
    device.core.feed([event(1)])
    roomy = device.core.runner._pool
    device.core.runner._pool = FullPool()
    await device.core.runner.run_pending()
    device.core.runner._pool = roomy
    await device.core.runner.run_pending()
    assert device.pool.runs == []
    await device.turns(2)
    assert len(device.pool.runs) == 2


async def test_events_that_were_dropped_clear_nobody(
    cloud: FakeCloud, device: VirtualDevice
) -> None:
    """A restart takes longer than the deadline of what waits: the guilty must not get off by that, again and again."""
    source = "def on_event(event): emit('answer', b'deadly')"
    cloud.publish("deadly", 3, source, triggers=[1001], schedule=Schedule(deadline_ms=500))
    cloud.release("deadly", 3)
    await device.turns(4)
    limit = AgentSettings().deaths_max
    for number in range(1, limit + 1):
        device.core.feed([event(10 * number), event(10 * number + 1)])
        await die(device)
        device.clock.advance_ms(60_000)
        await device.core.runner.run_pending()  # both events are too late by now
        assert device.core.store.held.agent().events_open == 0 or number == limit
        assert deaths(device)["deadly"] == (number, number >= limit)


async def test_a_run_that_failed_clears_as_well_as_one_that_ended_well(
    cloud: FakeCloud, device: VirtualDevice
) -> None:
    cloud.publish("deadly", 3, "def on_event(event): raise ValueError(event)", triggers=[1001])
    cloud.release("deadly", 3)
    await device.turns(4)
    device.core.feed([event(1)])
    await die(device)
    assert deaths(device)["deadly"] == (1, False)
    await device.core.runner.run_pending()
    assert deaths(device)["deadly"] == (0, False)
