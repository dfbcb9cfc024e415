"""Mutated model files and plans: refused, or harmless; nothing crashes.

A seed makes a run; a failure prints its own.
"""

import random
import struct

import pytest

from device_agent.engine import _core
from device_agent.engine.errors import ModelInvalid, ModelUnsupported
from device_agent.engine.format import HEADER, encode_model
from device_agent.engine.model import Model, parse_model
from tests.helpers.graphs import sealed, two_layers
from tests.helpers.mutations import damaged, runs

MODEL = encode_model(two_layers())
GRAPH = HEADER.unpack_from(MODEL)[4]
ROUNDS = 600
INTERESTING = (0, 1, 2, 3, 5, 6, 7, 63, 64, 127, 128, 255, 2**15, 2**16 - 1, 2**31, 2**32 - 1)
BYTES = b'0123456789-"[]{},:.ex'


def mutated(rng: random.Random) -> bytes:
    data = bytearray(MODEL)
    for _ in range(rng.randint(1, 4)):
        kind = rng.randrange(6)
        at = rng.randrange(len(data) - 8)
        if kind == 0:
            data[at] = rng.randrange(256)
        elif kind == 1:
            struct.pack_into("<I", data, at & ~3, rng.choice(INTERESTING))
        elif kind == 2:
            data[rng.randrange(HEADER.size, HEADER.size + GRAPH)] = rng.choice(BYTES)
        elif kind == 3:
            other = rng.randrange(len(data) - 8)
            data[at : at + 8] = data[other : other + 8]
        elif kind == 4:
            at = rng.randrange(HEADER.size, HEADER.size + GRAPH)
            data[at] = rng.choice(BYTES)
        else:
            data[at] ^= 1 << rng.randrange(8)
    if rng.random() < 0.1:
        del data[rng.randrange(len(data)) :]
    if len(data) < HEADER.size:
        return bytes(data)
    struct.pack_into("<Q", data, 16, len(data))
    return sealed(data)


def run_it(model: Model) -> None:
    """Runs on inputs of the shapes that it asks for; what it makes may be anything."""
    inputs = []
    for _, dtype, shape in model.inputs:
        small = tuple(2 if size < 0 else size for size in shape)
        if any(size > 64 for size in small):
            return
        inputs.append(_core.zeros(small, dtype))  # type: ignore[arg-type]  # a dtype's name
    try:
        for made in model.run(inputs):
            made.tolist()
    except (ValueError, TypeError, MemoryError):
        pass  # refused when it is planned or runs: harmless


@pytest.mark.parametrize("seed", range(4))
def test_mutated_files_are_refused_or_harmless(seed: int) -> None:
    rng = random.Random(seed)
    taken = 0
    for number in range(ROUNDS):
        data = mutated(rng)
        try:
            model = parse_model(data)
        except (_core.ModelInvalid, _core.ModelUnsupported, ModelInvalid, ModelUnsupported):
            continue
        except Exception as error:
            pytest.fail(f"seed {seed}, mutation {number}: {error!r}")
        taken += 1
        run_it(model)
    assert 0 < taken < ROUNDS  # some reach the kernels, and not all


def plan_of(model: Model, x: _core.Tensor) -> bytes:
    model.run(x)
    (stage,) = model.plans()
    return stage.plan.words


# Some mutations ask for an arena of 2 GiB, and get it.
@pytest.mark.parametrize("seed", [0, 2, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 3))])
def test_mutated_plans_are_refused_or_harmless(seed: int) -> None:
    """A plan is words; any of them may be anything."""
    rng = random.Random(seed)
    x = _core.zeros((2, 3))
    words = plan_of(parse_model(MODEL), x)
    file = _core.check_model(MODEL)
    taken = sum(runs(damaged(words, rng), file, [x]) for _ in range(ROUNDS))
    assert 0 < taken < ROUNDS


def test_cut_plans_are_refused() -> None:
    words = plan_of(parse_model(MODEL), _core.zeros((2, 3)))
    file = _core.check_model(MODEL)
    for size in range(0, len(words), 4):
        with pytest.raises(_core.PlanInvalid):
            _core.session(words[:size], file)
    with pytest.raises(TypeError):
        _core.session(words, _core.zeros(4))
