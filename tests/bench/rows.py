"""One row of a benchmark: a value against a target, and against a named peer measured in the same run."""

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRow:
    """One measured figure.

    Attributes:
        name: What was measured, in words that stand alone.
        value: Median over the interleaved rounds.
        unit: Unit of the value, e.g. "1/s", "us", "ratio".
        target: What we want; None when there is none.
        holds: Whether the value meets the target; None without a target.
        peer: What it was measured against in the same run; "" for none.
        ratio: Ours over the peer's, oriented so that more is better; None without a peer.
    """

    name: str
    value: float
    unit: str
    target: float | None = None
    holds: bool | None = None
    peer: str = ""
    ratio: float | None = None


def at_least(name: str, value: float, unit: str, target: float) -> BenchRow:
    """A row whose value should be at least the target."""
    return BenchRow(name=name, value=value, unit=unit, target=target, holds=value >= target)


def at_most(name: str, value: float, unit: str, target: float) -> BenchRow:
    """A row whose value should be at most the target."""
    return BenchRow(name=name, value=value, unit=unit, target=target, holds=value <= target)


def ratio_to(peer: str, name: str, ratio: float, target: float) -> BenchRow:
    """A row that compares with a peer: ours over theirs, more is better."""
    return BenchRow(
        name=name,
        value=ratio,
        unit="ratio",
        target=target,
        holds=ratio >= target,
        peer=peer,
        ratio=ratio,
    )


def interleaved(rounds: int, *contenders: Callable[[], float]) -> list[float]:
    """Runs the contenders in turn, `rounds` times, and gives each one's median: noise hits all alike."""
    samples: list[list[float]] = [[] for _ in contenders]
    for _ in range(rounds):
        for kept, contender in zip(samples, contenders, strict=True):
            kept.append(contender())
    return [statistics.median(kept) for kept in samples]


def write(rows: Sequence[BenchRow], path: Path) -> None:
    """Writes the rows as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
