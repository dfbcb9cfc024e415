"""Timed trials: a bounded number of an algorithm's runs, where the cost model is not sure which is quickest.

Rules of this module:

- Only choices that the model thinks nearly as quick as its first are run, so that few trials decide much. What was
  measured once holds for the process: shapes come again in a model, and models in a process.
- A trial is of zeros, on as many threads as the plan; what a change of layout costs, the model goes on saying.
- It loads inside the VM that plans: standard library and the core only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from device_agent.engine import _core
from device_agent.engine.plan.costs import Choice, ConvolutionShape
from device_agent.engine.settings import PLAN_LIMITS

SAMPLE_S = 0.0005  # a choice is run again until it has taken this long, and the fastest counts
REPEATS_MAX = 20

type Level = _core._Level
type Tried = tuple[Level, int, ConvolutionShape, str, int]
type Measure = Callable[[ConvolutionShape, Choice, Level, int], float]

_of_process: dict[Tried, float] = {}


class Trials:
    """A budget of trials for plans of one level of kernels.

    Attributes:
        left: How many may still be made.
        made: How many were.
    """

    def __init__(
        self,
        level: Level,
        threads: int,
        count: int,
        measure: Measure | None = None,
        kept: dict[Tried, float] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Opens the budget.

        Args:
            level: Of the kernels.
            threads: That will run them.
            count: Trials at most; PLAN_LIMITS.trials_max and PLAN_LIMITS.trials_s bound it.
            measure: Runs a choice and says how many seconds it takes; `seconds_of` if it is None.
            kept: Figures by what was tried; None is what this process knows.
            clock: Tells seconds.
        """
        self.left = min(count, PLAN_LIMITS.trials_max)
        self.made = 0
        self._level = level
        self._threads = threads
        self._measure = seconds_of if measure is None else measure
        self._kept = _of_process if kept is None else kept
        self._clock = clock
        self._spent_s = 0.0

    def seconds(self, shape: ConvolutionShape, choice: Choice) -> float | None:
        """How long a choice takes here, in seconds; None when it was not measured and the budget is spent."""
        key = (self._level, self._threads, shape, choice.algorithm, choice.unit)
        if key not in self._kept:
            if self.left == 0 or self._spent_s >= PLAN_LIMITS.trials_s:
                return None
            begin = self._clock()
            if len(self._kept) >= PLAN_LIMITS.trials_kept_max:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = self._measure(shape, choice, self._level, self._threads)
            self._spent_s += self._clock() - begin
            self.left -= 1
            self.made += 1
        return self._kept[key]


def seconds_of(
    shape: ConvolutionShape, choice: Choice, level: Level | None, threads: int = 1
) -> float:
    """How long a choice takes on this machine: the fastest of as many runs as fill a sample."""
    inner = shape.in_channels // shape.groups
    x = _core.zeros((shape.batch, shape.in_channels, shape.in_height, shape.in_width))
    weights = _core.zeros((shape.out_channels, inner, shape.kernel_height, shape.kernel_width))
    run: Any = _core.kernel_conv2d
    words: dict[str, Any] = {
        "strides": (shape.stride_height, shape.stride_width),
        "dilations": (shape.dilation_height, shape.dilation_width),
        "pads": (shape.pad_top, shape.pad_left, *_pads_behind(shape)),
        "groups": shape.groups,
        "algorithm": choice.algorithm,
        "unit": max(choice.unit, 1),
        "threads": threads,
        "level": level,
    }
    once = float(run(x, weights, repeats=1, **words)[1])
    repeats = min(REPEATS_MAX, max(2, round(SAMPLE_S / max(once, 1e-9))))
    return min(once, float(run(x, weights, repeats=repeats, **words)[1]))


def _pads_behind(shape: ConvolutionShape) -> tuple[int, int]:
    return (
        max(0, shape.read_height - shape.in_height - shape.pad_top),
        max(0, shape.read_width - shape.in_width - shape.pad_left),
    )
