"""Many tasks in one process: VMs against threads in one interpreter and against a pool of spawned processes.

The programs of tests/bench/tasks, at 1, 2, 4 and 8 runs at once. Every contender runs the same events, closed loop, in
turn within a round; throughput and quantiles are over all rounds. Two busy processes are the machine's ceiling, so VMs
are compared with the process pool of the same run. Memory is of 8 warm VMs, or processes, beyond the parent's.
"""

import asyncio
import importlib.util
import json
import math
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_agent.vm.interface import VmLimits
from tests.bench.rows import BenchRow, at_most, ratio_to

if TYPE_CHECKING:
    from device_agent.vm.pool import Pool
    from device_agent.vm.settings import VmSettings

ROOT = Path(__file__).parents[2]
PROGRAMS = {"light": 40, "middle": 12, "heavy": 4}  # runs a round, at least as many as run at once
ROUNDS = {"light": 3, "middle": 2, "heavy": 1}
AT_ONCE = (1, 2, 4, 8)
USUAL = "import json, re, dataclasses, datetime\ndef on_event(event): pass"
BARE = "def on_event(event): pass"
GAINS = {"light": 1.52, "heavy": 1.26}  # Walle's, over threads that share a GIL
PROCESS_SHARE = 0.95
BARE_MIB = 2.0
LIMITS = VmLimits(wall_ms=60_000, memory_mib=256)

type Run = Callable[[bytes], Awaitable[None]]


@dataclass(slots=True)
class Timed:
    """What one contender did: seconds in all, and each run's."""

    wall_s: float = 0.0
    run_ms: list[float] = field(default_factory=list)

    def per_s(self) -> float:
        """Runs a second."""
        return len(self.run_ms) / self.wall_s

    def quantile(self, share: float) -> float:
        """Of a run's milliseconds, nearest rank."""
        ordered = sorted(self.run_ms)
        return ordered[max(math.ceil(share * len(ordered)), 1) - 1]


