"""What training makes small: losses with their gradients in closed form.

Rules of this module:

- A loss is the mean over the batch, and it gives the gradient of the model's output with it: that is both quicker and
  more exact than differentiating logarithms of exponentials.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from device_agent.engine.ops import Dtype
from device_agent.engine.plan.arithmetic import (
    binary,
    cast,
    compare,
    constant,
    reduce,
    softmax,
    unary,
    where,
)
from device_agent.engine.plan.ir import Builder, Value
from device_agent.engine.plan.planned import PlanError
from device_agent.engine.plan.transforms import reshape


class Loss(Protocol):
    """What is made small."""

    @property
    def logits(self) -> bool:
        """Whether it wants what a last softmax was given, not what that made."""
        ...

    def build(self, b: Builder, output: Value, targets: Value) -> tuple[Value, Value]:
        """The loss, without axes, and the gradient of `output`.

        Raises:
            PlanError: output and targets do not belong together.
        """
        ...


@dataclass(frozen=True, slots=True)
class CrossEntropy:
    """Mean of -log softmax(output)[target]: outputs (n, classes), int64 targets (n,) that say which class is right."""

    logits: bool = True

    def build(self, b: Builder, output: Value, targets: Value) -> tuple[Value, Value]:
        """The loss and softmax(output) minus one at the right class, over n."""
        if (
            len(output.shape) != 2
            or targets.shape != output.shape[:1]
            or targets.dtype != Dtype.INT64
        ):
            raise PlanError(
                f"cross entropy takes outputs (n, classes) and int64 targets (n,), not {output.shape} and "
                f"{targets.shape} of {Dtype(targets.dtype).name.lower()}"
            )
        n, classes = output.shape
        ids = constant(b, Dtype.INT64, list(range(classes)), (1, classes))
        right = compare(b, "equal", reshape(b, targets, (n, 1)), ids)
        shifted = binary(b, "subtract", output, reduce(b, "reduce_max", output, [1]))
        sums = unary(b, "logarithm", reduce(b, "reduce_sum", unary(b, "exp", shifted), [1]))
        of_right = reduce(b, "reduce_sum", where(b, right, shifted, 0.0), [1])
        loss = _mean(b, binary(b, "subtract", sums, of_right))
        off = binary(b, "subtract", softmax(b, output, 1), cast(b, right, Dtype.FLOAT32))
        return loss, binary(b, "divide", off, float(max(1, n)))


@dataclass(frozen=True, slots=True)
class MeanSquaredError:
    """Mean of (output - target) ^ 2 over outputs and float32 targets of one shape."""

    logits: bool = False

    def build(self, b: Builder, output: Value, targets: Value) -> tuple[Value, Value]:
        """The loss and 2 (output - target) over the number of elements."""
        if targets.shape != output.shape or targets.dtype != Dtype.FLOAT32:
            raise PlanError(
                f"mean squared error takes float32 targets in the output's shape {output.shape}, not {targets.shape} "
                f"of {Dtype(targets.dtype).name.lower()}"
            )
        off = binary(b, "subtract", output, targets)
        loss = _mean(b, binary(b, "multiply", off, off))
        return loss, binary(b, "multiply", off, 2.0 / max(1, output.size))


def _mean(b: Builder, x: Value) -> Value:
    return reshape(b, reduce(b, "reduce_mean", x, range(len(x.shape))), ())


# By name, for whoever plans for another.
LOSSES: dict[str, type[CrossEntropy] | type[MeanSquaredError]] = {
    kind.__name__: kind for kind in (CrossEntropy, MeanSquaredError)
}
