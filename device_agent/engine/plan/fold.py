"""What the planner has to know before a plan runs: shapes and bounds that other operators compute.

Rules of this module:

- Values are read on demand: only what a shape hangs on is computed here, in plain Python, and only when it is small.
- What the stage's inputs hold is asked for through `Reader`, which remembers what was read: the plan holds only while
  that stays the same.
- `Unknown` means that a step must run first; the stage is cut there (Walle's module mode).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from itertools import product

from device_agent.engine.ops import Dtype
from device_agent.engine.plan.ir import Number, Operand, Step, Value
from device_agent.engine.settings import PLAN_LIMITS

type Known = tuple[Number, ...]

FORMATS = {
    Dtype.FLOAT32: "f", Dtype.INT32: "i", Dtype.INT64: "q", Dtype.UINT8: "B", Dtype.BOOL: "?", Dtype.FLOAT64: "d",
    Dtype.FLOAT16: "e", Dtype.INT8: "b", Dtype.INT16: "h", Dtype.UINT16: "H", Dtype.UINT32: "I", Dtype.UINT64: "Q",
}  # fmt: skip
FLOATS = frozenset({Dtype.FLOAT32, Dtype.FLOAT64, Dtype.FLOAT16, Dtype.BFLOAT16})


class Unknown(Exception):
    """The value is known only when a step has run."""


def decoded(dtype: int, data: bytes | memoryview) -> Known:
    """Bytes as numbers."""
    if dtype == Dtype.BFLOAT16:
        count = len(data) // 2
        bits = struct.unpack(f"<{count}H", data)
        return struct.unpack(f"<{count}f", struct.pack(f"<{count}I", *(b << 16 for b in bits)))
    code = FORMATS[Dtype(dtype)]
    return struct.unpack(f"<{len(data) // struct.calcsize(code)}{code}", data)


def encoded(dtype: int, numbers: Sequence[Number]) -> bytes:
    """Numbers as bytes; they must fit."""
    if dtype == Dtype.BFLOAT16:
        wide = struct.unpack(f"<{len(numbers)}I", struct.pack(f"<{len(numbers)}f", *numbers))
        return struct.pack(f"<{len(numbers)}H", *((w + 0x7FFF + (w >> 16 & 1)) >> 16 for w in wide))
    return struct.pack(f"<{len(numbers)}{FORMATS[Dtype(dtype)]}", *numbers)


def bits_of(dtype: int, number: Number) -> int:
    """The bits of one element, as a raster fills with them."""
    return int.from_bytes(encoded(dtype, [number]), "little")


class Reader:
    """Reads values; knows what a stage's inputs hold."""

    def __init__(self, contents: Callable[[str], bytes]) -> None:
        self._contents = contents
        self.read: dict[str, bytes] = {}

    def numbers(self, value: Value) -> Known:
        """The elements of a value, in order.

        Raises:
            Unknown: a step must run first, or there are too many.
        """
        if value.known is None:
            if value.size > PLAN_LIMITS.literal_elements_max:
                raise Unknown
            value.known = self._numbers(value)
        return value.known

    def _numbers(self, value: Value) -> Known:
        if value.size == 0:
            return ()
        if value.data is not None:
            return decoded(value.dtype, value.data)
        if value.name:
            if value.name not in self.read:
                self.read[value.name] = self._contents(value.name)
            return decoded(value.dtype, self.read[value.name])
        if value.regions is not None:
            return self._moved(value)
        step = value.step
        if step is None or step.op not in FOLDS:
            raise Unknown
        operands = [self._operand(operand) for operand in step.operands]
        return FOLDS[step.op](step, operands)

    def _moved(self, value: Value) -> Known:
        fill: Number = 0
        if value.fill is not None:
            width = Dtype(value.dtype).item_bytes
            fill = decoded(value.dtype, value.fill.to_bytes(width, "little"))[0]
        out: list[Number] = [fill] * value.size
        for origin, soff, doff, axes in value.regions or ():
            if origin.dtype != value.dtype:
                raise Unknown
            numbers = self.numbers(origin)
            for index in product(*(range(axis[0]) for axis in axes)):
                source, destination = soff, doff
                for i, (_, s, d) in zip(index, axes, strict=True):
                    source += i * s
                    destination += i * d
                out[destination] = numbers[source]
        return tuple(out)

    def _operand(self, operand: Operand) -> Known:
        value, dtype, shape, shift, strides = operand
        if dtype != value.dtype:
            raise Unknown
        numbers = self.numbers(value)
        if math.prod(shape) == len(numbers) and shift == 0 and len(shape) <= 1:
            return numbers
        return tuple(
            numbers[shift + sum(i * s for i, s in zip(index, strides, strict=True))]
            for index in product(*(range(n) for n in shape))
        )


# --- what is computed here -------------------------------------------------------------------------------------------


def wrapped(dtype: int, number: Number) -> Number:
    """A number as an element of a dtype holds it."""
    if dtype == Dtype.BOOL:
        return bool(number)
    if dtype in FLOATS:
        return decoded(dtype, encoded(dtype, [_in_range(dtype, float(number))]))[0]
    bits = 8 * Dtype(dtype).item_bytes
    low = 0 if dtype in _UNSIGNED else -(1 << (bits - 1))
    return (int(number) - low) % (1 << bits) + low


_UNSIGNED = frozenset({Dtype.UINT8, Dtype.UINT16, Dtype.UINT32, Dtype.UINT64})
_FLOAT32_MAX = 3.4028234663852886e38


