"""Every hostile program, over and over at random moments, two at once beside a neighbour; prints what it saw as JSON.

    python -m tests.soak.hostile_main SECONDS TIMES SEED

Rules of this program:

- It ends when each program has had TIMES runs or SECONDS are over, whichever is first; the order is random.
- A round is two hostile runs at once, then for as long two well-behaved ones that compute, the neighbour's calls timed
  in both: so the neighbour is compared with itself beside as much honest work, a moment later on the same machine.
- One run in four is cancelled by its caller at a random moment instead of meeting its limit.
- How late a run ended does not count the time in which its thread was ready and the machine had no processor for it.
"""

import asyncio
import collections
import json
import random
import sys
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path

from device_agent.vm import _host, process

process.install()

from device_agent.vm.interface import VmLimits, VmSpec  # noqa: E402 - install() comes first
from device_agent.vm.pool import InterpreterPool  # noqa: E402
from tests.helpers.hostile_programs import PROGRAMS, Hostile  # noqa: E402
from tests.helpers.tasks_in_vm import make_event, make_spec  # noqa: E402

HANG_S = 30
WALL_MS = (30, 90)
UNHURRIED = VmLimits(wall_ms=60_000)
NEIGHBOUR = """
def on_event(event):
    value = 1
    for step in range(4_000): value = (value * 31 + step) & 0xFFFF
"""
HONEST = """
import time
def on_event(event):
    ends = time.perf_counter() + int(event.payload) / 1e6
    while time.perf_counter() < ends: sum(range(100))
"""


@dataclass(slots=True, kw_only=True)
class Seen:
    """What was seen, all rounds together."""

    runs: collections.Counter[str] = field(default_factory=collections.Counter)
    outcomes: collections.Counter[str] = field(default_factory=collections.Counter)
    faults: list[str] = field(default_factory=list)
    late_ms: dict[str, float] = field(default_factory=dict)
    gone_ms: list[float] = field(default_factory=list)
    beside_hostile_ms: list[float] = field(default_factory=list)
    beside_honest_ms: list[float] = field(default_factory=list)


