"""Plans with words changed, and what the core makes of them."""

import random
import struct
from collections.abc import Sequence

from device_agent.engine import _core

# What limits and sizes are near.
EDGES = (
    -(2**63), -(2**31), -64, -2, -1, 0, 1, 2, 3, 4, 7, 8, 16, 64, 255, 4096, 65_537, 2**24, 2**24 + 1, 2**31, 2**40,
    2**62, 2**63 - 1,
)  # fmt: skip


def damaged(words: bytes, rng: random.Random, first: int = 0) -> bytes:
    """The plan with one to three of its words, from the first on, at an edge or near what they were."""
    data = bytearray(words)
    for _ in range(rng.randint(1, 3)):
        at = 8 * rng.randrange(first, len(data) // 8)
        (old,) = struct.unpack_from("<q", data, at)
        near = max(-(2**63), min(2**63 - 1, old + rng.choice((-16, -8, -1, 1, 2, 8, 64))))
        struct.pack_into("<q", data, at, rng.choice((*EDGES, near, near, near, near)))
    return bytes(data)


def runs(
    words: bytes, file: _core.Tensor, inputs: Sequence[_core.Tensor], threads: int = 1
) -> bool:
    """Whether a plan ran; False when it was refused. Any other error is a finding, and goes on."""
    try:
        _core.session(words, file, threads).run(inputs)
    except (_core.PlanInvalid, ValueError, TypeError, MemoryError):
        return False
    return True
