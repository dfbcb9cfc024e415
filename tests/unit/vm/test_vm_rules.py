"""The six rules that keep a process with many interpreters alive; each test crashes or hangs without its rule."""

import sys

import pytest

from tests.helpers.vm_script import run_vm_script

pytestmark = pytest.mark.slow


def _assert_fine(body: str, *, said: str = "done\n", status: int = 0) -> None:
    done = run_vm_script(body)
    assert (done.returncode, done.stdout) == (status, said), done.stderr[-4000:]


def test_k1_vms_on_two_threads_import_datetime() -> None:
    _assert_fine("""
        source = "import datetime, decimal\\ndef on_event(event): datetime.datetime(2026, 1, 1).strftime('%c')"
        async def churn(pool, name):
            for number in range(120):
                spec = make_spec(source, key=f"{name}{number}")
                result = await pool.run(spec, make_event())
                assert result.outcome == "ok", result
                await pool.retire(spec.key)
        async def main():
            pool = InterpreterPool()
            await asyncio.gather(churn(pool, "a"), churn(pool, "b"))
            await pool.close()
            print("done")
        asyncio.run(main())
    """)


def test_k2_kills_race_with_the_ends_of_runs_and_vms() -> None:
    _assert_fine("""
        import random
        def source(ms):
            return f'''
        import time
        def on_event(event):
            end = time.monotonic() + {ms} / 1000
            while time.monotonic() < end: pass
        '''
        async def churn(pool, seed):
            chance = random.Random(seed)
            for number in range(600):
                if number >= 60 and _host.counters()["killed"] > 20:
                    return  # on a busy machine more runs end before they are killed
                spec = make_spec(source(chance.uniform(1, 5)), key=f"{seed}.{number}", limits=VmLimits(wall_ms=3))
                result = await pool.run(spec, make_event())
                assert result.outcome in ("ok", "WALL_LIMIT"), result
                await pool.retire(spec.key)
        async def main():
            pool = InterpreterPool()
            await asyncio.gather(*[churn(pool, seed) for seed in range(3)])
            await pool.close()
            assert _host.counters()["killed"] > 20
            print("done")
        asyncio.run(main())
    """)


def test_k2_a_kill_that_cannot_attach_does_not_delay_another() -> None:
    _assert_fine("""
        stuck = "import re\\ndef on_event(event): re.match('(a+)+$', 'a' * 23 + 'b')"
        loop = "def on_event(event):\\n    while True: pass"
        async def main():
            pool = InterpreterPool(VmSettings(close_ms=10_000))
            limits = VmLimits(wall_ms=50)
            slow = asyncio.create_task(pool.run(make_spec(stuck, limits=limits), make_event()))
            await asyncio.sleep(0)
            quick = await pool.run(make_spec(loop, limits=limits), make_event())
            assert quick.outcome == "WALL_LIMIT" and quick.wall_us < 400_000, quick
            assert (await slow).outcome == "WALL_LIMIT"
            await pool.close()
            print("done")
        asyncio.run(main())
    """)


def test_k3_a_catch_all_loop_ends_though_it_catches_every_exception() -> None:
    _assert_fine("""
        source = '''
        def on_event(event):
            while True:
                try:
                    while True: pass
                except BaseException: pass
        '''
        async def main():
            pool = InterpreterPool()
            for number in range(20):
                result = await pool.run(make_spec(source, limits=VmLimits(wall_ms=20)), make_event())
                assert result.outcome == "WALL_LIMIT" and "quarantined" not in result.message, result
            await pool.close()
            print("done")
        asyncio.run(main())
    """)


def test_k4_out_of_memory_inside_the_compiler_and_class_machinery() -> None:
    _assert_fine("""
        source = '''
        import collections, dataclasses, json
        def on_event(event):
            held = []
            n = 0
            while True:
                n += 1
                try:
                    names = {}
                    exec(f"def f{n}(a, b=[1, 2]):\\\\n  return [x for x in b if x] + [a]", names)
                    held.append(names)
                    held.append(dataclasses.make_dataclass(f"D{n}", ["a", "b", "c"]))
                    held.append(collections.namedtuple(f"N{n}", "a b c"))
                    held.append(json.loads(json.dumps({str(i): [i] for i in range(300)})))
                except MemoryError:
                    pass
        '''
        async def churn(pool, name):
            for number in range(4):
                limits = VmLimits(wall_ms=20_000, memory_mib=12 + number)
                spec = make_spec(source, key=f"{name}{number}", limits=limits)
                result = await pool.run(spec, make_event())
                assert result.outcome == "MEMORY_LIMIT", result
        async def main():
            pool = InterpreterPool()
            await asyncio.gather(churn(pool, "a"), churn(pool, "b"))
            await pool.close()
            print("done")
        asyncio.run(main())
    """)


def test_k5_a_process_ends_with_guests_running_by_drain_and_exit() -> None:
    _assert_fine(
        """
        source = "def on_event(event):\\n    while True: pass"
        async def main():
            pool = InterpreterPool()
            for number in range(3):
                spec = make_spec(source, key=str(number), limits=VmLimits(wall_ms=60_000))
                asyncio.ensure_future(pool.run(spec, make_event()))
            while _host.counters()["live"] < 3:
                await asyncio.sleep(0)
            print("done")
            process.drain_and_exit(7)
        asyncio.run(main())
    """,
        status=7,
    )


