"""Memory of a VM: one with an empty task, and one with the usual modules beside a process that has imported the same.

What counts is what is given back when it ends: unique pages, of one process that holds VMs and of a plain interpreter.
Medians of interleaved rounds.
"""

import asyncio
import json
import statistics
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import psutil

from tests.bench.rows import BenchRow, at_most, ratio_to

ROOT = Path(__file__).parents[2]
ROUNDS, VMS = 5, 16
USUAL = "import collections, dataclasses, datetime, enum, json, math, re"
EMPTY = "def on_event(event): pass"


def rows() -> list[BenchRow]:
    """The rows of the suite `vm`, measured in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.vm_memory"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=300,
    )
    return [BenchRow(**row) for row in json.loads(done.stdout)]


async def measure() -> list[BenchRow]:
    """Measures here; install() has been called."""
    await _vm_mb(USUAL)  # what the first VMs leave in the process is none of a VM's
    samples: tuple[list[float], list[float], list[float]] = ([], [], [])
    for _ in range(ROUNDS):
        samples[0].append(await _vm_mb(""))
        samples[1].append(await _vm_mb(USUAL))
        samples[2].append(_process_mb(USUAL))
    bare, usual, process = (statistics.median(kept) for kept in samples)
    return [
        at_most("VM with an empty task, memory", bare, "MB", 2.0),
        BenchRow(name="VM with the usual modules, memory", value=usual, unit="MB"),
        BenchRow(name="process with the same modules, unique memory", value=process, unit="MB"),
        ratio_to("a process", "a process's memory over a VM's", process / usual, 1.0),
    ]


async def _vm_mb(imports: str) -> float:
    """What each of some VMs adds to this process's unique memory."""
    from device_agent.vm.machine import Hub
    from tests.helpers.tasks_in_vm import make_spec

    hub = Hub()
    spec = make_spec(f"{imports}\n{EMPTY}")
    before = _unique_mb(psutil.Process())
    vms = [hub.create(spec, load_ms=30_000, on_ended=lambda _: None) for _ in range(VMS)]
    for vm in vms:
        loaded = await vm.ready
        assert loaded.outcome == "ok", loaded
    after = _unique_mb(psutil.Process())
    for vm in vms:
        vm.close()
    await asyncio.gather(*[vm.ended for vm in vms])
    hub.close()
    return (after - before) / VMS


def _process_mb(imports: str) -> float:
    """The unique memory of an interpreter that has no site-packages and imported the same."""
    program = f"{imports}\nimport sys\nprint(flush=True)\nsys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        mb = _unique_mb(psutil.Process(child.pid))
        child.communicate()
    return mb


def _unique_mb(process: psutil.Process) -> float:
    return float(process.memory_full_info().uss) / 1e6


def main() -> None:
    """Prints the rows as JSON."""
    from device_agent.vm import process

    process.install()
    sys.stdout.write(json.dumps([asdict(row) for row in asyncio.run(measure())]) + "\n")
    process.drain_and_exit(0)


if __name__ == "__main__":
    main()
