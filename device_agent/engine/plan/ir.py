"""What a plan is made of while it is made: values, and steps of the core over them.

Rules of this module:

- A value is a constant (in the model file, or a literal), an input of the stage, a result of a step, or *virtual*: no
  memory, only regions that say where its elements lie in other values. A virtual value becomes a raster step when a
  step needs it as it is, at most once; two values with the same regions share one raster (horizontal merging).
- What a virtual value is made of is never virtual itself: regions are composed when they are written down (vertical
  merging).
- Whatever depends on constants only is constant, and is computed when a session is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from device_agent.engine.ops import ITEM_BYTES, Dtype
from device_agent.engine.plan.planned import PlanError
from device_agent.engine.plan.region import (
    Axes,
    Axis,
    Region,
    elements,
    loops,
    merged,
    normal,
    strides_of,
)
from device_agent.engine.settings import LIMITS

type Shape = tuple[int, ...]
type Number = int | float | bool
type Given = tuple["Value", int, int, Sequence[Axis]]


class Value:
    """A tensor of the plan."""

    __slots__ = (
        "base", "constant", "data", "dtype", "fill", "known", "name", "regions", "shape", "shift", "size", "start",
        "step",
    )  # fmt: skip

    def __init__(self, dtype: int, shape: Shape) -> None:
        self.dtype = dtype
        self.shape = shape
        self.size = prod(shape)
        most = LIMITS.tensor_bytes_max
        if self.size > most or any(not 0 <= n <= most for n in shape):
            raise PlanError(f"a tensor of shape {shape} cannot be")
        self.constant = False
        self.data: bytes | memoryview | None = None  # of a constant
        self.start = -1  # of a constant in the file
        self.name = ""  # of a stage's input
        self.step: Step | None = None
        self.regions: list[Region] | None = None  # of a virtual value
        self.fill: int | None = None  # the bits of elements that no region writes
        self.base: Value | None = None  # the memory of a virtual value that got some,
        self.shift = 0  # from this element on
        self.known: tuple[Number, ...] | None = None

    def __repr__(self) -> str:
        kind = "virtual" if self.regions is not None else "step" if self.step else self.name
        return f"<{Dtype(self.dtype).name} {self.shape} {kind}>"


type Operand = tuple[
    Value, int, Shape, int, tuple[int, ...]
]  # memory, dtype, shape, first element, strides


def spread(operand: Operand, shape: Shape) -> tuple[int, ...]:
    """An operand's strides along a result's axes; 0 where it is repeated."""
    _, _, sizes, _, strides = operand
    lead = len(shape) - len(sizes)
    own = (0 if n == 1 else stride for n, stride in zip(sizes, strides, strict=True))
    return (0,) * lead + tuple(own)


class Step:
    """One command of the core; a raster's operands are its regions' origins."""

    __slots__ = ("attributes", "op", "operands", "outputs")

    def __init__(
        self, op: str, operands: list[Operand], outputs: list[Value], attributes: list[int]
    ) -> None:
        self.op = op
        self.operands = operands
        self.outputs = outputs
        self.attributes = attributes


class Builder:
    """Values and steps so far."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.moves = 0  # transforms: the rasters that there would be without merging
        self._rasters: dict[object, Value] = {}
        self._literals: dict[object, Value] = {}

    # --- values ------------------------------------------------------------------------------------------------------

    def given(self, name: str, dtype: int, shape: Shape) -> Value:
        """An input of the stage."""
        value = Value(dtype, shape)
        value.name = name
        return value

    def weight(self, dtype: int, shape: Shape, data: memoryview | bytes, start: int) -> Value:
        """A constant in the model file."""
        value = Value(dtype, shape)
        value.constant, value.data, value.start = True, data, start
        return value

    def literal(self, dtype: int, shape: Shape, data: bytes) -> Value:
        """A constant that the planner made."""
        key = (dtype, shape, data)
        value = self._literals.get(key)
        if value is None:
            value = self._literals[key] = Value(dtype, shape)
            value.constant, value.data = True, data
        return value

    def step(
        self,
        op: str,
        operands: list[Operand],
        outputs: Sequence[tuple[int, Shape]],
        attributes: Sequence[int] = (),
    ) -> list[Value]:
        """A new step; returns its results."""
        made = [Value(dtype, shape) for dtype, shape in outputs]
        constant = all(operand[0].constant for operand in operands)
        step = Step(op, operands, made, list(attributes))
        for value in made:
            value.step, value.constant = step, constant
        self.steps.append(step)
        return made

    def move(
        self, dtype: int, shape: Shape, given: Sequence[Given], fill: int | None = None
    ) -> Value:
        """A virtual value: elements of other values at other places.

        `fill`: the bits of elements that no region writes; None when regions write all of them.
        """
        value = Value(dtype, shape)
        regions: list[Region] = []
        for origin, soff, doff, axes in given:
            if any(axis[0] == 0 for axis in axes):
                continue
            region = (origin, *normal(soff, doff, axes))
            if origin.regions is None:
                regions.append(region)
                continue
            through = self._through(region, fill)
            if through is None:
                base, shift = self.memory(origin)
                regions.append((base, region[1] + shift, region[2], region[3]))
            else:
                made, fill = through
                regions.extend(made)
        if fill is not None and sum(elements(region[3]) for region in regions) == value.size:
            fill = None
        value.regions, value.fill = regions, fill
        value.constant = all(region[0].constant for region in regions)
        return value

    def _through(self, region: Region, fill: int | None) -> tuple[list[Region], int | None] | None:
        """The region over what its virtual origin is made of; None when the origin has to be there."""
        origin: Value = region[0]
        if origin.fill is not None and fill is not None and fill != origin.fill:
            return None
        result = merged([region], filled=False)
        if result is None:
            return None
        made, filled = result
        return made, origin.fill if filled else fill

    def forget(self) -> None:
        """Unties steps from their results, so that what a plan was made of (weights too) goes at once."""
        for step in self.steps:
            for value in step.outputs:
                value.step = None

    # --- memory ------------------------------------------------------------------------------------------------------

    def memory(self, value: Value) -> tuple[Value, int]:
        """The value that holds this one's elements contiguously, and from which element on."""
        if value.regions is None:
            return value, 0
        if value.base is None:
            value.base, value.shift = self._alias(value) or (self._raster(value), 0)
        return value.base, value.shift

    @staticmethod
    def _alias(value: Value) -> tuple[Value, int] | None:
        """Elements that lie one after the other in one other value need no raster."""
        regions = value.regions
        if regions is None or len(regions) != 1 or value.fill is not None:
            return None
        origin, soff, _, axes = regions[0]
        if axes and (len(axes) != 1 or axes[0][1] != 1 or axes[0][2] != 1):
            return None
        return (origin, soff) if ITEM_BYTES[origin.dtype] == ITEM_BYTES[value.dtype] else None

    def _raster(self, value: Value) -> Value:
        assert value.regions is not None
        key = (
            value.size,
            ITEM_BYTES[value.dtype],
            value.fill,
            tuple((id(region[0]), *region[1:]) for region in value.regions),
        )
        made = self._rasters.get(key)
        if made is None:
            origins = dict.fromkeys(region[0] for region in value.regions)
            operands = [_whole(origin) for origin in origins]
            made = self.step("raster", operands, [(value.dtype, (value.size,))])[0]
            assert made.step is not None
            made.step.attributes = _raster_words(value, list(origins))
            self._rasters[key] = made
        return made

    def operand(self, value: Value) -> Operand:
        """The value as a step takes it: contiguous."""
        base, shift = self.memory(value)
        return base, value.dtype, value.shape, shift, strides_of(value.shape)

    def strided(self, value: Value, *, rows: bool = False) -> Operand:
        """The value as it lies, when one offset and a stride an axis say so; else contiguous.

        Of a matrix (`rows`) one of the last two strides must be 1; of anything else the last must be 0 or 1.
        """
        if value.regions is not None and value.base is None and self._alias(value) is None:
            view = _view(value)
            if view is not None and _suits(value.shape, view[4], rows):
                return view
        return self.operand(value)


