"""Fusion: what follows a convolution or a product is done by its kernel, on each result while it is in a register.

Rules of this module:

- Only what nobody else reads is fused; the fused step stands where the last of its parts stood, so that all it reads is
  there.
- A scale a channel goes into constant weights, an offset into the bias; then a residual, then one activation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf

from device_agent.engine.ops import Dtype
from device_agent.engine.plan.arithmetic import word_of
from device_agent.engine.plan.fold import decoded
from device_agent.engine.plan.ir import Operand, Shape, Step, Value
from device_agent.engine.plan.region import strides_of
from device_agent.engine.plan.target import CLIP, GELU, NONE, SIGMOID, SILU, TANH

_ROOT_HALF = 0.5**0.5
_FUNCTIONS = {"sigmoid": SIGMOID, "tanh": TANH}


def whole(operand: Operand, value: Value) -> bool:
    """Whether an operand is all of a value, as it lies."""
    base, dtype, shape, shift, strides = operand
    return (
        base is value
        and dtype == value.dtype
        and shift == 0
        and strides == strides_of(shape)
        and _size(shape) == value.size
    )


def _size(shape: Shape) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


@dataclass(slots=True)
class Ending:
    """What is done to each result of a kernel.

    Attributes:
        factors: Scales a channel, to be multiplied into the weights.
        offsets: For each factor so far: (how many factors came before, a number a channel).
        residual: Added before the activation.
        activation: Its code; low and high are its bounds as words.
        out: What holds the result.
        parts: The steps that were fused, the kernel's first.
    """

    out: Value
    parts: list[Step]
    factors: list[Operand] = field(default_factory=list)
    offsets: list[tuple[int, Operand]] = field(default_factory=list)
    residual: Operand | None = None
    activation: int = NONE
    low: int = 0
    high: int = 0

    @property
    def last(self) -> Step:
        """Where the fused step stands."""
        return self.parts[-1]


class Readers:
    """Who reads each value."""

    def __init__(self, steps: Iterable[Step], kept: Iterable[Value]) -> None:
        self._kept = {id(value) for value in kept}
        self.taken: set[int] = set()  # steps that are fused already
        self._readers: dict[int, list[Step]] = {}
        for step in steps:
            for operand in step.operands:
                self._readers.setdefault(id(operand[0]), []).append(step)

    def only(self, value: Value) -> Step | None:
        """The one step that reads a value once, if nobody else needs it."""
        found = self._readers.get(id(value), ())
        if len(found) != 1 or id(value) in self._kept or id(found[0]) in self.taken:
            return None
        return found[0]

    def all(self, value: Value) -> list[Step] | None:
        """All that read it, one as often as it does; None when the plan's user does too."""
        return None if id(value) in self._kept else self._readers.get(id(value), [])

    def both(self, value: Value) -> tuple[Step, Step] | None:
        """The two that read it."""
        found = self._readers.get(id(value), ())
        if len(found) != 2 or id(value) in self._kept or {id(one) for one in found} & self.taken:
            return None
        return found[0], found[1]


def ending_of(step: Step, readers: Readers, channel_axis: int, *, factors: bool = True) -> Ending:
    """All that can be fused behind a kernel's step.

    Args:
        step: The kernel's.
        readers: Of all values.
        channel_axis: Of the result's shape, from its end.
        factors: Whether weights can take scales.
    """
    ending = Ending(out=step.outputs[0], parts=[step])
    while _fuse_next(ending, readers, channel_axis, factors):
        pass
    return ending


def _fuse_next(ending: Ending, readers: Readers, channel_axis: int, factors: bool) -> bool:
    value = ending.out
    if ending.activation != NONE:
        return False
    pair = readers.both(value)
    if pair is not None:
        return _fuse_silu(ending, readers, pair) or _fuse_gelu(ending, readers, pair)
    step = readers.only(value)
    if step is None or len(step.outputs) != 1 or step.outputs[0].shape != value.shape:
        return False
    if len(step.operands) == 1:
        return whole(step.operands[0], value) and _fuse_activation(ending, step)
    if len(step.operands) != 2 or step.op not in ("add", "multiply"):
        return False
    mine, other = step.operands if step.operands[0][0] is value else step.operands[::-1]
    if not whole(mine, value) or mine[2] != value.shape or ending.residual is not None:
        return False
    if other[0].constant and _is_channel(other, value.shape, channel_axis):
        if step.op == "multiply":
            if not factors:
                return False
            ending.factors.append(other)
        else:
            ending.offsets.append((len(ending.factors), other))
    elif step.op == "add" and other[2] == value.shape and other[4] == strides_of(value.shape):
        ending.residual = other
    else:
        return False
    _take(ending, step)
    return True


