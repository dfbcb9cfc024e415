"""The VM: making one, calling a warm one, and two of them on pure-Python work against two processes and two threads.

A run is one interleaved round after another; medians. The machine's two cores are not two whole cores, so parallel work
is compared with what two processes reach in the same round. The VMs are in a process of their own, as in an agent.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from tests.bench.rows import BenchRow, at_most, ratio_to

ROOT = Path(__file__).parents[2]
CREATES, CALLS, ROUNDS = 40, 3_000, 7
WORK_STEPS = 2_000_000
AHEAD_S = 0.03  # between creates, in which one is made ahead
_SPIN = """
def work(steps):
    value = 1
    for step in range(steps):
        value = (value * 31 + step) & 0xFFFF
    return value
"""
_TASK = f"{_SPIN}\ndef on_event(event): work({WORK_STEPS})\n"
_ECHO = "from shoal_task import emit\ndef on_event(event): emit('out', event.payload)\n"


def rows() -> list[BenchRow]:
    """The VM's rows of the suite `main`, measured in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.vm", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return [BenchRow(**row) for row in json.loads(done.stdout)]


def measure() -> list[BenchRow]:
    """Measures here; install() has been called."""
    figures = asyncio.run(_single())
    vms, processes, threads = _pairs()
    return [
        at_most("VM create, task loaded", figures[0], "ms", 7.0),
        at_most("VM create, processor time", figures[1], "ms", 7.0),
        at_most("VM create where one was made ahead, task loaded", figures[2], "ms", 7.0),
        at_most("warm VM call, 256 B event, p50", figures[3], "us", 25.0),
        BenchRow(name="two VMs, pure-Python work", value=vms, unit="s"),
        BenchRow(name="two processes, the same", value=processes, unit="s"),
        BenchRow(name="two plain threads, the same", value=threads, unit="s"),
        ratio_to("two processes", "two VMs' speed over two processes'", processes / vms, 0.95),
        BenchRow(
            name="two VMs' speed over two plain threads'",
            value=threads / vms,
            unit="ratio",
            peer="two plain threads",
            ratio=threads / vms,
        ),
    ]


async def _single() -> tuple[float, float, float, float]:
    from device_agent.vm.machine import Hub
    from device_agent.vm.settings import VmSettings
    from tests.helpers.tasks_in_vm import make_event, make_spec

    plain, ahead = Hub(VmSettings(spare=False)), Hub(VmSettings(spare=True))
    wall_ms: dict[Hub, list[float]] = {plain: [], ahead: []}
    processor_ms: dict[Hub, list[float]] = {plain: [], ahead: []}
    for number in range(CREATES):
        for hub in (plain, ahead):
            await asyncio.sleep(AHEAD_S)
            spec = make_spec(_ECHO, key=str(number))
            began, processor = time.perf_counter(), time.process_time()
            vm = hub.create(spec, load_ms=5_000, on_ended=lambda _: None)
            await vm.ready
            wall_ms[hub].append((time.perf_counter() - began) * 1e3)
            processor_ms[hub].append((time.process_time() - processor) * 1e3)
            vm.close()
            await vm.ended
    vm = hub.create(make_spec(_ECHO), load_ms=5_000, on_ended=lambda _: None)
    await vm.ready
    event = make_event(bytes(256 - 64))
    call_us: list[float] = []
    for _ in range(CALLS):
        began = time.perf_counter()
        await vm.call(event)
        call_us.append((time.perf_counter() - began) * 1e6)
    vm.close()
    await vm.ended
    for hub in (plain, ahead):
        hub.close()
    return (
        statistics.median(wall_ms[plain]),
        statistics.median(processor_ms[plain]),
        statistics.median(wall_ms[ahead]),
        statistics.median(call_us),
    )


def _pairs() -> tuple[float, float, float]:
    """Seconds that two VMs, two processes and two threads take for the same work, each warm."""
    with _Processes(2) as processes:
        return asyncio.run(_interleave(processes))


async def _interleave(processes: "_Processes") -> tuple[float, float, float]:
    from device_agent.vm.interface import VmLimits
    from device_agent.vm.pool import InterpreterPool
    from tests.helpers.tasks_in_vm import make_event, make_spec

    pool = InterpreterPool()
    specs = [make_spec(_TASK, key=str(n), limits=VmLimits(wall_ms=60_000)) for n in range(2)]
    event = make_event()
    await asyncio.gather(*[pool.run(spec, event) for spec in specs])
    samples: tuple[list[float], list[float], list[float]] = ([], [], [])
    for _ in range(ROUNDS):
        began = time.perf_counter()
        results = await asyncio.gather(*[pool.run(spec, event) for spec in specs])
        samples[0].append(time.perf_counter() - began)
        assert all(result.outcome == "ok" for result in results), results
        samples[1].append(_timed(processes.work))
        samples[2].append(_timed(_threads))
    await pool.close()
    vms, two_processes, threads = (statistics.median(kept) for kept in samples)
    return vms, two_processes, threads


def _timed(act: Callable[[], None]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _work() -> Callable[[int], int]:
    names: dict[str, Callable[[int], int]] = {}
    exec(_SPIN, names)
    return names["work"]


def _threads() -> None:
    work = _work()
    threads = [threading.Thread(target=work, args=(WORK_STEPS,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class _Processes:
    """Spawned processes that wait for work, so that their start is not measured."""

    def __init__(self, count: int) -> None:
        context = get_context("spawn")
        self._ends: list[Connection] = []
        self._all = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs,))
            process.start()
            self._ends.append(ours)
            self._all.append(process)

    def __enter__(self) -> "_Processes":
        self.work()
        return self

    def work(self) -> None:
        for end in self._ends:
            end.send(WORK_STEPS)
        for end in self._ends:
            end.recv()

    def __exit__(self, *_: object) -> None:
        for end in self._ends:
            end.send(0)
        for process in self._all:
            process.join()


def _serve(end: Connection) -> None:
    work = _work()
    while steps := end.recv():
        end.send(work(steps))


def main() -> None:
    """Prints the rows: as a table, or as JSON for `rows`."""
    from device_agent.vm import process

    process.install()
    measured = measure()
    if "--json" in sys.argv:
        from dataclasses import asdict

        sys.stdout.write(json.dumps([asdict(row) for row in measured]) + "\n")
    else:
        from rich.console import Console

        from tests.bench.run import render

        Console(width=140).print(render("vm", measured))
    process.drain_and_exit(0)


if __name__ == "__main__":
    main()
