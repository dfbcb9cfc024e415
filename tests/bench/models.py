"""Whole models on one and two threads: latency, peak memory and session creation against onnxruntime and MNN.

`python -m tests.bench.models [--only name] [--threads 1]` prints this module's rows alone.

Rules of this module:

- Latency: the engines in turns in one process, pinned to as many cores as threads, every run on the next of four
  inputs. A pause before each sample lets a peer's threads stop looking out for work.
- Memory and session creation: each engine in a process of its own; memory is what it takes above its imports.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tests.bench.engines import ENGINES, Engine, Feeds, prepare
from tests.bench.rows import BenchRow, at_least, interleaved, ratio_to
from tests.bench.run import show
from tests.bench.zoo import ZOO

ROUNDS = 7
SAMPLE_S = 0.05
PAUSE_S = 0.02
THREADS = (1, 2)
LEAST = 0.6  # of onnxruntime's speed, any model
MEAN = 0.9  # all models together
PEERS = ("onnxruntime", "MNN")


def rows() -> list[BenchRow]:
    """All rows of this module."""
    return measured("", THREADS)


def measured(only: str, threads: Sequence[int]) -> list[BenchRow]:
    """The rows of the models whose name has `only` in it."""
    made: list[BenchRow] = []
    for name, make in ZOO.items():
        if only in name:
            with tempfile.TemporaryDirectory() as folder:
                found = _of_model(name, make(), Path(folder), threads)
            for row in found:
                print(f"{row.name}: {row.value:.3g} {row.unit}", file=sys.stderr)
            made += found
    for count in threads:
        for peer in PEERS:
            made += _mean(made, peer, count)
    return made


def _of_model(
    name: str, model: tuple[bytes, list[Feeds]], folder: Path, threads: Sequence[int]
) -> list[BenchRow]:
    data, feeds = model
    prepare(data, folder)
    for turn, one in enumerate(feeds):
        np.savez(folder / f"{turn}.npz", **one)  # type: ignore[arg-type]  # names to arrays
    costs = {engine: _apart(folder, "--memory", engine, quiet=True) for engine in ENGINES}
    able = [engine for engine in ENGINES if costs[engine]]
    made = []
    for count in threads:
        seconds = _apart(folder, "--latency", *able, "--threads", str(count))
        made.append(BenchRow(name=f"{name}, {count} thr.", value=seconds["ours"] * 1e3, unit="ms"))
        for peer in PEERS:
            if peer in able:
                ratio = seconds[peer] / seconds["ours"]
                label = f"{name}, {count} thr. / {peer}"
                made.append(ratio_to(f"{peer}, {count} thr.", label, ratio, _least(peer)))
    for engine in able:
        for what, unit in (("memory", "MiB"), ("session", "ms")):
            label = f"{name}, {what}, {engine}"
            made.append(BenchRow(name=label, value=costs[engine][what], unit=unit))
    return made


def _least(peer: str) -> float:
    return LEAST if peer == "onnxruntime" else 1.0


def _mean(made: Sequence[BenchRow], peer: str, threads: int) -> list[BenchRow]:
    ratios = [row.value for row in made if row.name.endswith(f"{threads} thr. / {peer}")]
    if len(ratios) < 2:
        return []
    mean = statistics.geometric_mean(ratios)
    label = f"geometric mean of {len(ratios)} models, {threads} thr. / {peer}"
    target = MEAN if peer == "onnxruntime" else 1.0
    least = f"least of {len(ratios)} models, {threads} thr. / {peer}"
    return [
        ratio_to(f"{peer}, {threads} thr.", label, mean, target),
        at_least(least, min(ratios), "ratio", _least(peer)),
    ]


# --- in processes of their own ---------------------------------------------------------------------------------------


def _apart(folder: Path, *words: str, quiet: bool = False) -> dict[str, float]:
    """What a process that measures says; nothing where it fails and that may be."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.bench.models", "--folder", str(folder), *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if quiet else None,
        check=not quiet,
    )
    if ran.returncode != 0:
        return {}
    said: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return said


def _feeds(folder: Path) -> list[Feeds]:
    made = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as file:
            made.append({name: file[name] for name in file.files})
    return made


def _latency(folder: Path, engines: Sequence[str], threads: int) -> dict[str, float]:
    cores = sorted(os.sched_getaffinity(0))[:threads]
    os.sched_setaffinity(0, cores)
    feeds = _feeds(folder)
    loaded = [ENGINES[name](folder, feeds, threads) for name in engines]
    medians = interleaved(ROUNDS, *map(_sampler, loaded))
    return dict(zip(engines, medians, strict=True))


def _sampler(engine: Engine) -> Callable[[], float]:
    """Seconds a run, over as many as fill a sample, on fresh inputs."""
    begin = time.perf_counter()
    engine.run(0)
    repeats = max(1, round(SAMPLE_S / (time.perf_counter() - begin)))

    def sample() -> float:
        time.sleep(PAUSE_S)  # noqa: TID251 - a peer's threads spin for a while after their work
        engine.run(0)
        begin = time.perf_counter()
        for turn in range(repeats):
            engine.run(turn)
        return (time.perf_counter() - begin) / repeats

    return sample


def _memory(folder: Path, name: str) -> dict[str, float]:
    """MiB at the most above what imports took, and milliseconds of session creation."""
    feeds = _feeds(folder)
    import MNN.nn  # noqa: F401 - so that all engines begin from the same
    import onnxruntime  # noqa: F401

    import device_agent.engine.model  # noqa: F401

    before = _kib("VmRSS")
    engine = ENGINES[name](folder, feeds, 1)
    for turn in range(len(feeds)):
        engine.run(turn)
    return {"memory": (_kib("VmHWM") - before) / 1024, "session": engine.session_s * 1e3}


def _kib(what: str) -> int:
    """Of this process: what it holds now, or the most that it ever held."""
    (line,) = (
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what)
    )
    return int(line.split()[1])


def main() -> None:
    """Prints this module's rows alone, or one process's figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="models whose name has this in it")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--latency", nargs="+", default=[])
    parser.add_argument("--memory", default="")
    parser.add_argument("--json", action="store_true")
    words = parser.parse_args()
    if words.memory:
        print(json.dumps(_memory(words.folder, words.memory)))
    elif words.latency:
        print(json.dumps(_latency(words.folder, words.latency, words.threads)))
    else:
        made = measured(words.only, (words.threads,) if words.threads else THREADS)
        show("models", made, as_json=words.json)


if __name__ == "__main__":
    main()
