"""Trains a compiled model where it runs: forward, backward and optimiser in one plan.

    trainer = Trainer(model, loss=CrossEntropy(), optimizer=Adam(rate=0.001))
    for pixels, labels in batches:
        loss = trainer.step(pixels, labels)
    data = trainer.to_bytes()  # a model file with the new weights

Rules of this module:

- Parameters are the model's float32 constants that a gradient reaches, or those that are named. The model is never
  changed: the trained weights belong to the trainer until it is asked for a file.
- A step either has moved all parameters or none: a run that is killed leaves them as they were.
- A plan is made for each shape of batch, once: by whoever plans for the model, unless loss or optimiser are the task's
  own code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from device_agent.engine import _core
from device_agent.engine.errors import TrainingRefused
from device_agent.engine.format import encode_model
from device_agent.engine.graph import Constant, Graph
from device_agent.engine.model import Model, Tensors
from device_agent.engine.ops import Dtype
from device_agent.engine.plan.planned import PlanError
from device_agent.engine.settings import PLAN_LIMITS
from device_agent.engine.train.losses import Loss
from device_agent.engine.train.optimizers import Optimizer
from device_agent.engine.train.planning import (
    TARGETS,
    Training,
    number_names,
    plan_training,
    state_names,
)

_RUNNING = {"batch_normalization": (3, 4)}  # inputs that statistics fill, not gradients


@dataclass(frozen=True, slots=True)
class _Planned:
    """A step for one shape of batch: what it is given, and which parameters it moves."""

    session: _core.Session
    inputs: tuple[str, ...]
    moved: tuple[str, ...]


class Trainer:
    """A model that learns.

    Args:
        model: A compiled model without control flow.
        loss: What is made small.
        optimizer: How.
        parameters: Names of the constants that move; None is all that a gradient reaches.
        output: Name of the output that is trained, where there are several. A loss of logits takes what its last
            softmax was given.

    Attributes:
        steps: Steps so far.

    Raises:
        TrainingRefused: the model has no such output or parameter.
    """

    def __init__(
        self,
        model: Model,
        *,
        loss: Loss,
        optimizer: Optimizer,
        parameters: Sequence[str] | None = None,
        output: str | None = None,
    ) -> None:
        self._model = model
        self._loss = loss
        self._optimizer = optimizer
        self._output = _trained(model.graph, output, loss)
        self._weights = {
            name: _tensor(constant) for name, constant in _chosen(model.graph, parameters).items()
        }
        self._states: Tensors = {
            name: _core.zeros(tensor.shape)
            for weight, tensor in self._weights.items()
            for name in state_names(self._optimizer, weight)
        }
        self._planned: dict[object, _Planned] = {}
        self.steps = 0

    @property
    def parameters(self) -> Mapping[str, _core.Tensor]:
        """The parameters as they are now, by name."""
        return dict(self._weights)

    def step(
        self,
        inputs: _core.Tensor | Mapping[str, _core.Tensor] | Sequence[_core.Tensor],
        targets: _core.Tensor,
    ) -> float:
        """Moves the parameters once; returns the loss of this batch before that.

        Raises:
            TrainingRefused: graph or targets cannot be trained with; the message says why.
            ValueError, TypeError: the inputs do not fit the model.
        """
        given = {**self._model.checked(inputs), TARGETS: targets}
        planned = self._plan(given)
        env = {**given, **self._weights, **self._states, **self._numbers()}
        loss, *made = planned.session.run([env[name] for name in planned.inputs])
        count = len(planned.moved)
        kept = [name for weight in planned.moved for name in state_names(self._optimizer, weight)]
        self._weights |= zip(planned.moved, made[:count], strict=True)
        self._states |= zip(kept, made[count:], strict=True)
        self.steps += 1
        return float(loss.item())

    def to_graph(self) -> Graph:
        """The model's graph with the weights as they are now."""
        constants = dict(self._model.graph.constants)
        for name, tensor in self._weights.items():
            constants[name] = Constant(
                dtype=Dtype.FLOAT32, shape=tensor.shape, data=tensor.tobytes()
            )
        return replace(self._model.graph, constants=constants)

    def to_bytes(self) -> bytes:
        """A compiled model with the weights as they are now."""
        return encode_model(self.to_graph())

    def _numbers(self) -> Tensors:
        numbers = self._optimizer.numbers(self.steps + 1)
        names = number_names(self._optimizer)
        return {name: _core.full((), n) for name, n in zip(names, numbers, strict=True)}

    def _plan(self, given: Tensors) -> _Planned:
        key = tuple((name, tensor.dtype, tensor.shape) for name, tensor in given.items())
        if key not in self._planned:
            if len(self._planned) >= PLAN_LIMITS.sessions_max:
                del self._planned[next(iter(self._planned))]
            try:
                self._planned[key] = self._made(given)
            except PlanError as error:
                raise TrainingRefused(str(error)) from error
        return self._planned[key]

    def _made(self, given: Tensors) -> _Planned:
        env = {**given, **self._weights, **self._states, **self._numbers()}
        training = Training(
            output=self._output,
            weights=tuple(self._weights),
            loss=self._loss,
            optimizer=self._optimizer,
        )
        specs = {name: (int(Dtype[t.dtype.upper()]), t.shape) for name, t in env.items()}
        core, said = self._model.core(), training.said()
        if said is None or self._model.ask is None:
            stage = plan_training(self._model.graph, training, specs, core.target)
        else:
            stage = self._model.asked_step(core, said, specs)
        moved = tuple(name for name in stage.outputs if name in self._weights)
        return _Planned(core.session(stage.plan), stage.inputs, moved)


def _trained(graph: Graph, output: str | None, loss: Loss) -> str:
    """The name of the tensor that a loss is taken of."""
    names = [port.name for port in graph.outputs]
    if output is None and len(names) > 1:
        raise TrainingRefused(f"the model has the outputs {', '.join(names)}; say which is trained")
    name = names[0] if output is None else output
    if name not in names:
        raise TrainingRefused(f"the model has no output '{name}'; it has {', '.join(names)}")
    maker = next((one for one in graph.operators if name in one.outputs), None)
    if loss.logits and maker is not None and maker.op == "softmax":
        return maker.inputs[0]
    return name


def _chosen(graph: Graph, parameters: Sequence[str] | None) -> dict[str, Constant]:
    """The constants that may move."""
    if parameters is None:
        still = {
            operator.inputs[place]
            for operator in graph.operators
            for place in _RUNNING.get(operator.op, ())
        }
        return {
            name: constant
            for name, constant in graph.constants.items()
            if constant.dtype == Dtype.FLOAT32 and constant.shape and name not in still
        }
    for name in parameters:
        found = graph.constants.get(name)
        if found is None or found.dtype != Dtype.FLOAT32:
            floats = [n for n, c in graph.constants.items() if c.dtype == Dtype.FLOAT32]
            raise TrainingRefused(
                f"the model has no float32 constant '{name}'; it has {', '.join(floats) or 'none'}"
            )
    return {name: graph.constants[name] for name in parameters}


def _tensor(constant: Constant) -> _core.Tensor:
    return _core.frombuffer(bytes(constant.data), "float32", constant.shape)