def rows() -> list[BenchRow]:
    """The suite `vm`, measured in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.vm_tasks"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=900,
    )
    return [BenchRow(**row) for row in json.loads(done.stdout)]


async def measure(at_once: tuple[int, ...] = AT_ONCE, share: float = 1.0) -> list[BenchRow]:
    """Measures here; install() has been called. `share` of the runs, for a quick look."""
    found: list[BenchRow] = []
    for program, runs in PROGRAMS.items():
        for count in at_once:
            runs_now = max(int(runs * share), count)
            found += compared(program, count, await race(program, count, runs_now))
    return found + await _memory()


async def race(program: str, count: int, runs: int) -> dict[str, Timed]:
    """Runs the contenders in turn, each with `count` runs at once."""
    contenders = _contenders(program, count)
    timed = {name: Timed() for name in contenders}
    for _, warm in contenders.values():
        await asyncio.gather(*[warm(event(number)) for number in range(count)])
    for _ in range(ROUNDS[program]):
        for name, (_, run) in contenders.items():
            await _closed_loop(run, count, runs, timed[name])
    for end, _ in contenders.values():
        await end()
    return timed


async def _closed_loop(run: Run, count: int, runs: int, timed: Timed) -> None:
    numbers = iter(range(runs))

    async def client() -> None:
        for number in numbers:
            began = time.perf_counter()
            await run(event(number))
            timed.run_ms.append((time.perf_counter() - began) * 1e3)

    began = time.perf_counter()
    await asyncio.gather(*[client() for _ in range(count)])
    timed.wall_s += time.perf_counter() - began


def _contenders(program: str, count: int) -> dict[str, tuple[Callable[[], Awaitable[None]], Run]]:
    from device_agent.vm.interface import VmPool
    from device_agent.vm.pool import InterpreterPool, ProcessPool
    from tests.helpers.tasks_in_vm import make_spec

    source = (ROOT / f"tests/bench/tasks/{program}.py").read_text()
    spec = make_spec(source, key=program, limits=LIMITS, concurrency=count)

    def of(pool: VmPool) -> tuple[Callable[[], Awaitable[None]], Run]:
        async def run(data: bytes) -> None:
            result = await pool.run(spec, data)
            assert result.outcome == "ok", result

        return pool.close, run

    return {
        "VMs": of(InterpreterPool(_settings())),
        "threads": _threads(program, count),
        "processes": of(ProcessPool(_settings())),
    }


def _threads(program: str, count: int) -> tuple[Callable[[], Awaitable[None]], Run]:
    from shoal_task import Event, testing

    path = ROOT / f"tests/bench/tasks/{program}.py"
    found = importlib.util.spec_from_file_location(program, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    executor = ThreadPoolExecutor(count)

    async def run(data: bytes) -> None:
        loop = asyncio.get_running_loop()
        done = await loop.run_in_executor(
            executor, testing.run, module.on_event, Event.from_bytes(data)
        )
        assert done.emits

    async def end() -> None:
        executor.shutdown()

    return end, run


def compared(program: str, count: int, timed: dict[str, Timed]) -> Iterator[BenchRow]:
    """The rows of one race."""
    head = f"{program}, {count} at once"
    for name, one in timed.items():
        yield BenchRow(name=f"{head}: {name}", value=one.per_s(), unit="1/s")
        yield BenchRow(name=f"{head}: {name}, p50", value=one.quantile(0.5), unit="ms")
        yield BenchRow(name=f"{head}: {name}, p99", value=one.quantile(0.99), unit="ms")
    vms, threads, processes = (timed[name].per_s() for name in ("VMs", "threads", "processes"))
    yield ratio_to("processes", f"{head}: VMs over processes", vms / processes, PROCESS_SHARE)
    if program in GAINS and count > 1:
        # Walle's gain, or what the machine's second core gives to processes, if that is less.
        target = min(GAINS[program], PROCESS_SHARE * processes / threads)
        yield ratio_to("threads", f"{head}: VMs over threads", vms / threads, target)


async def _memory() -> list[BenchRow]:
    """MiB of one of 8, beyond the parent: resident, and its own alone."""
    from device_agent.vm.pool import InterpreterPool, ProcessPool

    bare = await _held(InterpreterPool(_settings()), BARE)
    usual = await _held(InterpreterPool(_settings()), USUAL)
    bare_process = await _held(ProcessPool(_settings()), BARE)
    process = await _held(ProcessPool(_settings()), USUAL)
    return [
        at_most("memory of a bare VM", bare[0], "MiB", BARE_MIB),
        BenchRow(name="memory of a bare process, resident", value=bare_process[0], unit="MiB"),
        BenchRow(name="memory of a bare process, unique", value=bare_process[1], unit="MiB"),
        at_most("memory of a VM with json, re, dataclasses, datetime", usual[0], "MiB", process[1]),
        BenchRow(name="memory of a process with the same, resident", value=process[0], unit="MiB"),
        BenchRow(name="memory of a process with the same, unique", value=process[1], unit="MiB"),
    ]


async def _held(pool: "Pool[Any]", source: str) -> tuple[float, float]:
    """Resident and unique MiB of one of 8 warm VMs: the growth of this process, and what its children hold."""
    from device_agent.vm.process_vm import ProcessVm
    from tests.helpers.tasks_in_vm import make_spec

    before = _smaps("self")
    specs = [make_spec(source, key=str(n), limits=LIMITS) for n in range(AT_ONCE[-1])]
    for result in await asyncio.gather(*[pool.run(spec, event(0)) for spec in specs]):
        assert result.outcome == "ok", result
    pids = [vm._process.pid for vm in pool.vms() if isinstance(vm, ProcessVm) and vm._process]
    after = _smaps("self")
    held = [_smaps(str(pid)) for pid in pids] or [(after[0] - before[0], after[1] - before[1])]
    await pool.close()
    return sum(one[0] for one in held) / len(specs), sum(one[1] for one in held) / len(specs)


def _smaps(pid: str) -> tuple[float, float]:
    sizes: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        sizes[name] = int(rest.split()[0])
    unique = sizes["Private_Clean"] + sizes["Private_Dirty"]
    return sizes["Rss"] / 1024, unique / 1024


def _settings() -> "VmSettings":
    from device_agent.vm.settings import VmSettings

    return VmSettings(vms_max=8, runs_parallel_max=8, vms_memory_mib_max=4_096)


def event(number: int) -> bytes:
    """The nth event, in its binary form."""
    from shoal_task.event import Event

    return Event(1, b"", uid=number.to_bytes(16), sequence=number + 1).to_bytes()


def main() -> None:
    """Prints the rows as JSON."""
    from device_agent.vm import process

    process.install()
    measured = asyncio.run(measure())
    sys.stdout.write(json.dumps([asdict(row) for row in measured]) + "\n")
    process.drain_and_exit(0)


if __name__ == "__main__":
    main()
