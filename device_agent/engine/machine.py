"""What the kernels of a level cost on this machine: one table for all interpreters of the process.

Rules of this module:

- Whoever hosts tasks sets it, once measured; the core refuses a task that tries. Until then only the peak is known, and
  each interpreter measures that for itself.
"""

from __future__ import annotations

from device_agent.engine import _core
from device_agent.engine.plan.costs import Machine, typical

PEAK_ROUNDS = 20_000  # of the core's kernel_peak: about a millisecond

type Level = _core._Level

_typical: dict[str, Machine] = {}


def machine_of(level: Level) -> Machine:
    """The kernels of a level here: as it was set, else by the peak alone."""
    known = _core.costs(level)
    if known is not None:
        return machine_from(level, known)
    if level not in _typical:
        _typical[level] = typical_machine(level)
    return _typical[level]


def typical_machine(level: Level) -> Machine:
    """The kernels of a level here, of which only the peak is measured, now."""
    peak = 1e9 * _core.kernel_peak(rounds=PEAK_ROUNDS, level=level)
    return typical(_core.kernel_tiles(level), peak)


def machine_from(level: Level, costs: tuple[float, float, float, float]) -> Machine:
    """The kernels of a level with their costs: operations, near bytes and far bytes a second, seconds a call."""
    lanes, vectors, rows = _core.kernel_tiles(level)
    flops, near, far, call = costs
    return Machine(
        lanes=lanes,
        vectors=vectors,
        rows=rows,
        flops_per_s=flops,
        near_bytes_per_s=near,
        far_bytes_per_s=far,
        call_s=call,
    )


def costs_of(machine: Machine) -> tuple[float, float, float, float]:
    """The numbers of `machine_from`."""
    return (
        machine.flops_per_s,
        machine.near_bytes_per_s,
        machine.far_bytes_per_s,
        machine.call_s,
    )


def set_machine(level: Level, machine: Machine) -> None:
    """What plans of this process go by from now on.

    Raises:
        ValueError: a cost is impossible, or this is the VM of a task.
    """
    _core.set_costs(level, *costs_of(machine))
