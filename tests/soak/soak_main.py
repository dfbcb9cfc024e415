"""The soak: a busy main interpreter while VMs are made, run, killed and destroyed; prints what it saw as JSON.

    python -m tests.soak.soak_main SECONDS SEED [VMS [FOLDER]]

Rules of this program:

- The main interpreter serves and calls grpc.aio, writes SQLite and multiplies with numpy all the while.
- Every run is bounded: one that is not answered in time is a hang and fails the soak.
- What each worker runs is in FOLDER/<worker>.py before it runs: after a crash the guilty lies there.
- It ends when SECONDS are over, or before that when VMS have been made and destroyed.
- Growth is what the process keeps for each VM that was destroyed, between a fifth of the way and the end.
"""

import asyncio
import collections
import contextlib
import gc
import json
import os
import random
import sqlite3
import sys
import tempfile
import threading
import time
from pathlib import Path

from device_agent.vm import _host, process

process.install()

import grpc  # noqa: E402 - install() comes first
import numpy  # noqa: E402

from device_agent.vm.interface import RunResult  # noqa: E402
from device_agent.vm.pool import InterpreterPool  # noqa: E402
from tests.helpers.tasks_in_vm import make_event, make_spec  # noqa: E402
from tests.soak.soak_tasks import Program, programs  # noqa: E402

HANG_S = 30
WORKERS = 2
WARM = 0.2


class Soak:
    """Counts of one soak."""

    def __init__(self, seconds: float, seed: int, vms: int, folder: Path | None) -> None:
        self.seed = seed
        self.began_at = time.monotonic()
        self.seconds = seconds
        self.vms = vms
        self.folder = folder
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.surprises: list[str] = []
        self.fuzzed: set[str] = set()
        self.rpcs = 0
        self.rows = 0
        self.products = 0
        self.over = threading.Event()
        self.churned = asyncio.Event()
        self.warm = asyncio.Event()

    @property
    def running(self) -> bool:
        return self.way < 1

    @property
    def way(self) -> float:
        """How much of it is done, from 0 to 1 and a little more."""
        timed = (time.monotonic() - self.began_at) / self.seconds
        return max(timed, _host.counters()["ended"] / self.vms) if self.vms else timed

    async def churn(self, worker: int) -> None:
        """Makes a pool, gives it random tasks, destroys their VMs."""
        chance = random.Random(self.seed * 1000 + worker)
        pool = InterpreterPool()
        for number, program in enumerate(programs(chance)):
            if not self.running:
                break
            spec = make_spec(program.source, key=f"{worker}.{number}", limits=program.limits)
            if self.folder is not None:
                limits = f"# {program.name}, {program.limits}\n"
                (self.folder / f"{worker}.py").write_text(limits + program.source)
            for _ in range(chance.randint(1, 3)):
                event = make_event(chance.randbytes(64))
                async with asyncio.timeout(HANG_S):
                    self.note(program, await pool.run(spec, event))
            if chance.random() < 0.7:
                async with asyncio.timeout(HANG_S):
                    await pool.retire(spec.key)
        async with asyncio.timeout(HANG_S):
            await pool.close()

    def note(self, program: Program, result: RunResult) -> None:
        kind, _, modules = program.name.partition(" ")
        self.outcomes[f"{kind} {result.outcome}"] += 1
        self.fuzzed.update(modules.split())
        if self.way >= WARM:
            self.warm.set()
        if result.outcome not in program.outcomes:
            self.surprises.append(f"{program.name}: {result.outcome} {result.message}")

    async def call_rpcs(self) -> None:
        """A unary echo, served and called by this process."""

        async def echo(request: bytes, _context: object) -> bytes:
            return request

        handler = grpc.method_handlers_generic_handler(
            "soak.Echo", {"Say": grpc.unary_unary_rpc_method_handler(echo)}
        )
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            say: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
                "/soak.Echo/Say"
            )
            while self.running:
                assert await say(b"x" * 200) == b"x" * 200
                self.rpcs += 1
        await server.stop(0)

    def write_rows(self) -> None:
        """SQLite in WAL, a commit a row."""
        with (
            tempfile.TemporaryDirectory() as folder,
            contextlib.closing(sqlite3.connect(Path(folder) / "soak.db")) as database,
        ):
            database.execute("pragma journal_mode = wal")
            database.execute("create table rows (n integer primary key, body blob)")
            while not self.over.wait(0.002):
                with database:
                    database.execute("insert into rows (body) values (?)", (os.urandom(100),))
                self.rows += 1

    def multiply(self) -> None:
        """numpy, releasing the GIL now and then."""
        square = numpy.random.default_rng(self.seed).random((120, 120))
        while not self.over.wait(0.005):
            square = square @ square / numpy.linalg.norm(square)
            self.products += 1

    async def measure(self) -> dict[str, float]:
        """What the process grew by for each destroyed VM."""
        await self.warm.wait()
        before, ended_before = _resident_bytes(), _host.counters()["ended"]
        await self.churned.wait()
        left = await asyncio.to_thread(_host.drain, HANG_S * 1000)
        assert left == 0, f"{left} VMs would not end"
        gc.collect()
        ended = _host.counters()["ended"] - ended_before
        grown = _resident_bytes() - before
        growth_mb = grown / 1e6 / max(1, ended)
        return {
            "ended_since_warm": ended,
            "growth_mb_per_vm": growth_mb,
            "mb_after_10000_vms": before / 1e6 + growth_mb * (10_000 - ended_before),
        }

    async def run(self) -> dict[str, object]:
        """Keeps everything busy until the time is over; what was seen."""
        threads = [threading.Thread(target=work) for work in (self.write_rows, self.multiply)]
        for thread in threads:
            thread.start()
        try:
            async with asyncio.TaskGroup() as group:
                growth = group.create_task(self.measure())
                group.create_task(self.call_rpcs())
                await asyncio.gather(*[self.churn(worker) for worker in range(WORKERS)])
                self.churned.set()
        finally:
            self.over.set()
            for thread in threads:
                thread.join()
        return {
            "seed": self.seed,
            "seconds": round(time.monotonic() - self.began_at, 1),
            "outcomes": dict(sorted(self.outcomes.items())),
            "surprises": self.surprises,
            "fuzzed": sorted(self.fuzzed),
            "rpcs": self.rpcs,
            "rows": self.rows,
            "products": self.products,
            "resident_mb": _resident_bytes() / 1e6,
            **growth.result(),
            **_host.counters(),
        }


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Runs the soak and prints its figures."""
    given = sys.argv[1:]
    seconds, seed, vms, folder = given + ["0", ""][len(given) - 2 :]
    soak = Soak(float(seconds), int(seed), int(vms), Path(folder) if folder else None)
    seen = asyncio.run(soak.run())
    sys.stdout.write(json.dumps(seen) + "\n")
    process.drain_and_exit(1 if seen["surprises"] else 0)


if __name__ == "__main__":
    main()
