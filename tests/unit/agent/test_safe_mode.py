"""Safe mode: who is blamed for the agent's death, who is taken out, and who gets off."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from shoal.device.v1 import device_pb2

from device_agent.agent.settings import AgentSettings
from device_agent.vm.errors import VmQueueFull
from device_agent.vm.interface import AT_ONCE, Answer, RunOrder, RunResult, VmSpec, answer_nothing
from tests.helpers.devices import VirtualDevice, event
from tests.helpers.fake_cloud import FakeCloud
from tests.helpers.fake_pool import FakePool
from tests.helpers.manual_clock import ManualClock


class Death(BaseException):
    """The process ends inside a task."""


class DeadlyPool(FakePool):
    """Kills the process in tasks whose key has the name; keeps count of what runs at once."""

    def __init__(self, deadly: str) -> None:
        super().__init__()
        self.deadly = deadly
        self.now = 0
        self.most = 0

    async def run(
        self,
        spec: VmSpec,
        event: bytes,
        *,
        order: RunOrder = AT_ONCE,
        on_start: Callable[[], None] | None = None,
        answer: Answer = answer_nothing,
    ) -> RunResult:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        if spec.key.startswith(self.deadly):
            assert on_start is not None
            on_start()
            raise Death
        self.now -= 1
        return await super().run(spec, event, order=order, on_start=on_start, answer=answer)


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
    started = asyncio.Event()

    class Slow(FakePool):
        async def run(
            self,
            spec: VmSpec,
            event: bytes,
            *,
            order: RunOrder = AT_ONCE,
            on_start: Callable[[], None] | None = None,
            answer: Answer = answer_nothing,
        ) -> RunResult:
            assert on_start is not None
            on_start()
            started.set()
            await asyncio.Event().wait()
            return await super().run(spec, event, order=order, answer=answer)

    device.core.runner._pool = Slow()
    running = asyncio.create_task(device.core.runner.run_pending())
    await asyncio.wait_for(started.wait(), 5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    device.reborn()
    assert deaths(device)["deadly"] == (0, False)


async def test_a_pool_without_room_is_asked_again_later(device: VirtualDevice) -> None:
    await device.turns(2)
    device.core.feed([event(1)])

    class Full(FakePool):
        async def run(
            self,
            spec: VmSpec,
            event: bytes,
            *,
            order: RunOrder = AT_ONCE,
            on_start: Callable[[], None] | None = None,
            answer: Answer = answer_nothing,
        ) -> RunResult:
            del spec, event, order, on_start, answer
            raise VmQueueFull("no room; try again")

    full = device.core.runner._pool
    device.core.runner._pool = Full()
    await device.core.runner.run_pending()
    device.core.runner._pool = full
    await device.core.runner.run_pending()
    assert device.pool.runs == []
    await device.turns(2)
    assert len(device.pool.runs) == 2