def test_k5_a_drain_ends_what_has_not_begun_yet() -> None:
    """VMs that boot, and would then load or run for ever; none is made afterwards."""
    _assert_fine(
        """
        endless = "while True: pass"
        busy = "def on_event(event):\\n    while True: pass"
        async def main():
            pool = InterpreterPool(VmSettings(load_ms=60_000, vms_memory_mib_max=4_096, runs_parallel_max=8))
            limits = VmLimits(wall_ms=60_000)
            runs = []
            for number in range(3):
                for source in (endless, busy):
                    spec = make_spec(source, key=f"{number}{source}", limits=limits)
                    runs.append(asyncio.ensure_future(pool.run(spec, make_event())))
            while _host.counters()["created"] < 6:
                await asyncio.sleep(0)
            print(_host.drain(10_000), "left", flush=True)
            try:
                await asyncio.wait_for(pool.run(make_spec(busy, key="late"), make_event()), 10)
            except Exception as error:
                print(error, flush=True)
            process.drain_and_exit(0)
        asyncio.run(main())
        """,
        said="0 left\nno VM for late: the process is draining\n",
    )


def test_k5_falling_out_of_main_with_guests_running_is_caught() -> None:
    _assert_fine("""
        import threading
        source = "def on_event(event):\\n    while True: pass"
        async def main():
            pool = InterpreterPool()
            task = asyncio.ensure_future(pool.run(make_spec(source, limits=VmLimits(wall_ms=60_000)), make_event()))
            while not pool._alive:
                await asyncio.sleep(0)
            print("done")
        asyncio.run(main())
    """)


def test_k5_a_guest_that_cannot_be_ended_does_not_hang_the_exit() -> None:
    _assert_fine(
        """
        source = "import re\\ndef on_event(event): re.match('(a+)+$', 'a' * 60 + 'b')"
        async def main():
            pool = InterpreterPool(VmSettings(close_ms=1, ended_ms=1))
            result = await pool.run(make_spec(source, limits=VmLimits(wall_ms=20)), make_event())
            assert "quarantined" in result.message
            print("done", flush=True)
        asyncio.run(main())
    """,
        status=70,
    )


def test_k5_fork_is_refused_while_vms_live_and_subprocess_is_not() -> None:
    _assert_fine("""
        import multiprocessing, subprocess
        async def main():
            pool = InterpreterPool()
            await pool.run(make_spec("def on_event(event): pass"), make_event())
            try:
                os.fork()
            except RuntimeError as error:
                assert "spawn" in str(error)
            else:
                os._exit(1)
            assert subprocess.run([sys.executable, "-c", "print(3)"], capture_output=True, check=True).stdout == b"3\\n"
            process_ = await asyncio.create_subprocess_exec("true")
            assert await process_.wait() == 0
            await pool.close()
            assert _host.drain(20_000) == 0  # the spare, too
            if os.fork() == 0:
                os._exit(0)
            os.wait()
            print("done")
        asyncio.run(main())
    """)


@pytest.mark.parametrize(
    "deep",
    [
        "value = 1\n    for _ in range(300_000): value = map(abs, value) if _ else map(abs, [1])\n    next(value)",
        "value = []\n    for _ in range(100_000): value = [value]\n    repr(value)",
        "value = []\n    for _ in range(100_000): value = [value]\n    json.dumps(value)",
        "json.loads('[' * 100_000)",
        "class K:\n        def __lt__(self, other): return sorted([K(), K()]) is None\n    sorted([K(), K()])",
        "f = lambda n: sorted([2, 1], key=lambda _: f(n + 1))\n    f(0)",
        "f = lambda: list(map(lambda _: f(), [1]))\n    f()",
    ],
    ids=["map chain", "repr", "json dumps", "json loads", "less than", "sort keys", "map calls"],
)
def test_k6_nested_c_recursion_does_not_reach_the_end_of_the_stack(deep: str) -> None:
    source = f"import json\ndef on_event(event):\n    {deep}\n"
    _assert_fine(f"""
        source = {source!r}
        async def main():
            pool = InterpreterPool()
            for number in range(2):
                limits = VmLimits(wall_ms=10_000, memory_mib=256)
                result = await pool.run(make_spec(source, limits=limits), make_event())
                assert result.outcome == "ok" or "RecursionError" in result.message, result
            await pool.close()
            print("done")
        asyncio.run(main())
    """)


def test_k6_a_guest_cannot_raise_the_recursion_limit() -> None:
    _assert_fine("""
        async def main():
            pool = InterpreterPool()
            source = "import sys\\ndef on_event(event): sys.setrecursionlimit(10**6)"
            result = await pool.run(make_spec(source), make_event())
            assert "setrecursionlimit" in result.message and result.outcome == "TASK_ERROR", result
            await pool.close()
            print("done")
        asyncio.run(main())
    """)


def test_the_main_interpreter_is_left_as_it_was() -> None:
    _assert_fine(f"""
        import warnings
        assert sys.executable == {sys.executable!r}
        assert sys.flags.no_site == 0
        assert any("site-packages" in path for path in sys.path)
        import numpy
        print("done")
    """)
