"""What this machine's kernels cost: P, B1, B2 and S of the cost model, measured once and kept in a file.

Rules of this module:

- It takes about a second of one core, so it runs once a machine, beside the agent's work, never in a VM. What is
  planned before it is done goes by a machine of which only the peak is known.
- The file says for which machine and which kernels it holds; for others it is measured anew.
- Shapes are small convolutions of every kind: what costs little is timed most often on a device.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from device_agent.engine import _core
from device_agent.engine.machine import (
    Level,
    costs_of,
    machine_from,
    set_machine,
    typical_machine,
)
from device_agent.engine.plan.costs import (
    ConvolutionShape,
    Machine,
    Quantity,
    convolution_choices,
    fitted,
)
from device_agent.engine.trials import seconds_of

AGAIN = 8  # of the shapes are timed again at the end
CALM_MAX = 1.2  # one time over the other; more was measured beside other work
COSTS = ("flops_per_s", "near_bytes_per_s", "far_bytes_per_s", "call_s")

# (in channels, out channels, size, kernel, stride, groups); the last read weights from behind the second-level cache.
SHAPES = (
    (3, 32, 64, 3, 2, 1), (16, 64, 28, 1, 1, 1), (64, 64, 28, 1, 1, 1), (256, 64, 14, 1, 1, 1), (64, 256, 14, 1, 1, 1),
    (16, 16, 56, 3, 1, 1), (32, 48, 28, 3, 1, 1), (64, 64, 28, 3, 1, 1), (96, 96, 14, 3, 1, 1), (128, 128, 14, 3, 2, 1),
    (128, 128, 7, 3, 1, 1), (48, 48, 13, 5, 1, 1), (24, 24, 10, 3, 1, 1), (40, 40, 20, 1, 1, 1), (32, 32, 56, 3, 1, 32),
    (96, 96, 28, 3, 2, 96), (144, 144, 14, 3, 1, 144), (8, 8, 48, 3, 1, 8), (64, 64, 14, 1, 1, 4),
    (512, 512, 7, 3, 1, 1), (1024, 512, 7, 1, 1, 1),
)  # fmt: skip


def calibrated(level: Level, stops: Callable[[], bool] = bool) -> Machine | None:
    """The kernels of a level on this machine, every choice for `SHAPES` timed; None when it had other work in between.

    What slows all of it alike changes no choice; so a part is timed twice, at both ends.

    Args:
        level: Of the kernels.
        stops: Asked between two choices, some milliseconds apart: whether to give up.
    """
    machine = typical_machine(level)
    samples = list(_samples(machine, level, SHAPES, stops))
    again = list(_samples(machine, level, SHAPES[:AGAIN], stops))
    if stops():
        return None
    before, after = (sum(seconds for _, seconds in part) for part in (samples[: len(again)], again))
    calm = max(before, after) <= CALM_MAX * min(before, after)
    return fitted(machine, samples) if calm else None


def _samples(
    machine: Machine,
    level: Level,
    shapes: Sequence[tuple[int, int, int, int, int, int]],
    stops: Callable[[], bool],
) -> Iterator[tuple[Quantity, float]]:
    for words in shapes:
        shape = ConvolutionShape.square(*words)
        for choice in convolution_choices(shape, machine):
            if stops():
                return
            yield choice.quantity, seconds_of(shape, choice, level)


# --- kept in a file --------------------------------------------------------------------------------------------------


def machine_name() -> str:
    """What the figures hold for: the processor and the kernels that were built for it."""
    parts = [platform.machine(), str(os.cpu_count()), *_core.cpu_features(), *_models()]
    with suppress(OSError):  # an editable build has other kernels with every make
        parts.append(hashlib.sha256(Path(_core.__file__).read_bytes()).hexdigest())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _models() -> list[str]:
    """The processor's names, as the system says them."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return sorted({line for line in lines if line.startswith(("model name", "CPU part"))})
    return [platform.processor()]


def load_costs(path: Path) -> dict[Level, Machine]:
    """The machines of a file by level; none if it holds for another machine, or cannot be read."""
    try:
        said = json.loads(path.read_text())
        if said["machine"] != machine_name():
            return {}
        levels = said["levels"]
        return {
            level: machine_from(level, _costs(levels[level]))
            for level in _core.levels()
            if level in levels
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _costs(said: Mapping[str, float]) -> tuple[float, float, float, float]:
    flops, near, far, call = (float(said[name]) for name in COSTS)
    return flops, near, far, call


def save_costs(path: Path, machines: Mapping[Level, Machine]) -> None:
    """Writes the file. One that was cut short is no JSON, and is measured anew.

    Raises:
        OSError: it cannot be written.
    """
    levels = {
        level: dict(zip(COSTS, costs_of(machine), strict=True))
        for level, machine in machines.items()
    }
    path.write_text(json.dumps({"machine": machine_name(), "levels": levels}, indent=2) + "\n")


def use_costs(path: Path, stops: Callable[[], bool] = bool) -> bool:
    """Sets what plans of this process go by: from the file, or measured now and written there.

    Args:
        path: Of the file.
        stops: Asked while it measures: whether to give up.

    Returns:
        Whether costs are known: a busy machine is measured another time.

    Raises:
        OSError: the file cannot be written; what was measured is set all the same.
    """
    machines = load_costs(path)
    found = None
    if not machines:
        level = _core.levels()[-1]
        found = calibrated(level, stops)
        if found is None:
            return False
        machines = {level: found}
    for level, machine in machines.items():
        set_machine(level, machine)
    if found is not None:
        save_costs(path, machines)
    return True
