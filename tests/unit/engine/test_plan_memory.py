"""Memory of a plan: values that live at once never overlap, and what is free is used again."""

import random

import pytest

from device_agent.engine.plan.ir import Builder, Step, Value
from device_agent.engine.plan.memory import ALIGNMENT, Gaps, plan_memory, room_of


def lives(steps: list[Step], outputs: list[Value]) -> dict[int, tuple[int, int]]:
    """First and last step of each value, by definition."""
    found: dict[int, tuple[int, int]] = {}
    for i, step in enumerate(steps):
        for value in step.outputs:
            found[id(value)] = (i, i)
        for operand in step.operands:
            if id(operand[0]) in found:
                found[id(operand[0])] = (found[id(operand[0])][0], i)
    for value in outputs:
        found[id(value)] = (found[id(value)][0], len(steps))
    return found


@pytest.mark.parametrize("seed", range(6))
def test_values_that_live_at_once_do_not_overlap(seed: int) -> None:
    rng = random.Random(seed)
    b = Builder()
    values = [b.given("x", 1, (rng.randint(1, 400),))]
    for _ in range(60):
        read = rng.sample(values[-6:], min(len(values), rng.randint(1, 3)))
        outputs = [(1, (rng.randint(1, 400),)) for _ in range(rng.randint(1, 2))]
        values += b.step("add", [b.operand(value) for value in read], outputs)
    last = values[-2:]
    offsets, size = plan_memory(b.steps, values[:1], last)
    alive = lives(b.steps, last)
    made = [value for step in b.steps for value in step.outputs]
    for i, one in enumerate(made):
        start, end = offsets[id(one)], offsets[id(one)] + room_of(one)
        assert start % ALIGNMENT == 0
        assert end <= size
        for other in made[:i]:
            (a, z), (c, d) = alive[id(one)], alive[id(other)]
            if a <= d and c <= z:
                assert end <= offsets[id(other)] or offsets[id(other)] + room_of(other) <= start
    assert size < sum(map(room_of, made)) / 2, "memory is used again"


def test_gaps_join_and_the_smallest_that_fits_is_taken() -> None:
    gaps = Gaps()
    places = [gaps.take(64) for _ in range(5)]
    assert places == [0, 64, 128, 192, 256]
    gaps.give(64, 64)
    gaps.give(192, 64)
    gaps.give(128, 64)
    assert gaps.take(192) == 64
    gaps.give(0, 64)
    assert gaps.take(64) == 0
    gaps.give(256, 64)
    assert gaps.take(128) == 256
    assert gaps.end == 384
