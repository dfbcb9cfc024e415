"""Calls that follow each other closely: answered without a turn of the event loop, and fair all the same."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from device_agent.vm.errors import VmClosed
from device_agent.vm.machine import Hub, Vm
from device_agent.vm.settings import CALLS_IN_A_ROW_MAX, VmSettings
from tests.helpers.tasks_in_vm import make_event, make_spec

ECHO = """
from shoal_task import emit
def on_event(event):
    for _ in range(event.payload[0]): sum(range(1000))
    emit('out', event.payload)
"""
LOOKS_OUT_US = 1_000_000  # so long that a busy machine does not decide how a call is answered


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    made = Hub(VmSettings(spin_us=LOOKS_OUT_US))
    yield made
    made.close()


async def _warm(hub: Hub) -> Vm:
    vm = hub.create(make_spec(ECHO), load_ms=5_000, on_ended=lambda _: None)
    assert (await vm.ready).outcome == "ok"
    return vm


async def _end(vm: Vm) -> None:
    vm.close()
    await vm.ended


async def test_answers_are_those_of_their_calls(hub: Hub) -> None:
    vm = await _warm(hub)
    for number in range(300):
        payload = bytes([number % 3, number % 251])
        result = await vm.call(make_event(payload))
        assert (result.outcome, result.emits[0].payload) == ("ok", payload)
        assert result.memory_bytes > 0
    await _end(vm)


async def test_calls_at_once_on_one_vm_are_not_mixed_up(hub: Hub) -> None:
    vm = await _warm(hub)
    for number in range(50):
        await vm.call(make_event(b"\0"))  # its thread looks out now
        payloads = [bytes([10 * (one == 0), number, one]) for one in range(4)]
        results = await asyncio.gather(*[vm.call(make_event(payload)) for payload in payloads])
        assert [result.emits[0].payload for result in results] == payloads
    await _end(vm)


async def test_a_caller_in_a_row_leaves_turns_to_others(hub: Hub) -> None:
    vm = await _warm(hub)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    calls = 40 * CALLS_IN_A_ROW_MAX
    for _ in range(calls):
        await vm.call(make_event(b"\0"))
    beside.cancel()
    assert turns >= calls // (CALLS_IN_A_ROW_MAX + 1)
    await _end(vm)


async def test_without_looking_out_every_call_takes_a_turn_of_the_loop() -> None:
    hub = Hub(VmSettings(spin_us=0))
    vm = await _warm(hub)
    for _ in range(20):
        call = asyncio.create_task(vm.call(make_event(b"\0")))
        await asyncio.sleep(0)
        assert not call.done()
        await call
    await _end(vm)
    hub.close()


async def test_a_call_is_refused_when_the_vm_has_ended_while_it_looks_out(hub: Hub) -> None:
    vm = await _warm(hub)
    while vm._in_a_row < 2:  # its thread looks out
        await vm.call(make_event(b"\0"))
    vm.close()
    with pytest.raises(VmClosed, match="takes no more runs"):
        await vm.call(make_event(b"\0"))
    await vm.ended
