"""Mutated model files: refused, or harmless. Both readers take what both take, and nothing crashes.

A seed makes a run; a failure prints its own.
"""

import random
import struct

import pytest

from device_agent.engine import _core
from device_agent.engine.errors import ModelInvalid, ModelUnsupported
from device_agent.engine.format import HEADER, decode_model, encode_model
from tests.helpers.graphs import sealed, two_layers

MODEL = encode_model(two_layers())
ROUNDS = 3_000
INTERESTING = (0, 1, 2, 3, 5, 6, 7, 63, 64, 127, 128, 255, 2**15, 2**16 - 1, 2**31, 2**32 - 1)
EDGES = (0, -1, -2, 1, 2**31, 2**62, 2**63 - 1, -(2**63))


def mutated(rng: random.Random) -> bytes:
    data = bytearray(MODEL)
    for _ in range(rng.randint(1, 4)):
        kind = rng.randrange(5)
        at = rng.randrange(len(data) - 8)
        if kind == 0:
            data[at] = rng.randrange(256)
        elif kind == 1:
            struct.pack_into("<I", data, at & ~3, rng.choice(INTERESTING))
        elif kind == 2:
            struct.pack_into("<q", data, at & ~7, rng.choice(EDGES))
        elif kind == 3:
            other = rng.randrange(len(data) - 8)
            data[at : at + 8] = data[other : other + 8]
        else:
            data[at] ^= 1 << rng.randrange(8)
    if rng.random() < 0.1:
        del data[rng.randrange(len(data)) :]
    if len(data) < HEADER.size:
        return bytes(data)
    struct.pack_into("<Q", data, 16, len(data))
    return sealed(data)


def run_it(model: _core.Model) -> None:
    """Runs on inputs of the shapes that it asks for; what it makes may be anything."""
    inputs = []
    for _, dtype, shape in model.inputs:
        small = tuple(2 if size < 0 else size for size in shape)
        if any(size > 64 for size in small):
            return
        inputs.append(_core.zeros(small, dtype))
    try:
        for made in model.run(inputs):
            made.tolist()
    except (ValueError, TypeError, MemoryError):
        pass  # refused when it runs: harmless


@pytest.mark.parametrize("seed", range(4))
def test_mutations_are_refused_or_harmless(seed: int) -> None:
    rng = random.Random(seed)
    taken = 0
    for number in range(ROUNDS):
        data = mutated(rng)
        try:
            model = _core.parse_model(data)
        except (_core.ModelInvalid, _core.ModelUnsupported):
            continue
        except Exception as error:
            pytest.fail(f"seed {seed}, mutation {number}: {error!r}")
        taken += 1
        try:
            decode_model(data)
        except (ModelInvalid, ModelUnsupported) as error:
            pytest.fail(f"seed {seed}, mutation {number}: only the reference refuses: {error}")
        run_it(model)
    assert 0 < taken < ROUNDS  # some reach the kernels, and not all
