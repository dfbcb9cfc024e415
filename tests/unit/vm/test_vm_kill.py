"""Runs that do not end by themselves: killed in time, their VM replaced, neighbours untouched."""

import asyncio
from pathlib import Path

import pytest

from device_agent.vm import _host
from device_agent.vm.interface import RunResult, VmLimits
from device_agent.vm.pool import InterpreterPool
from device_agent.vm.settings import VmSettings
from tests.helpers.tasks_in_vm import make_event, make_spec
from tests.helpers.vm_script import run_vm_script

LIMITS = VmLimits(wall_ms=60)
GOOD = "from shoal_task import emit\ndef on_event(event): emit('out', event.payload)"

HOSTILE = {
    "loop": """
        def on_event(event):
            if event.payload: return
            while True: pass
    """,
    "catch_all": """
        def on_event(event):
            if event.payload: return
            while True:
                try:
                    while True: pass
                except BaseException: continue
    """,
    "nested_handlers": """
        def on_event(event):
            if event.payload: return
            def deep(n):
                try:
                    try:
                        if n: deep(n - 1)
                        while True: sum(range(50))
                    except BaseException: deep(n)
                    finally: deep(n)
                except BaseException:
                    deep(n)
            deep(3)
    """,
    "generator": """
        def forever():
            while True:
                try: yield 1
                except GeneratorExit: pass
                finally: pass
        def on_event(event):
            if event.payload: return
            for _ in forever(): pass
    """,
    "sleep": """
        import time
        def on_event(event):
            if event.payload: return
            while True:
                try: time.sleep(1000)
                except BaseException: pass
    """,
    "sleep_of_a_time_imported_anew": """
        import sys, time
        def on_event(event):
            if event.payload: return
            del sys.modules["time"]
            import time
            while True:
                try: time.sleep(1000)
                except BaseException: pass
    """,
    "recursion": """
        def deep():
            try: deep()
            except RecursionError: pass
            deep()
        def on_event(event):
            if event.payload: return
            while True:
                try: deep()
                except RecursionError: pass
    """,
    "finaliser": """
        class Stuck:
            def __del__(self):
                while True:
                    try:
                        while True: pass
                    except BaseException: pass
        def on_event(event):
            if event.payload: return
            Stuck()
    """,
    "str_of_the_exception": """
        class Stuck(Exception):
            def __str__(self):
                while True: pass
        def on_event(event):
            if event.payload: return
            raise Stuck
    """,
}  # fmt: skip


def _priorities() -> list[int]:
    """The nice value of each thread of this process."""
    threads = [one.read_text() for one in Path("/proc/self/task").glob("*/stat")]
    return [int(text.rpartition(")")[2].split()[16]) for text in threads]


@pytest.mark.parametrize("name", HOSTILE)
async def test_python_code_ends_after_its_limit_and_the_vm_is_replaced(
    pool: InterpreterPool, name: str
) -> None:
    spec = make_spec(HOSTILE[name], limits=LIMITS)
    result = await pool.run(spec, make_event())
    assert result.outcome == "WALL_LIMIT", result
    assert "60 ms" in result.message
    assert result.wall_us >= 60_000
    assert pool.stats().vms == 0
    assert (await pool.run(spec, make_event(b"good"))).outcome == "ok"
    assert pool.stats().quarantined == 0


@pytest.mark.parametrize("name", ["loop", "catch_all", "nested_handlers", "generator", "recursion"])
async def test_a_run_ends_after_its_processor_time(pool: InterpreterPool, name: str) -> None:
    spec = make_spec(HOSTILE[name], limits=VmLimits(wall_ms=60_000, cpu_ms=40))
    result = await pool.run(spec, make_event())
    assert result.outcome == "CPU_LIMIT", result
    assert "40 ms of processor time" in result.message
    assert result.wall_us >= 40_000
    assert pool.stats().vms == 0
    assert (await pool.run(spec, make_event(b"good"))).outcome == "ok"


async def test_each_run_has_processor_time_of_its_own_and_waiting_takes_none(
    pool: InterpreterPool,
) -> None:
    source = """
        import time
        def on_event(event):
            time.sleep(0.05)
            until = time.thread_time() + 0.03
            while time.thread_time() < until: pass
    """
    spec = make_spec(source, limits=VmLimits(wall_ms=60_000, cpu_ms=45))
    for _ in range(4):
        assert (await pool.run(spec, make_event())).outcome == "ok"


async def test_wall_time_ends_a_run_that_has_processor_time_left(pool: InterpreterPool) -> None:
    spec = make_spec(HOSTILE["loop"], limits=VmLimits(wall_ms=40, cpu_ms=30_000))
    assert (await pool.run(spec, make_event())).outcome == "WALL_LIMIT"


