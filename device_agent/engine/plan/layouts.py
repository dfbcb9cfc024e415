"""Where pictures lie while a plan is scheduled: in blocks of channels, plain, or both.

Rules of this module:

- A picture is brought into the other layout when a step first needs that, once.
- Steps are appended in the order in which they run; what hangs on constants only is a step like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from device_agent.engine.ops import Dtype
from device_agent.engine.plan.ir import Builder, Operand, Shape, Step, Value
from device_agent.engine.plan.region import strides_of

type Dims = tuple[int, int, int, int]


def operand_of(value: Value, shape: Shape | None = None) -> Operand:
    """A value as a step takes it: as it lies, or in another shape of as many elements."""
    sizes = value.shape if shape is None else shape
    return value, value.dtype, sizes, 0, strides_of(sizes)


class Layouts:
    """The steps so far, and how each picture lies."""

    def __init__(self, b: Builder, lanes: int) -> None:
        self._b = b
        self._lanes = lanes
        self._made: list[Step] = []
        self._blocked: dict[int, tuple[Value, Dims]] = {}
        self._moved: dict[tuple[int, int, Dims], Value] = {}
        self._plain: set[int] = set()  # values that only lay blocked and were made plain

    # --- building ----------------------------------------------------------------------------------------------------

    def _step(
        self,
        op: str,
        operands: list[Operand],
        outputs: Sequence[tuple[int, Shape]],
        words: Sequence[int],
    ) -> list[Value]:
        made = self._b.step(op, operands, outputs, words)
        self._made.append(self._b.steps.pop())
        return made

    def _constants(self, make: Callable[[], Value]) -> Value:
        """A constant that is computed from others; the steps of that are taken along."""
        before = len(self._b.steps)
        value = make()
        self._made.extend(self._b.steps[before:])
        return value

    def _into(
        self, op: str, operands: list[Operand], out: Value, words: Sequence[int], workspace: int
    ) -> None:
        """A kernel that makes `out`, with room to work in."""
        room = Value(Dtype.FLOAT32, (max(1, workspace),))
        step = Step(op, operands, [out, room], list(words))
        out.step = room.step = step
        self._made.append(step)

    # --- layouts -----------------------------------------------------------------------------------------------------

    def _blocks_of(self, dims: Dims) -> Shape:
        n, c, h, w = dims
        return (n, -(-c // self._lanes), h, w, self._lanes)

    def _need_plain(self, value: Value) -> None:
        if id(value) not in self._plain and id(value) in self._blocked:
            blocked, dims = self._blocked[id(value)]
            held = operand_of(blocked, self._blocks_of(dims))
            step = Step("to_plain", [held], [value], list(dims))
            value.step = step
            self._made.append(step)
            self._plain.add(id(value))

    def _as_plain(self, operand: Operand) -> Operand:
        self._need_plain(operand[0])
        return operand

    def _as_blocked(self, operand: Operand, dims: Dims) -> Operand:
        """The picture in blocks; moved when it is not."""
        value, _, _, shift, _ = operand
        held = self._held(operand, dims)
        if held is not None:
            return held
        key = (id(value), shift, dims)
        if key not in self._moved:
            self._need_plain(value)
            flat = (value, value.dtype, dims, shift, strides_of(dims))
            outputs = [(int(Dtype.FLOAT32), self._blocks_of(dims))]
            self._moved[key] = self._step("to_blocked", [flat], outputs, dims)[0]
        return operand_of(self._moved[key])

    def _held(self, operand: Operand, dims: Dims) -> Operand | None:
        """The picture in blocks, when it lies so already: all of a value, or whole blocks of its channels."""
        value, _, shape, shift, strides = operand
        if id(value) not in self._blocked or strides != strides_of(shape):
            return None
        blocked, have = self._blocked[id(value)]
        if shift == 0 and prod(shape) == value.size and have == dims:
            return operand_of(blocked, self._blocks_of(dims))
        n, c, h, w = dims
        aligned = n == 1 and have[2:] == (h, w) and c % self._lanes == 0
        if aligned and shift % (h * w * self._lanes) == 0 and have[1] % self._lanes == 0:
            shape5 = self._blocks_of(dims)
            return blocked, blocked.dtype, shape5, shift, strides_of(shape5)
        return None

    def _lies_blocked(self, value: Value, blocked: Value, dims: Dims) -> None:
        self._blocked[id(value)] = (blocked, dims)