def _in_range(dtype: int, number: float) -> float:
    if dtype == Dtype.FLOAT64 or math.isnan(number) or abs(number) <= _FLOAT32_MAX:
        return number
    return math.copysign(math.inf, number)


def _index_maps(step: Step) -> list[list[int]]:
    """For each operand, the element that each element of the result takes."""
    shape = step.outputs[0].shape
    maps = []
    for operand in step.operands:
        sizes = (1,) * (len(shape) - len(operand[2])) + operand[2]
        strides, stride = [], 1
        for n in reversed(sizes):
            strides.append(0 if n == 1 else stride)
            stride *= n
        strides.reverse()
        maps.append(
            [
                sum(i * s for i, s in zip(index, strides, strict=True))
                for index in product(*(range(n) for n in shape))
            ]
        )
    return maps


def _each(function: Callable[..., Number]) -> Callable[[Step, list[Known]], Known]:
    def fold(step: Step, operands: list[Known]) -> Known:
        dtype = step.outputs[0].dtype
        maps = _index_maps(step)
        rows = zip(
            *([numbers[i] for i in places] for numbers, places in zip(operands, maps, strict=True)),
            strict=True,
        )
        try:
            return tuple(wrapped(dtype, function(*row)) for row in rows)
        except (ZeroDivisionError, OverflowError, ValueError) as error:
            raise Unknown from error

    return fold


def _divide(a: Number, b: Number) -> Number:
    if isinstance(a, float):
        return a / b
    return int(abs(a) // abs(b)) * (1 if (a < 0) == (b < 0) else -1)


def _round(x: Number) -> Number:
    return x if not math.isfinite(x) else float(round(x))


def _cast(step: Step, operands: list[Known]) -> Known:
    dtype = step.outputs[0].dtype
    if dtype not in FLOATS and dtype != Dtype.BOOL and not all(map(math.isfinite, operands[0])):
        raise Unknown
    return tuple(wrapped(dtype, number) for number in operands[0])


def _reduce(function: Callable[[list[Number]], Number]) -> Callable[[Step, list[Known]], Known]:
    def fold(step: Step, operands: list[Known]) -> Known:
        shape = step.operands[0][2]
        axes = set(step.attributes[1:]) or set(range(len(shape)))
        groups: dict[tuple[int, ...], list[Number]] = {}
        kept = [range(1) if i in axes else range(n) for i, n in enumerate(shape)]
        for index in product(*kept):
            groups[index] = []
        for number, index in zip(operands[0], product(*map(range, shape)), strict=True):
            groups[tuple(0 if i in axes else k for i, k in enumerate(index))].append(number)
        dtype = step.outputs[0].dtype
        try:
            return tuple(wrapped(dtype, function(group)) for group in groups.values())
        except ValueError as error:  # nothing has no largest
            raise Unknown from error

    return fold


def _take(step: Step, operands: list[Known]) -> Known:
    shape, axis = step.operands[0][2], step.attributes[0]
    numbers, places = operands
    n, block = shape[axis], math.prod(shape[axis + 1 :])
    if not all(-n <= place < n for place in places):
        raise Unknown
    out: list[Number] = []
    for row in range(math.prod(shape[:axis])):
        for place in places:
            start = (row * n + int(place) % n) * block
            out += numbers[start : start + block]
    return tuple(out)


def _raster(step: Step, operands: list[Known]) -> Known:
    """Three loops a region, from an operand's elements to the result's."""
    filled, bits, count, *words = step.attributes
    out = step.outputs[0]
    width = Dtype(out.dtype).item_bytes
    if any(operand[1] != out.dtype for operand in step.operands):
        raise Unknown
    fill = decoded(out.dtype, bits.to_bytes(width, "little"))[0] if filled else 0
    made: list[Number] = [fill] * out.size
    for i in range(count):
        place, source, s0, s1, s2, to, d0, d1, d2, *sizes = words[12 * i : 12 * (i + 1)]
        for a, b, c in product(*map(range, sizes)):
            made[to + a * d0 + b * d1 + c * d2] = operands[place][source + a * s0 + b * s1 + c * s2]
    return tuple(made)


FOLDS: dict[str, Callable[[Step, list[Known]], Known]] = {
    "add": _each(lambda a, b: a + b),
    "subtract": _each(lambda a, b: a - b),
    "multiply": _each(lambda a, b: a * b),
    "divide": _each(_divide),
    "maximum": _each(max),
    "minimum": _each(min),
    "remainder": _each(lambda a, b: a % b),
    "equal": _each(lambda a, b: a == b),
    "less": _each(lambda a, b: a < b),
    "less_equal": _each(lambda a, b: a <= b),
    "logical_and": _each(lambda a, b: a and b),
    "logical_or": _each(lambda a, b: a or b),
    "logical_not": _each(lambda a: not a),
    "where": _each(lambda c, a, b: a if c else b),
    "negative": _each(lambda a: -a),
    "absolute": _each(abs),
    "floor": _each(math.floor),
    "ceil": _each(math.ceil),
    "round": _each(_round),
    "sqrt": _each(math.sqrt),
    "cast": _cast,
    "raster": _raster,
    "take": _take,
    "reduce_sum": _reduce(sum),
    "reduce_product": _reduce(math.prod),
    "reduce_max": _reduce(max),
    "reduce_min": _reduce(min),
}