async def test_a_loop_at_import_is_killed_at_the_load_limit() -> None:
    source = "import time\ndef on_event(event): pass\ntime.sleep(1000)"
    impatient = InterpreterPool(VmSettings(load_ms=80))
    result = await impatient.run(make_spec(source), make_event())
    assert (result.outcome, "80 ms" in result.message) == ("WALL_LIMIT", True)
    await impatient.close()


async def test_a_neighbour_runs_on_while_another_is_killed(pool: InterpreterPool) -> None:
    good = make_spec(GOOD)
    bad = make_spec(HOSTILE["catch_all"], limits=LIMITS)
    await pool.run(good, make_event(b"warm"))
    killed = asyncio.create_task(pool.run(bad, make_event()))
    results: list[RunResult] = []
    while not killed.done():
        results.append(await pool.run(good, make_event(b"x")))
    assert (await killed).outcome == "WALL_LIMIT"
    assert len(results) > 10
    assert {result.outcome for result in results} == {"ok"}


async def test_a_call_nobody_waits_for_is_killed(pool: InterpreterPool) -> None:
    spec = make_spec(HOSTILE["sleep"], limits=VmLimits(wall_ms=100_000))
    assert (await pool.run(spec, make_event(b"good"))).outcome == "ok"
    (vm,) = pool._alive
    run = asyncio.create_task(pool.run(spec, make_event()))
    await asyncio.sleep(0)  # submitted; begun or not, it must end
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    await asyncio.wait_for(vm.ended, 5)
    assert (await pool.run(spec, make_event(b"good"))).outcome == "ok"


async def test_a_c_call_that_cannot_be_interrupted_is_quarantined(pool: InterpreterPool) -> None:
    stuck = make_spec(
        """
        import re
        def on_event(event):
            if event.payload: return
            re.match("(a+)+$", "a" * 25 + "b")  # seconds: far past limit and grace on any machine
        """,
        limits=LIMITS,
    )
    quick = make_spec(HOSTILE["loop"], limits=LIMITS)
    loop = asyncio.get_running_loop()
    began = loop.time()
    results = await asyncio.gather(pool.run(stuck, make_event()), pool.run(quick, make_event()))
    took_s = loop.time() - began
    assert [result.outcome for result in results] == ["WALL_LIMIT", "WALL_LIMIT"]
    assert "quarantined" in results[0].message
    assert "quarantined" not in results[1].message
    assert took_s < 2
    assert pool.stats().quarantined == 1
    assert _priorities().count(19) == 1
    assert (await pool.run(stuck, make_event(b"good"))).outcome == "ok"


async def test_memory_limit_ends_a_greedy_run_and_spares_the_process(
    pool: InterpreterPool,
) -> None:
    limits = VmLimits(wall_ms=5_000, memory_mib=32)
    small = make_spec(
        """
        def on_event(event):
            held = ()  # no list: its own growth is one big request, which is refused and changes nothing
            while True:
                try: held = (held, bytes(100))
                except BaseException: pass
        """,
        limits=limits,
    )
    big = make_spec("def on_event(event):\n    bytearray(40_000_000)", limits=limits)
    for spec in (small, big):
        result = await pool.run(spec, make_event())
        assert result.outcome == "MEMORY_LIMIT", result
        assert pool.stats().vms == 0


async def test_memory_of_ended_vms_is_given_back(pool: InterpreterPool) -> None:
    spec = make_spec("held = [bytes(1000) for _ in range(10_000)]\ndef on_event(event): pass")
    assert (await pool.run(spec, make_event())).outcome == "ok"
    (vm,) = pool._alive
    assert vm.used_bytes > 10_000_000
    await pool.retire(spec.key)
    assert _host.counters()["arena_bytes"] < 10_000_000


@pytest.mark.slow
def test_what_a_vm_leaves_behind_is_counted() -> None:
    done = run_vm_script("""
        source = "import re\\nheld = bytes(5_000_000)\\ndef on_event(event): re.match('(a+)+$', 'a' * 25 + 'b')"
        async def main():
            pool = InterpreterPool()
            assert pool.wear().left_behind == pool.wear().left_bytes == 0
            result = await pool.run(make_spec(source, limits=VmLimits(wall_ms=50)), make_event())
            assert result.outcome == "WALL_LIMIT", result
            behind, (vm,) = pool.wear(), pool.vms()
            assert vm.left_behind and behind.left_behind == 1, behind
            assert 5_000_000 < behind.left_bytes < 10_000_000, behind
            await asyncio.wait_for(vm.ended, 50)  # the call came back after all
            after = pool.wear()
            assert after.left_behind == 0 and 0 < after.left_bytes < 1_000_000, after
            await pool.close()
            print("done")
        asyncio.run(main())
    """)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr[-3000:]