def _whole(value: Value) -> Operand:
    return value, value.dtype, (value.size,), 0, (1,)


def _raster_words(value: Value, origins: list[Value]) -> list[int]:
    """A raster's attributes: fill or not, its bits, how many regions, and each region's twelve words."""
    places = {id(origin): i for i, origin in enumerate(origins)}
    words, count = [0 if value.fill is None else 1, value.fill or 0, 0], 0
    for region in value.regions or ():
        for origin, soff, doff, axes in loops(region):
            (n0, s0, d0), (n1, s1, d1), (n2, s2, d2) = (_UNIT, _UNIT, _UNIT, *axes)[-3:]
            words += (places[id(origin)], soff, s0, s1, s2, doff, d0, d1, d2, n0, n1, n2)
            count += 1
    words[2] = count
    return words


_UNIT = (1, 0, 0)


def _view(value: Value) -> Operand | None:
    """Offset and strides of a virtual value that is one region, where its axes are whole parts of the region's."""
    regions = value.regions
    if regions is None or len(regions) != 1 or value.fill is not None or value.size == 0:
        return None
    origin, soff, _, axes = regions[0]
    if ITEM_BYTES[origin.dtype] != ITEM_BYTES[value.dtype]:
        return None
    strides = []
    for n, out in zip(value.shape, strides_of(value.shape), strict=True):
        stride = stride_at(axes, n, out)
        if stride is None:
            return None
        strides.append(stride)
    return origin, value.dtype, value.shape, soff, tuple(strides)


def stride_at(axes: Axes, n: int, out: int) -> int | None:
    """The step in the source of n elements that lie `out` apart in the destination; None where no axis says it."""
    if n == 1:
        return 0
    for size, source, destination in axes:
        if destination <= out < destination * size:
            whole = out % destination == 0 and out * n <= destination * size
            return source * (out // destination) if whole else None
    return None


def _suits(shape: Shape, strides: tuple[int, ...], rows: bool) -> bool:
    if not shape:
        return True
    if rows:
        return len(shape) >= 2 and 1 in strides[-2:]
    return strides[-1] in (0, 1)
