"""What planning comes to: the flat plan of a stage, or why there is none. All that whoever runs a plan needs of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


class PlanError(ValueError):
    """A graph that does not fit together with the shapes that it was given; the message says where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A flat plan and what is known of it.

    Attributes:
        words: What the core runs.
        steps: Steps of one run.
        prologue: Steps that run once.
        rasters: Rasters among the steps.
        moves: Transforms that were planned: the rasters there would be without merging.
        arena_bytes: Memory that a run works in.
    """

    words: bytes
    steps: int
    prologue: int
    rasters: int
    moves: int
    arena_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A planned stretch of operators.

    Attributes:
        plan: What the core runs.
        inputs: Names of the tensors that it is given.
        outputs: Names of those that it makes.
        end: The first operator after it.
        read: What the plan read of its inputs: it holds while that stays so.
    """

    plan: Plan
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    end: int
    read: Mapping[str, bytes]
