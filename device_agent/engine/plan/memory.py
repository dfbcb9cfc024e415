"""Where results lie in a session's arena: memory of what is no longer used is used again.

Rules of this module:

- One walk over the steps in order. A value lives from the step that makes it to the last that reads it; outputs of the
  stage live to its end, inputs from its start.
- Best fit among the gaps; gaps that touch are joined. Offsets are multiples of 64.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

from device_agent.engine.ops import ITEM_BYTES
from device_agent.engine.plan.ir import Step, Value

ALIGNMENT = 64


def room_of(value: Value) -> int:
    """Bytes of a value, padded."""
    return -(-max(1, value.size) * ITEM_BYTES[value.dtype] // ALIGNMENT) * ALIGNMENT


class Gaps:
    """Free ranges of an arena that grows."""

    def __init__(self) -> None:
        self.end = 0
        self._starts: list[int] = []
        self._size: dict[int, int] = {}

    def take(self, size: int) -> int:
        """The smallest gap that fits, or the end."""
        best = -1
        for start in self._starts:
            if self._size[start] >= size and (best < 0 or self._size[start] < self._size[best]):
                best = start
        if best < 0:
            if self._starts and self._starts[-1] + self._size[self._starts[-1]] == self.end:
                best = self._starts.pop()
                del self._size[best]
            else:
                best = self.end
            self.end = best + size
            return best
        have = self._size.pop(best)
        self._starts.remove(best)
        if have > size:
            self._add(best + size, have - size)
        return best

    def give(self, start: int, size: int) -> None:
        """Frees a range; joins it with what it touches."""
        at = bisect_left(self._starts, start)
        if at < len(self._starts) and self._starts[at] == start + size:
            size += self._size.pop(self._starts.pop(at))
        if at > 0 and self._starts[at - 1] + self._size[self._starts[at - 1]] == start:
            self._size[self._starts[at - 1]] += size
        else:
            self._add(start, size)

    def _add(self, start: int, size: int) -> None:
        insort(self._starts, start)
        self._size[start] = size


def plan_memory(
    steps: Sequence[Step], inputs: Sequence[Value], outputs: Sequence[Value]
) -> tuple[dict[int, int], int]:
    """Offset of each value by id, and the bytes of the arena."""
    last: dict[int, int] = {}
    for i, step in enumerate(steps):
        for operand in step.operands:
            last[id(operand[0])] = i
    for value in outputs:
        last[id(value)] = len(steps)
    gaps = Gaps()
    offsets = {id(value): gaps.take(room_of(value)) for value in inputs}
    ends: dict[int, list[Value]] = {}
    for value in inputs:
        ends.setdefault(last.get(id(value), -1), []).append(value)
    for i, step in enumerate(steps):
        for value in step.outputs:
            offsets[id(value)] = gaps.take(room_of(value))
            ends.setdefault(last.get(id(value), i), []).append(value)
        for value in ends.pop(i, ()):
            gaps.give(offsets[id(value)], room_of(value))
    return offsets, gaps.end