def _take(ending: Ending, *steps: Step) -> None:
    ending.parts.extend(steps)
    ending.out = steps[-1].outputs[0]


def _is_channel(operand: Operand, shape: Shape, channel_axis: int) -> bool:
    """A number a channel (or one for all), and nothing else."""
    _, _, have, _, strides = operand
    axis = len(shape) - channel_axis
    lead = len(shape) - len(have)
    return all(n == 1 or (lead + i == axis and strides[i] == 1) for i, n in enumerate(have))


def _fuse_activation(ending: Ending, step: Step) -> bool:
    if step.op == "relu":
        ending.activation, ending.low, ending.high = CLIP, word_of(0.0), word_of(inf)
    elif step.op == "clip":
        ending.activation, (ending.low, ending.high) = CLIP, step.attributes
    elif step.op in _FUNCTIONS:
        ending.activation = _FUNCTIONS[step.op]
    else:
        return False
    _take(ending, step)
    return True


def _fuse_silu(ending: Ending, readers: Readers, pair: tuple[Step, Step]) -> bool:
    """x * sigmoid(x)."""
    gate, product = pair if pair[0].op == "sigmoid" else pair[::-1]
    if gate.op != "sigmoid" or product.op != "multiply":
        return False
    if readers.only(gate.outputs[0]) is not product:
        return False
    operands = {id(operand[0]) for operand in product.operands}
    fits = all(operand[2] == ending.out.shape for operand in product.operands)
    if operands != {id(ending.out), id(gate.outputs[0])} or not fits:
        return False
    ending.activation = SILU
    _take(ending, gate, product)
    return True


def scalar_of(operand: Operand) -> float | None:
    """The number of a literal of one element."""
    base, dtype, shape, shift, _ = operand
    if _size(shape) != 1 or base.data is None or base.size > 4096:
        return None
    return float(decoded(dtype, base.data)[shift])


def _by(step: Step, value: Value) -> float | None:
    """The number that a step multiplies a value with."""
    if step.op not in ("multiply", "divide") or not whole(step.operands[0], value):
        return None
    number = scalar_of(step.operands[1])
    if number is None or step.operands[0][2] != step.outputs[0].shape:
        return None
    return number if step.op == "multiply" else 1 / number if number else None


def _near(number: float | None, wanted: float) -> bool:
    return number is not None and abs(number - wanted) < 1e-6


def _fuse_gelu(ending: Ending, readers: Readers, pair: tuple[Step, Step]) -> bool:
    """x * (1 + erf(x / sqrt(2))) / 2, halved before or behind."""
    x = ending.out
    scale, other = pair if _near(_by(pair[0], x), _ROOT_HALF) else pair[::-1]
    if not _near(_by(scale, x), _ROOT_HALF):
        return False
    erf = readers.only(scale.outputs[0])
    plus = readers.only(erf.outputs[0]) if erf is not None and erf.op == "error_function" else None
    if erf is None or plus is None or plus.op != "add" or scalar_of(plus.operands[1]) != 1.0:
        return False
    gated = readers.only(plus.outputs[0])
    halved = _near(_by(other, x), 0.5)
    left = other.outputs[0] if halved else x
    if halved and readers.only(left) is not gated:
        return False
    if gated is None or gated.op != "multiply" or (not halved and gated is not other):
        return False
    if {id(operand[0]) for operand in gated.operands} != {id(left), id(plus.outputs[0])}:
        return False
    if any(operand[2] != x.shape for operand in gated.operands):
        return False
    parts = [scale, erf, plus, gated]
    if halved:
        parts.append(other)
        parts.sort(key=lambda step: step is gated)
    else:
        last = readers.only(gated.outputs[0])
        if last is None or not _near(_by(last, gated.outputs[0]), 0.5):
            return False
        parts.append(last)
    ending.activation = GELU
    _take(ending, *parts)
    return True


def is_float(step: Step) -> bool:
    """Whether a step computes float32 from float32."""
    return all(operand[1] == Dtype.FLOAT32 for operand in step.operands)


def channel_values(
    operand: Operand, channels: int
) -> tuple[Value, int, Sequence[tuple[int, int, int]]]:
    """A number a channel as a region's source: value, offset, axes."""
    value, _, shape, shift, _ = operand
    return value, shift, ((channels, 1 if _size(shape) > 1 else 0, 1),)
