"""A VM that is made ahead: who gets it, that it is bounded like any other, and that it ends when nobody wants it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from device_agent.vm import _host
from device_agent.vm.interface import VmLimits, VmSpec
from device_agent.vm.machine import Hub, Vm
from device_agent.vm.settings import VmSettings
from tests.helpers.tasks_in_vm import make_event, make_spec
from tests.helpers.vm_script import run_vm_script

ECHO = "from shoal_task import emit\ndef on_event(event): emit('out', event.payload)"


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    made = Hub()
    yield made
    made.close()


async def loaded(hub: Hub, spec: VmSpec) -> Vm:
    vm = hub.create(spec, load_ms=10_000, on_ended=lambda _: None)
    result = await vm.ready
    assert result.outcome == "ok", result
    return vm


async def test_the_second_vm_is_the_one_that_was_made_ahead(hub: Hub) -> None:
    first = await loaded(hub, make_spec(ECHO, key="first"))
    created = _host.counters()["created"]
    second = await loaded(hub, make_spec(ECHO, key="second"))
    third = _host.counters()["created"]
    assert third == created + 1  # only the next spare: the second itself was there
    for vm in (first, second):
        assert (await vm.call(make_event(b"x"))).emits[0].payload == b"x"
        vm.close()
    await asyncio.wait_for(asyncio.gather(first.ended, second.ended), 10)


async def test_its_limits_are_its_tasks(hub: Hub) -> None:
    await loaded(hub, make_spec(ECHO))
    limits = VmLimits(wall_ms=60, memory_mib=16, engine_mib=1)
    slow = await loaded(hub, make_spec("def on_event(event):\n    while True: pass", limits=limits))
    assert (await slow.call(make_event())).outcome == "WALL_LIMIT"
    big = await loaded(hub, make_spec("def on_event(event): bytearray(30 << 20)", limits=limits))
    assert (await big.call(make_event())).outcome == "MEMORY_LIMIT"
    tensors = "from shoal_task import tensor\ndef on_event(event): tensor.zeros(300_000)"
    wide = await loaded(hub, make_spec(tensors, limits=limits))
    assert (await wide.call(make_event())).outcome == "ENGINE_MEMORY_LIMIT"


async def test_none_is_made_where_none_is_wanted() -> None:
    hub = Hub(VmSettings(spare=False))
    created = _host.counters()["created"]
    vm = await loaded(hub, make_spec(ECHO))
    vm.close()
    await asyncio.wait_for(vm.ended, 10)
    assert _host.counters()["created"] == created + 1
    hub.close()


@pytest.mark.slow
def test_a_spare_holds_up_no_end_and_costs_little() -> None:
    done = run_vm_script("""
        def resident_kib():
            lines = open("/proc/self/smaps_rollup").read().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))
        async def main():
            plain = InterpreterPool(VmSettings(spare=False))
            spec = make_spec("def on_event(event): pass")
            for _ in range(3):
                await plain.run(spec, make_event())
                await plain.retire(spec.key)
            await plain.run(spec, make_event())
            before = resident_kib()
            pool = InterpreterPool()
            assert (await pool.run(spec, make_event())).outcome == "ok"
            await asyncio.sleep(0.5)
            held = resident_kib() - before
            assert _host.counters()["live"] == 3, _host.counters()
            assert held < 2 * 4096, held
            await pool.close()
            await plain.close()
            for _ in range(200):
                if _host.counters()["live"] == 0: break
                await asyncio.sleep(0.02)
            print("live", _host.counters()["live"])
        asyncio.run(main())
        process.drain_and_exit(0)
    """)
    assert (done.returncode, done.stdout) == (0, "live 0\n"), done.stderr[-3000:]
