"""The cost model's choices: on convolutions that it was not fitted to, how far from the fastest it lands.

`python -m tests.bench.choices [--count 120] [--level avx2]` measures every algorithm of random convolutions. One is
right when it is within 10 % of the measured fastest, or within what two measurements of the fastest differ.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from math import inf
from operator import itemgetter

import numpy as np

from device_agent.engine import _core
from device_agent.engine.calibrate import SHAPES, calibrated
from device_agent.engine.machine import typical_machine
from device_agent.engine.plan.costs import (
    Choice,
    ConvolutionShape,
    Machine,
    convolution_choices,
    near_first,
)
from device_agent.engine.settings import PLAN_LIMITS
from device_agent.engine.trials import Trials, seconds_of
from tests.bench.rows import BenchRow, at_least, interleaved
from tests.bench.run import show
from tests.helpers.arrays import Level

COUNT = 120
ROUNDS = 5
FLOPS_MAX = 600e6
NEAR = 1.1
TARGET = 0.9
SEED = 20261126


def rows() -> list[BenchRow]:
    """All rows of this module."""
    made = subprocess.run(
        [sys.executable, "-m", "tests.bench.choices", "--json"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        check=True,
    )
    return [BenchRow(**row) for row in json.loads(made.stdout)]


def shapes(count: int) -> Iterator[ConvolutionShape]:
    """Random convolutions as image models have them, none of those that are fitted to."""
    random = np.random.default_rng(SEED)
    while count:
        size = int(random.choice([7, 8, 13, 14, 19, 20, 26, 28, 40, 52, 56, 80, 112]))
        kernel, stride = int(random.choice([1, 1, 3, 3, 3, 5])), int(random.choice([1, 1, 1, 2]))
        into, out = (int(2 ** random.uniform(2, 9.3)) for _ in range(2))
        depthwise = random.random() < 0.15
        words = (into, into if depthwise else out, size, kernel, stride, into if depthwise else 1)
        shape = ConvolutionShape.square(*words)
        inner = shape.in_channels // shape.groups * shape.taps
        flops = 2 * inner * shape.out_channels * shape.out_height * shape.out_width
        if words not in SHAPES and flops <= FLOPS_MAX:
            count -= 1
            yield shape


def measured(count: int, level: Level) -> list[BenchRow]:
    """The rows, in this process."""
    begin = time.perf_counter()
    fitted = calibrated(level)
    took_s = time.perf_counter() - begin
    assert fitted is not None, "the machine is too busy for figures"
    machines = {"measured costs": fitted, "the peak alone": typical_machine(level)}
    ways = {name: partial(_chosen, machine=machine) for name, machine in machines.items()}
    ways["the peak and trials"] = partial(_tried, machine=machines["the peak alone"], level=level)
    slower: dict[str, list[float]] = {name: [] for name in ways}
    right: dict[str, int] = dict.fromkeys(ways, 0)
    for shape in shapes(count):
        seconds, noise = _timed(shape, fitted, level)
        for name, chosen in ways.items():
            ratio = seconds[chosen(shape, seconds)] / min(seconds.values())
            right[name] += ratio <= max(NEAR, noise)
            slower[name].append(ratio)
    made = [BenchRow(name=f"costs measured, {level}", value=took_s, unit="s")]
    for name in ways:
        share = at_least(
            f"choices near the fastest by {name}, {level}", right[name] / count, "ratio", TARGET
        )
        mean = statistics.geometric_mean(slower[name])
        made += [
            share,
            BenchRow(name=f"time over the fastest's by {name}, {level}", value=mean, unit="ratio"),
        ]
    return made


def _key(choice: Choice) -> str:
    return f"{choice.algorithm} {choice.unit}"


def _by_model(shape: ConvolutionShape, machine: Machine) -> list[tuple[float, Choice]]:
    choices = convolution_choices(shape, machine)
    rows = [(choice.quantity.seconds(machine), choice) for choice in choices]
    return sorted(rows, key=itemgetter(0))


def _chosen(shape: ConvolutionShape, _: Mapping[str, float], *, machine: Machine) -> str:
    return _key(_by_model(shape, machine)[0][1])


def _tried(
    shape: ConvolutionShape, _: Mapping[str, float], *, machine: Machine, level: Level
) -> str:
    """By trials of their own, not by what is compared."""
    trials = Trials(level, 1, PLAN_LIMITS.trials_max)
    near = near_first(_by_model(shape, machine))
    return _key(min(near, key=lambda choice: trials.seconds(shape, choice) or inf))


def _timed(
    shape: ConvolutionShape, machine: Machine, level: Level
) -> tuple[dict[str, float], float]:
    """Seconds of every choice, and how much two measurements of one differ."""
    choices = convolution_choices(shape, machine)
    calls = [lambda choice=choice: seconds_of(shape, choice, level) for choice in choices]
    first = interleaved(ROUNDS, *calls)
    best = min(range(len(choices)), key=first.__getitem__)
    (again,) = interleaved(ROUNDS, calls[best])
    noise = max(again, first[best]) / min(again, first[best])
    return dict(zip(map(_key, choices), first, strict=True)), noise


def main() -> None:
    """Prints this module's rows alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--level", default=_core.levels()[-1])
    parser.add_argument("--json", action="store_true")
    words = parser.parse_args()
    made = measured(words.count, words.level)
    show("choices", made, as_json=words.json)


if __name__ == "__main__":
    main()
