"""What a dry run came to, in figures: time, memory, outputs, and where the time went.

Rules of this module:

- Pure: results and samples in, a value out. Every figure is of this run; quantiles are of the runs that ended, nearest
  rank.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cloud.simulation.dry_run import DryRun
from cloud.simulation.flame import Share, Stacks, shares
from device_agent.vm.interface import RunResult, VmLimits

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What was emitted to one topic."""

    topic: str
    messages: int
    payload_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One dry run.

    Attributes:
        outcomes: Outcome to runs.
        wall_ms_p50: Median wall time of a run.
        wall_ms_p99: Of the slowest hundredth.
        wall_ms_max: Of the slowest.
        wall_ms_limit: What a run may take.
        memory_mib_max: Most that the VM has held.
        memory_mib_limit: What it may hold.
        engine_mib_max: Most that its tensors have held.
        engine_mib_limit: What they may hold.
        outputs: By topic.
        log_lines: Lines written.
        samples: How often a run was asked where it is.
        functions: Where most of them were.
    """

    outcomes: dict[str, int]
    wall_ms_p50: float
    wall_ms_p99: float
    wall_ms_max: float
    wall_ms_limit: int
    memory_mib_max: float
    memory_mib_limit: int
    engine_mib_max: float
    engine_mib_limit: int
    outputs: tuple[Output, ...]
    log_lines: int
    samples: int
    functions: tuple[Share, ...]


def summarise(
    runs: Sequence[DryRun], stacks: Stacks, limits: VmLimits, functions_shown: int
) -> Summary:
    """The figures of a dry run."""
    results = [run.result for run in runs if run.result is not None]
    walls = sorted(result.wall_us / 1_000 for result in results)
    engine_bytes = max((result.engine_bytes for result in results), default=0)
    memory_bytes = max((result.memory_bytes for result in results), default=0)
    return Summary(
        outcomes=dict(sorted(Counter(result.outcome for result in results).items())),
        wall_ms_p50=_quantile(walls, 0.5),
        wall_ms_p99=_quantile(walls, 0.99),
        wall_ms_max=_quantile(walls, 1.0),
        wall_ms_limit=limits.wall_ms,
        memory_mib_max=memory_bytes / MIB,
        memory_mib_limit=limits.memory_mib,
        engine_mib_max=engine_bytes / MIB,
        engine_mib_limit=limits.engine_mib,
        outputs=_outputs(results),
        log_lines=sum(len(result.logs) for result in results),
        samples=sum(stacks.values()),
        functions=tuple(shares(stacks, functions_shown)) if stacks else (),
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1] if ordered else 0.0


def _outputs(results: Sequence[RunResult]) -> tuple[Output, ...]:
    messages: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for result in results:
        for emit in result.emits:
            messages[emit.topic] += 1
            sizes[emit.topic] += len(emit.payload)
    return tuple(
        Output(topic=topic, messages=messages[topic], payload_bytes=sizes[topic])
        for topic in sorted(messages)
    )
