"""Events and tensors are read where they lie: the host changes its buffer, and the task sees it without being told."""

import asyncio
import gc
import sys

from shoal_task.event import HEADER_BYTES, Event

from device_agent.vm.interface import RunResult, VmLimits
from device_agent.vm.pool import InterpreterPool
from tests.helpers.tasks_in_vm import make_event, make_spec

BIG = 60_000
LOOKING_TWICE = """
    from shoal_task import border, emit, tensor
    def on_event(event):
        whole = tensor.frombuffer(event.view, "uint8")
        part = whole[:8]
        border.ask("host", b"change it")
        emit("out", bytes(event.view[:4]) + part.tobytes()[:4])
        emit("out", event.payload[:4])
"""
KEEPING = """
    from shoal_task import emit
    kept = []
    def on_event(event):
        if event.event_id == 1: kept.append(event.view)
        if event.event_id == 2: emit("out", b"".join(bytes(one[:2]) for one in kept))
        if event.event_id == 3: kept.clear()
"""


def exported(buffer: bytearray) -> bool:
    """Whether somebody reads the buffer where it lies; a bytearray that is read cannot grow."""
    try:
        buffer.append(0)
    except BufferError:
        return True
    buffer.pop()
    return False


async def run_on(
    pool: InterpreterPool, source: str, buffer: bytearray, change: bytes = b""
) -> RunResult:
    def answer(what: str, data: bytes) -> bytes:
        assert (what, data) == ("host", b"change it")
        buffer[HEADER_BYTES : HEADER_BYTES + len(change)] = change
        return b""

    return await pool.run(make_spec(source), buffer, answer=answer)  # type: ignore[arg-type]  # a buffer like any


async def test_a_task_and_its_tensors_read_the_hosts_own_bytes(pool: InterpreterPool) -> None:
    buffer = bytearray(make_event(b"before" + bytes(BIG)))
    result = await run_on(pool, LOOKING_TWICE, buffer, b"after!")
    assert (result.outcome, result.message) == ("ok", "")
    view_and_tensor, copy = [emit.payload for emit in result.emits]
    assert view_and_tensor == b"afte" * 2
    assert copy == b"afte"  # made when it was asked for, which was later
    assert result.engine_bytes == 0  # the tensors are views


async def test_the_bytes_are_given_back_after_the_run(pool: InterpreterPool) -> None:
    buffer = bytearray(make_event(bytes(BIG)))
    spec = make_spec("def on_event(event): event.view")
    running = asyncio.ensure_future(pool.run(spec, buffer))  # type: ignore[arg-type]  # as above
    await asyncio.sleep(0)
    assert (await running).outcome == "ok"
    await pool.run(spec, make_event())
    assert not exported(buffer)


async def test_what_a_task_keeps_stays_readable_and_is_charged_to_it(pool: InterpreterPool) -> None:
    spec = make_spec(KEEPING)
    buffers = [bytearray(make_event(b"%02d" % n + bytes(BIG))) for n in range(20)]
    for buffer in buffers:
        assert (await pool.run(spec, buffer)).outcome == "ok"  # type: ignore[arg-type]  # as above
    gc.collect()
    (vm,) = pool.vms()
    held_bytes = vm.used_bytes
    result = await pool.run(spec, make_event(event_id=2))
    assert result.emits[0].payload == b"".join(b"%02d" % n for n in range(20))
    assert all(exported(buffer) for buffer in buffers)
    await pool.run(spec, make_event(event_id=3))
    assert held_bytes - vm.used_bytes > 20 * BIG * 0.9
    await pool.run(spec, make_event(event_id=3))
    assert not any(exported(buffer) for buffer in buffers)


async def test_keeping_too_much_is_the_tasks_own_memory(pool: InterpreterPool) -> None:
    spec = make_spec(KEEPING, limits=VmLimits(wall_ms=20_000, memory_mib=12))
    outcomes = [(await pool.run(spec, make_event(bytes(BIG)))).outcome for _ in range(250)]
    assert "MEMORY_LIMIT" in outcomes
    assert (await pool.run(spec, make_event(event_id=3))).outcome == "ok"


async def test_what_a_vm_still_held_is_given_back_when_it_ends(pool: InterpreterPool) -> None:
    source = KEEPING + "    kept.append(kept)  # a cycle that nobody breaks\n"
    spec = make_spec(source)
    data = make_event(b"x" * BIG)
    before = sys.getrefcount(data)
    assert (await pool.run(spec, data)).outcome == "ok"
    (vm,) = pool.vms()
    await pool.retire(spec.key)
    await vm.ended
    await asyncio.sleep(0)
    other = make_spec("def on_event(event): pass")
    await pool.run(other, make_event())
    assert sys.getrefcount(data) == before


def test_an_event_is_a_view_of_the_bytes_that_it_was_read_from() -> None:
    data = make_event(b"abc")
    event = Event.from_bytes(data)
    assert event.view.obj is data
    assert event.view.readonly
    assert (event.payload, bytes(event.view)) == (b"abc", b"abc")
    assert event == Event(1, b"abc", uid=bytes(16))


def test_a_buffer_that_others_write_into_is_copied() -> None:
    data = bytearray(make_event(b"abc"))
    event = Event.from_bytes(memoryview(data))
    data[HEADER_BYTES] = 0
    assert event.payload == b"abc"