class Gauntlet:
    """Runs the programs and keeps count."""

    def __init__(self, seconds: float, times: int, seed: int) -> None:
        self._ends_at = time.monotonic() + seconds
        self._times = times
        self._seed = seed
        self._chance = random.Random(seed)
        self._pool = InterpreterPool()
        self._neighbour = make_spec(NEIGHBOUR, key="neighbour", limits=UNHURRIED)
        self._honest = [make_spec(HONEST, key=f"honest {n}", limits=UNHURRIED) for n in range(2)]
        self.seen = Seen()

    async def run(self) -> dict[str, object]:
        """All rounds; what was seen."""
        await self._pool.run(self._neighbour, make_event())
        while time.monotonic() < self._ends_at and (pair := self._next_pair()):
            began = time.perf_counter()
            await self._timing(self.seen.beside_hostile_ms, *[self._attempt(one) for one in pair])
            took_us = int((time.perf_counter() - began) * 1e6)
            await self._timing(
                self.seen.beside_honest_ms, *[self._behave(spec, took_us) for spec in self._honest]
            )
        await self._pool.close()
        left = await asyncio.to_thread(_host.drain, HANG_S * 1000)
        await asyncio.sleep(0)
        return {
            "seed": self._seed,
            "runs": {one.name: self.seen.runs[one.name] for one in PROGRAMS},
            "outcomes": dict(sorted(self.seen.outcomes.items())),
            "faults": self.seen.faults,
            "late_ms": {name: round(late, 1) for name, late in self.seen.late_ms.items()},
            "gone_ms": round(max(self.seen.gone_ms, default=0.0), 1),
            "neighbour": _compare(self.seen.beside_hostile_ms, self.seen.beside_honest_ms),
            "left": left,
            "left_keys": [vm.spec.key for vm in self._pool.vms()] if left else [],
            **_host.counters(),
        }

    def _next_pair(self) -> list[Hostile]:
        """Two of those that had the fewest runs, in a random order."""
        order = self._chance.sample(PROGRAMS, len(PROGRAMS))
        order.sort(key=lambda one: self.seen.runs[one.name])
        return [one for one in order[:2] if self.seen.runs[one.name] < self._times]

    async def _timing(self, into: list[float], *others: Coroutine[object, object, None]) -> None:
        """Times the neighbour's calls, one after another, until the others are done."""
        work = asyncio.gather(*others)
        while not work.done():
            began = time.perf_counter()
            result = await self._pool.run(self._neighbour, make_event())
            into.append((time.perf_counter() - began) * 1e3)
            if result.outcome != "ok":
                self.seen.faults.append(
                    f"the neighbour came to harm: {result.outcome} {result.message}"
                )
        await work

    async def _behave(self, spec: VmSpec, microseconds: int) -> None:
        payload = str(min(microseconds, 900_000)).encode()
        result = await self._pool.run(spec, make_event(payload))
        assert result.outcome == "ok", result

    async def _attempt(self, program: Hostile) -> None:
        """One hostile run in a VM that has served a good one."""
        wall_ms = self._chance.randint(*WALL_MS)
        if program.outcomes != {"WALL_LIMIT"}:
            wall_ms = 1_000  # another limit should be met first
        behaves_us = self._chance.randrange(min(wall_ms, 60) * 1000)
        number = self.seen.runs[program.name] = self.seen.runs[program.name] + 1
        spec = make_spec(
            program.source,
            key=f"{program.name} {number}",
            limits=VmLimits(wall_ms=wall_ms, memory_mib=24),
        )
        async with asyncio.timeout(HANG_S):
            good = await self._pool.run(spec, make_event(b"good"))
            if good.outcome != "ok":
                # The limit may be met by the good run too when the machine stalls; that is no fault of the VM's.
                self.seen.outcomes[f"{program.name}: not begun, {good.outcome}"] += 1
                return
            event = make_event(str(behaves_us).encode())
            starved = Starvation(int(good.logs[0]))
            watching = asyncio.ensure_future(starved.watch())
            if self._chance.random() < 0.25:
                await self._cancel(program, spec, event, starved)
            else:
                await self._overrun(program, spec, event, starved)
            watching.cancel()

    async def _cancel(
        self, program: Hostile, spec: VmSpec, event: bytes, starved: "Starvation"
    ) -> None:
        """The caller goes away; the VM of a Python program is gone a moment later."""
        run = asyncio.ensure_future(self._pool.run(spec, event))
        await asyncio.wait({run}, timeout=self._chance.uniform(0, 0.06))
        began = time.perf_counter()
        run.cancel()
        if program.ending == "python":
            await self._pool.retire(spec.key)
            self.seen.gone_ms.append((time.perf_counter() - began) * 1e3 - starved.ms)
        await asyncio.wait({run})

    async def _overrun(
        self, program: Hostile, spec: VmSpec, event: bytes, starved: "Starvation"
    ) -> None:
        began = time.perf_counter()
        result = await self._pool.run(spec, event)
        quarantined = "quarantined" in result.message
        how = f"{result.outcome} quarantined" if quarantined else result.outcome
        self.seen.outcomes[f"{program.name}: {how}"] += 1
        if result.outcome not in program.outcomes:
            self.seen.faults.append(f"{program.name}: {result.outcome} {result.message}")
        if result.outcome != "WALL_LIMIT":
            return
        took_ms = result.wall_us / 1e3
        if quarantined and program.ending != "native":
            await self._pool.retire(spec.key)
            took_ms = (time.perf_counter() - began) * 1e3
        late_ms = took_ms - spec.limits.wall_ms - starved.ms
        self.seen.late_ms[program.name] = max(late_ms, self.seen.late_ms.get(program.name, 0.0))


class Starvation:
    """How long a thread of this process was ready to run and got no processor, since the watch began."""

    def __init__(self, thread: int) -> None:
        self._path = Path(f"/proc/self/task/{thread}/schedstat")
        self._began_ns = self._read()
        self.ms = 0.0

    async def watch(self) -> None:
        """Keeps `ms` current until the thread has ended: nothing can be read after that."""
        while (now_ns := self._read()) is not None:
            self.ms = (now_ns - (self._began_ns or 0)) / 1e6
            await asyncio.sleep(0.002)

    def _read(self) -> int | None:
        try:
            return int(self._path.read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError):
            return None


def _compare(hostile: list[float], honest: list[float]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, values in (("hostile", sorted(hostile)), ("honest", sorted(honest))):
        figures[f"calls_beside_{name}"] = len(values)
        for share in (50, 99):
            figures[f"p{share}_ms_beside_{name}"] = values[len(values) * share // 100]
        figures[f"worst_ms_beside_{name}"] = values[-1]
    return {name: round(value, 3) for name, value in figures.items()}


def main() -> None:
    """Runs the gauntlet and prints its figures."""
    seconds, times, seed = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    sys.stdout.write(json.dumps(asyncio.run(Gauntlet(seconds, times, seed).run())) + "\n")
    process.drain_and_exit(0)


if __name__ == "__main__":
    main()
