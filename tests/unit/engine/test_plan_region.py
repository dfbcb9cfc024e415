"""Region algebra against the slow definition: move element by element, one transform after the other."""

import random
from itertools import product
from math import prod

import pytest

from device_agent.engine.plan.ir import Builder, Value
from device_agent.engine.plan.region import Axes, Region, compose, loops, normal, strides_of
from device_agent.engine.plan.transforms import (
    expand,
    flip,
    pad_by,
    pad_with,
    reshape,
    take_slice,
    tile,
    transpose,
)

HOLE = -1


def moved(regions: list[Region], count: int, numbers: list[int]) -> list[int]:
    """What a raster makes: the definition."""
    out = [HOLE] * count
    for _, soff, doff, axes in regions:
        for index in product(*(range(axis[0]) for axis in axes)):
            source = soff + sum(i * axis[1] for i, axis in zip(index, axes, strict=True))
            out[doff + sum(i * axis[2] for i, axis in zip(index, axes, strict=True))] = numbers[
                source
            ]
    return out


def nested(numbers: list[int], shape: tuple[int, ...]) -> dict[tuple[int, ...], int]:
    return dict(zip(product(*map(range, shape)), numbers, strict=True))


def random_transform(
    b: Builder, x: Value, have: dict[tuple[int, ...], int], rng: random.Random
) -> tuple[Value, dict[tuple[int, ...], int]]:
    """A transform of x, and the same done to its elements by index."""
    shape, rank = x.shape, len(x.shape)
    kind = rng.choice(("transpose", "slice", "pad", "reshape", "expand", "flip", "tile", "reflect"))
    axis = rng.randrange(rank)
    if kind == "transpose":
        perm = rng.sample(range(rank), rank)
        return transpose(b, x, perm), {tuple(i[p] for p in perm): v for i, v in have.items()}
    if kind == "slice":
        starts = [rng.randrange(n) for n in shape]
        steps = [rng.choice((1, 1, 2)) for _ in shape]
        counts = [
            rng.randint(1, (n - 1 - s) // p + 1)
            for n, s, p in zip(shape, starts, steps, strict=True)
        ]
        made = {
            i: have[tuple(s + k * p for s, k, p in zip(starts, i, steps, strict=True))]
            for i in product(*map(range, counts))
        }
        return take_slice(b, x, starts, counts, steps), made
    if kind == "pad":
        pads = [(rng.randint(0, 2), rng.randint(0, 2)) for _ in shape]
        y = pad_with(b, x, pads)
        made = {
            i: have.get(tuple(k - low for k, (low, _) in zip(i, pads, strict=True)), HOLE)
            for i in product(*map(range, y.shape))
        }
        return y, made
    if kind == "reshape":
        rest = x.size
        sizes: list[int] = []
        while rest > 1 and len(sizes) < 4:
            sizes.append(rng.choice([n for n in range(2, rest + 1) if rest % n == 0]))
            rest //= sizes[-1]
        y = reshape(b, x, (*sizes, rest))
        return y, nested([have[i] for i in product(*map(range, shape))], y.shape)
    if kind == "expand":
        times = rng.randint(1, 3)
        lead = (*shape[:axis], 1, *shape[axis:])
        y = expand(b, reshape(b, x, lead), (*shape[:axis], times, *shape[axis:]))
        return y, {i: have[i[:axis] + i[axis + 1 :]] for i in product(*map(range, y.shape))}
    if kind == "flip":
        n = shape[axis]
        return flip(b, x, axis), {
            (*i[:axis], n - 1 - i[axis], *i[axis + 1 :]): v for i, v in have.items()
        }
    if kind == "tile":
        repeats = [rng.randint(1, 2) for _ in shape]
        y = tile(b, x, repeats)
        made = {
            i: have[tuple(k % n for k, n in zip(i, shape, strict=True))]
            for i in product(*map(range, y.shape))
        }
        return y, made
    low, high, n = rng.randint(0, shape[axis] - 1), rng.randint(0, shape[axis] - 1), shape[axis]
    y = pad_by(b, x, axis, low, high, "reflect")
    made = {}
    for i in product(*map(range, y.shape)):
        k = abs(i[axis] - low)
        k = k if k < n else 2 * (n - 1) - k
        made[i] = have[(*i[:axis], k, *i[axis + 1 :])]
    return y, made


@pytest.mark.parametrize("seed", range(8))
def test_chains_of_transforms_are_what_they_are_one_by_one(seed: int) -> None:
    rng = random.Random(seed)
    merged = 0
    for _ in range(150):
        b = Builder()
        shape = tuple(rng.randint(1, 4) for _ in range(rng.randint(1, 4)))
        x = b.given("x", 2, shape)
        numbers = [rng.randrange(1000) for _ in range(x.size)]
        y, have = x, nested(numbers, shape)
        for _ in range(rng.randint(1, 4)):
            if y.size > 600:
                break
            y, have = random_transform(b, y, have, rng)
        if b.steps or y.regions is None:
            continue  # a raster stands between: what could not be composed
        merged += 1
        assert all(region[0] is x for region in y.regions)
        want = [have[i] for i in product(*map(range, y.shape))]
        assert moved(y.regions, y.size, numbers) == want
        assert (y.fill is None) == (HOLE not in have.values())
    assert merged > 100, "most chains need no memory between"


@pytest.mark.parametrize("seed", range(4))
def test_three_loops_move_the_same(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(100):
        shape = [rng.randint(2, 4) for _ in range(rng.randint(1, 5))]
        perm = rng.sample(range(len(shape)), len(shape))
        strides, out = strides_of(shape), strides_of([shape[i] for i in perm])
        axes = [(shape[i], strides[i], o) for i, o in zip(perm, out, strict=True)]
        region: Region = (None, *normal(0, 0, axes))
        parts = loops(region)
        assert all(len(part[3]) <= 3 for part in parts)
        numbers = list(range(prod(shape)))
        assert moved(parts, len(numbers), numbers) == moved([region], len(numbers), numbers)


def test_normal_form_fuses_what_is_one_run() -> None:
    assert normal(0, 0, [(2, 12, 12), (3, 4, 4), (4, 1, 1)]) == (0, 0, ((24, 1, 1),))
    assert normal(5, 0, [(1, 9, 9), (3, 2, -1)]) == (9, -2, ((3, -2, 1),))


def test_a_plain_copy_only_shifts() -> None:
    inner: Region = ("origin", 100, 10, ((50, 1, 1),))
    outer: Region = ("between", 12, 0, ((4, 3, 1),))
    assert compose(outer, inner) == [("origin", 102, 0, ((4, 3, 1),))]


def test_what_has_no_such_form_is_not_composed() -> None:
    overlapping: Axes = ((3, 1, 2), (3, 5, 1))
    assert compose(("between", 0, 0, ((9, 1, 1),)), ("origin", 0, 0, overlapping)) is None


def test_equal_rasters_are_made_once() -> None:
    b = Builder()
    x = b.given("x", 1, (3, 4))
    first, second = transpose(b, x, (1, 0)), transpose(b, x, (1, 0))
    assert b.memory(first)[0] is b.memory(second)[0]
    assert [step.op for step in b.steps] == ["raster"]
    assert b.memory(transpose(b, x, (0, 1)))[0] is x


def test_contiguous_parts_are_aliases() -> None:
    b = Builder()
    x = b.given("x", 1, (4, 6))
    part = take_slice(b, x, (2, 0), (2, 6), (1, 1))
    assert b.memory(part) == (x, 12)
    assert not b.steps
