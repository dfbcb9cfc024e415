"""Places, queue and switches of the pool."""

import asyncio

import pytest

from device_agent.vm.errors import LimitInvalid, VmClosed, VmQueueFull
from device_agent.vm.interface import VmLimits, VmSpec
from device_agent.vm.pool import InterpreterPool
from device_agent.vm.settings import VmSettings
from tests.helpers.tasks_in_vm import make_event, make_spec

COUNT = """
from shoal_task import emit
count = 0
def on_event(event):
    global count
    count += 1
    emit('out', bytes([count]))
"""
SLEEP = """
import time
from shoal_task import emit
def on_event(event):
    time.sleep(0.1)
    emit('out', event.payload)
"""


def _count(key: str) -> VmSpec:
    return make_spec(COUNT, key=key)


async def _run(pool: InterpreterPool, spec: VmSpec, payload: bytes = b"") -> bytes:
    result = await pool.run(spec, make_event(payload))
    assert result.outcome == "ok", result
    return result.emits[0].payload


async def test_the_least_recently_used_vm_makes_room() -> None:
    pool = InterpreterPool(VmSettings(vms_max=2))
    for key in ("a", "b", "a"):
        await _run(pool, _count(key))
    assert await _run(pool, _count("c")) == b"\1"
    assert await _run(pool, _count("a")) == b"\3"  # b went
    assert await _run(pool, _count("b")) == b"\1"
    assert pool.stats().vms == 2
    await pool.close()


async def test_one_key_runs_one_event_at_a_time_in_order_by_default(pool: InterpreterPool) -> None:
    spec = _count("one")
    payloads = await asyncio.gather(*[_run(pool, spec) for _ in range(20)])
    assert payloads == [bytes([n]) for n in range(1, 21)]
    assert pool.stats().vms == 1


async def test_concurrency_gives_a_key_more_vms(pool: InterpreterPool) -> None:
    spec = make_spec(SLEEP, concurrency=3)
    await asyncio.gather(*[_run(pool, spec, b"x") for _ in range(6)])
    assert pool.stats().vms == 3


async def test_a_full_queue_turns_away_and_says_so() -> None:
    pool = InterpreterPool(VmSettings(queue_events_max=1))
    spec = make_spec(SLEEP)
    runs = [asyncio.create_task(pool.run(spec, make_event())) for _ in range(3)]
    done = await asyncio.gather(*runs, return_exceptions=True)
    assert [type(one) is VmQueueFull for one in done] == [False, False, True]
    await pool.close()


async def test_an_event_that_cannot_start_does_not_hold_up_another_key(
    pool: InterpreterPool,
) -> None:
    slow = make_spec(SLEEP)
    blocked = [asyncio.create_task(pool.run(slow, make_event())) for _ in range(2)]
    await asyncio.sleep(0)
    await _run(pool, _count("quick"))
    assert not blocked[1].done()
    await asyncio.gather(*blocked)


async def test_retire_lets_the_running_event_finish_and_turns_away_the_waiting(
    pool: InterpreterPool,
) -> None:
    spec = make_spec(SLEEP, key="switch")
    running, waiting = [asyncio.create_task(pool.run(spec, make_event(b"x"))) for _ in range(2)]
    await asyncio.sleep(0)
    assert pool.stats().waiting == 1
    await pool.retire("switch")
    assert (await running).outcome == "ok"
    with pytest.raises(VmClosed, match="retired"):
        await waiting
    assert pool.stats().vms == 0
    assert await _run(pool, spec, b"again") == b"again"


async def test_a_cancelled_wait_leaves_the_queue(pool: InterpreterPool) -> None:
    spec = make_spec(SLEEP)
    first, second = [asyncio.create_task(pool.run(spec, make_event(b"x"))) for _ in range(2)]
    await asyncio.sleep(0)
    assert pool.stats().waiting == 1
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert pool.stats().waiting == 0
    assert (await first).outcome == "ok"


async def test_close_ends_idle_running_and_waiting() -> None:
    pool = InterpreterPool(VmSettings(close_ms=10))
    loop = make_spec("def on_event(event):\n    while True: pass", limits=VmLimits(wall_ms=60_000))
    running, waiting = [asyncio.create_task(pool.run(loop, make_event())) for _ in range(2)]
    await _run(pool, _count("idle"))
    await pool.close()
    assert (await running).outcome == "RUN_CANCELLED"
    with pytest.raises(VmClosed):
        await waiting
    with pytest.raises(VmClosed):
        await pool.run(loop, make_event())


@pytest.mark.parametrize(
    "limits", [{"wall_ms": 0}, {"memory_mib": 1}, {"output_bytes": -1}, {"log_lines": 10**9}]
)
def test_limits_outside_their_range_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(LimitInvalid, match=next(iter(limits))):
        VmLimits(**limits)
