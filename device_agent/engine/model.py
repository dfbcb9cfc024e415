"""Compiled models that run: planned when shapes are known, split where shapes are not.

Rules of this module:

- A model is immutable and its weights are one mapping for the process; plans and sessions belong to this object.
- What is asked for again with the same shapes runs the same session: planning is done once.
- It loads inside a VM: standard library and the core only.
"""

from __future__ import annotations

from collections.abc import Buffer, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from device_agent.engine import _core
from device_agent.engine.asking import Address, Ask, Request, ask_stage
from device_agent.engine.format import graph_of
from device_agent.engine.graph import Constant, Graph, Operator, Port, names_from
from device_agent.engine.ops import BY_NAME, DTYPE_NAMES, OPEN_AXIS, OpClass
from device_agent.engine.plan.planned import PlanError, Stage
from device_agent.engine.settings import PLAN_LIMITS

if TYPE_CHECKING:  # a VM has the core alone, and loads no more of this
    from device_agent.engine.backend import Runner, Session
    from device_agent.engine.plan.planned import Plan
    from device_agent.engine.plan.target import Target
    from device_agent.engine.plan.words import PlanRows

CORE = "core"
type Tensors = dict[str, _core.Tensor]
type Shape = tuple[int, ...]
type PortRow = tuple[str, str, tuple[int, ...]]

_CODES = {name: code for code, name in enumerate(DTYPE_NAMES) if name}


def load_model(
    path: str,
    *,
    threads: int = 1,
    backends: Sequence[str] = (CORE,),
    trials: int = 0,
    ask: Ask | None = None,
) -> Model:
    """The model in a file, mapped once for the whole process.

    Args:
        path: Of the file.
        threads: That run it.
        backends: Where stages may run: the core, and what device_agent.engine.backend has registered. Of several each
            stage runs where the cost model thinks it quickest.
        trials: Timed trials of algorithms that planning may take where the cost model is not sure; 0 trusts it alone.
        ask: Plans for the core on behalf of this model; None plans here.

    Raises:
        ModelInvalid: the file is damaged or no model.
        ModelUnsupported: it was compiled for another engine.
        ValueError: trials are negative.
        OSError: it cannot be read.
    """
    return Model(_core.map_model(path), threads=threads, backends=backends, trials=trials, ask=ask)


def parse_model(data: Buffer, *, ask: Ask | None = None) -> Model:
    """A model from bytes, not shared.

    Args:
        data: A compiled model.
        ask: Plans for the core on behalf of this model, which it is sent with every request; None plans here, as does
            a model of more than PLAN_LIMITS.sent_bytes_max.

    Raises:
        ModelInvalid: the bytes are damaged or no model.
        ModelUnsupported: compiled for another engine.
    """
    file = _core.check_model(data)
    if ask is None or file.size > PLAN_LIMITS.sent_bytes_max:
        return Model(file)
    return Model(file, ask=ask, sent=memoryview(file))


class Model:
    """A compiled model."""

    def __init__(
        self,
        file: _core.Tensor,
        *,
        threads: int = 1,
        backends: Sequence[str] = (CORE,),
        trials: int = 0,
        ask: Ask | None = None,
        sent: bytes | memoryview = b"",
    ) -> None:
        if trials < 0:
            raise ValueError(f"trials is how many timed trials planning may take, not {trials}")
        self._trials = trials
        self._ask = ask
        self._sent = sent  # to whoever plans, who has no file to read
        self._file = file
        self._threads = threads
        self._backends = backends
        self._graph = graph_of(memoryview(file))
        self._mains: dict[str, _Part] = {}

    @property
    def inputs(self) -> tuple[PortRow, ...]:
        """(name, dtype, shape) of each input; -1 is a size that may be any."""
        return tuple(_row(port) for port in self._graph.inputs)

    @property
    def outputs(self) -> tuple[PortRow, ...]:
        """(name, dtype, shape) of each output, as far as the compiler knew."""
        return tuple(_row(port) for port in self._graph.outputs)

    def run(
        self,
        inputs: _core.Tensor | Mapping[str, _core.Tensor] | Sequence[_core.Tensor],
        *,
        level: _core._Level | None = None,
    ) -> list[_core.Tensor]:
        """Outputs for inputs: a Tensor, a mapping by name, or a sequence.

        Raises:
            ValueError: an input's shape does not fit, or an operator refuses the shapes that follow from it.
            TypeError: an input is of another dtype.
        """
        return self._main(level).run(self.checked(inputs))

    @property
    def graph(self) -> Graph:
        """What the model is made of."""
        return self._graph

    def checked(
        self, inputs: _core.Tensor | Mapping[str, _core.Tensor] | Sequence[_core.Tensor]
    ) -> Tensors:
        """Inputs by name; raises ValueError or TypeError as `run` does."""
        tensors = self._gathered(inputs)
        for port in self._graph.inputs:
            _check_input(port, tensors[port.name])
        return tensors

    def core(self) -> Core:
        """The core's best kernels over this model's file."""
        return Core(self._file, _core.levels()[-1], self._threads, self._trials)

    @property
    def ask(self) -> Ask | None:
        """Who plans for it; None plans here."""
        return self._ask

    def asked_step(
        self, core: Core, training: Sequence[Any], specs: Mapping[str, tuple[int, Shape]]
    ) -> Stage:
        """A step of training that somebody else plans.

        Raises:
            PlanError: the model or what it is given cannot be trained with.
        """
        assert self._ask is not None, "nobody is asked for this model's plans"
        request = Request(
            address=(),
            at=0,
            level=core.level,
            threads=core.threads,
            trials=core.trials,
            specs=[(name, dtype, shape) for name, (dtype, shape) in specs.items()],
            training=training,
            file=self._sent,
        )
        return ask_stage(self._ask, request, _nothing)

    def plans(self) -> Iterator[Stage]:
        """The stages that were planned so far, for tools."""
        for main in self._mains.values():
            yield from main.planned()

    def _main(self, level: _core._Level | None) -> _Part:
        """The graph with its plans for a level of kernels: the best when it is None."""
        name = _core.levels()[-1] if level is None else level
        if name not in self._mains:
            backends = self._backends if level is None else (CORE,)
            runners = [self._runner(backend, name) for backend in backends]
            self._mains[name] = _Part(
                self._graph, self._graph.constants, runners, self._ask, self._sent
            )
        return self._mains[name]

    def _runner(self, backend: str, level: _core._Level) -> Runner:
        if backend == CORE:
            return Core(self._file, level, self._threads, self._trials)
        from device_agent.engine.backend import backend_of  # not in a VM: it has the core alone

        return backend_of(backend).runner(self._file, self._threads)

    def _gathered(
        self, inputs: _core.Tensor | Mapping[str, _core.Tensor] | Sequence[_core.Tensor]
    ) -> Tensors:
        names = [port.name for port in self._graph.inputs]
        if isinstance(inputs, _core.Tensor):
            inputs = [inputs]
        if isinstance(inputs, Mapping):
            for name in names:
                if name not in inputs:
                    raise ValueError(f"input '{name}' is missing")
            if len(inputs) != len(names):
                raise ValueError(
                    "more inputs than the model has; its inputs are named by Model.inputs"
                )
            given = [inputs[name] for name in names]
        else:
            given = list(inputs)
        if len(given) != len(names):
            raise ValueError(f"the model takes {len(names)} inputs, not {len(given)}")
        for tensor in given:
            if not isinstance(tensor, _core.Tensor):
                raise TypeError(
                    f"a Tensor is needed, not {type(tensor).__name__}; make one with tensor()"
                )
        return dict(zip(names, given, strict=True))


def _nothing(name: str) -> bytes:
    raise PlanError(f"a step of training hangs on what '{name}' holds")


def _row(port: Port) -> PortRow:
    dtype = "" if port.dtype is None else DTYPE_NAMES[port.dtype]
    return port.name, dtype, port.shape or ()


def _check_input(port: Port, tensor: _core.Tensor) -> None:
    assert port.dtype is not None
    assert port.shape is not None
    if tensor.dtype != DTYPE_NAMES[port.dtype]:
        raise TypeError(f"input '{port.name}' is {DTYPE_NAMES[port.dtype]}, not {tensor.dtype}")
    if len(tensor.shape) != len(port.shape) or any(
        want not in (OPEN_AXIS, have) for want, have in zip(port.shape, tensor.shape, strict=True)
    ):
        raise ValueError(f"input '{port.name}' has shape {port.shape}, not {tensor.shape}")


class Core:
    """The core as a backend: one level of kernels over a model file."""

    def __init__(
        self, file: _core.Tensor, level: _core._Level, threads: int, trials: int = 0
    ) -> None:
        self._file = file
        self.level = level
        self.threads = threads
        self.trials = trials
        self._target: Target | None = None

    @property
    def target(self) -> Target:
        """The kernels that plans for it may use."""
        if self._target is None:
            from device_agent.engine.planner import target_of  # not in a VM that asks for plans

            self._target = target_of(self.level, self.threads, self.trials)
        return self._target

    def seconds(self, rows: PlanRows) -> float:
        """What a run of a plan of atoms costs here, by the cost model."""
        from device_agent.engine.plan.work import core_seconds  # only where there is a choice

        return core_seconds(rows, self.target.machine, self.threads)

    def session(self, plan: Plan) -> _core.Session:
        """A session of the plan."""
        return _core.session(plan.words, self._file, self.threads, self.level)


class _Part:
    """A graph, or a part of one, with its plans."""

    def __init__(
        self,
        graph: Graph,
        constants: Mapping[str, Constant],
        runners: Sequence[Runner],
        ask: Ask | None,
        sent: bytes | memoryview,
        address: Address = (),
    ) -> None:
        self._graph = graph
        self._constants = constants
        self._runners = runners
        self._ask = ask
        self._sent = sent
        self._address = address
        self._parts: dict[int, _Part] = {}
        self._stages: dict[object, list[tuple[Stage, Session]]] = {}
        self._wanted: dict[int, frozenset[str]] = {}

    def planned(self) -> Iterator[Stage]:
        for stages in self._stages.values():
            for stage, _ in stages:
                yield stage
        for part in self._parts.values():
            yield from part.planned()

    def run(self, tensors: Tensors) -> list[_core.Tensor]:
        """The outputs; `tensors` holds all that is there, by name."""
        env = dict(tensors)
        at, operators = 0, self._graph.operators
        while at < len(operators):
            operator = operators[at]
            if BY_NAME[operator.op].kind is OpClass.CONTROL:
                results = _CONTROL[operator.op](self, operator, env)
                env.update((n, r) for n, r in zip(operator.outputs, results, strict=False) if n)
                at += 1
                continue
            stage, session = self._stage(at, env)
            given = [env[name] for name in stage.inputs]
            env.update(zip(stage.outputs, session.run(given), strict=True))
            at = stage.end
        return [self.tensor(port.name, env) for port in self._graph.outputs]

    def tensor(self, name: str, env: Tensors) -> _core.Tensor:
        """A tensor that is there, a constant too."""
        if name in env:
            return env[name]
        constant = self._constants[name]
        dtype = DTYPE_NAMES[constant.dtype]
        return _core.frombuffer(constant.data, dtype, constant.shape)  # type: ignore[arg-type]  # a dtype's name

    def part(self, operator: Operator, name: str) -> _Part:
        """The part of a control operator that an attribute is, kept with its plans."""
        graph = operator.attributes[name]
        assert isinstance(graph, Graph)
        if id(graph) not in self._parts:
            at = next(i for i, one in enumerate(self._graph.operators) if one is operator)
            address = (*self._address, (at, name))
            self._parts[id(graph)] = _Part(
                graph, self._constants, self._runners, self._ask, self._sent, address
            )
        return self._parts[id(graph)]

    @property
    def inputs(self) -> tuple[Port, ...]:
        return self._graph.inputs

    def _names_from(self, at: int) -> frozenset[str]:
        if at not in self._wanted:
            self._wanted[at] = names_from(self._graph, at)
        return self._wanted[at]

    def _stage(self, at: int, env: Tensors) -> tuple[Stage, Session]:
        names = self._names_from(at)
        key = (at, *((n, t.dtype, t.shape) for n, t in env.items() if n in names))
        for stage, session in self._stages.get(key, ()):
            if all(env[name].tobytes() == data for name, data in stage.read.items()):
                return stage, session
        found = self._planned(at, env)
        if sum(map(len, self._stages.values())) >= PLAN_LIMITS.sessions_max:
            self._stages.pop(next(iter(self._stages)))
        self._stages.setdefault(key, []).append(found)
        return found

    def _planned(self, at: int, env: Tensors) -> tuple[Stage, Session]:
        if self._ask is not None:
            return self._asked(self._ask, at, env)
        from device_agent.engine.planner import plan_part  # not in a VM that asks for plans

        specs = {name: (_CODES[tensor.dtype], tensor.shape) for name, tensor in env.items()}

        def plan(target: Target | None) -> Stage:
            return plan_part(
                self._graph, self._constants, at, specs, lambda name: env[name].tobytes(), target
            )

        if len(self._runners) == 1:
            (runner,) = self._runners
            stage = plan(runner.target)
            return stage, runner.session(stage.plan)
        from device_agent.engine.backend import cheapest  # only where there is a choice

        return cheapest(self._runners, plan)

    def _asked(self, ask: Ask, at: int, env: Tensors) -> tuple[Stage, Session]:
        """Somebody else plans, for the core."""
        (core,) = self._runners
        assert isinstance(core, Core)
        names = self._names_from(at)
        request = Request(
            address=self._address,
            at=at,
            level=core.level,
            threads=core.threads,
            trials=core.trials,
            specs=[(n, _CODES[t.dtype], t.shape) for n, t in env.items() if n in names],
            file=self._sent,
        )
        stage = ask_stage(ask, request, lambda name: env[name].tobytes())
        return stage, core.session(stage.plan)


# --- control ---------------------------------------------------------------------------------------------------------


def _truth(tensor: _core.Tensor) -> bool:
    return bool(tensor.reshape(1)[0].item())


def _if(part: _Part, operator: Operator, env: Tensors) -> list[_core.Tensor]:
    holds = _truth(part.tensor(operator.inputs[0], env))
    branch = part.part(operator, "then_branch" if holds else "else_branch")
    return branch.run(env)


def _loop(part: _Part, operator: Operator, env: Tensors) -> list[_core.Tensor]:
    """Rounds while the condition holds, at most M; what a round makes beyond the state is collected."""
    names = (*operator.inputs, "", "")
    most = int(part.tensor(names[0], env).reshape(1)[0].item()) if names[0] else None
    holds = _truth(part.tensor(names[1], env)) if names[1] else True
    state = [part.tensor(name, env) for name in operator.inputs[2:]]
    body = part.part(operator, "body")
    collected: list[list[_core.Tensor]] = [[] for _ in range(len(operator.outputs) - len(state))]
    rounds = 0
    while holds and (most is None or rounds < most):
        if rounds >= PLAN_LIMITS.iterations_max:
            raise ValueError(f"a loop runs at most {PLAN_LIMITS.iterations_max} rounds")
        scalar, truth = _core.full((), rounds, "int64"), _core.full((), 1, "bool")
        first = zip(body.inputs, (scalar, truth, *state), strict=True)
        results = body.run({**env, **{port.name: _shaped(port, t) for port, t in first}})
        holds = _truth(results[0])
        state = results[1 : 1 + len(state)]
        for all_, one in zip(collected, results[1 + len(state) :], strict=True):
            all_.append(one)
        rounds += 1
    return [*state, *(_stacked(all_, operator) for all_ in collected)]


def _shaped(port: Port, tensor: _core.Tensor) -> _core.Tensor:
    """A round's number or condition, as the body says: without axes or with one."""
    return tensor.reshape(1) if port.shape == (1,) and tensor.shape == () else tensor


def _stacked(tensors: list[_core.Tensor], operator: Operator, axis: int = 0) -> _core.Tensor:
    if not tensors:
        raise PlanError(
            f"{operator.op} ran no round, so the shape of what it collects is not known"
        )
    grown = []
    for tensor in tensors:
        shape = tensor.shape
        at = axis if axis >= 0 else len(shape) + 1 + axis
        grown.append(tensor.reshape((*shape[:at], 1, *shape[at:])))
    at = axis if axis >= 0 else len(grown[0].shape) + axis
    while len(grown) > 1:  # the core takes 64 at once
        grown = [_core.concat(grown[i : i + 64], at) for i in range(0, len(grown), 64)]
    return grown[0]


def _scan(part: _Part, operator: Operator, env: Tensors) -> list[_core.Tensor]:
    """A round for each place of the scanned axes; the state goes from round to round."""
    count = _number(operator, "num_scan_inputs")
    tensors = [part.tensor(name, env) for name in operator.inputs]
    state, scanned = tensors[: len(tensors) - count], tensors[len(tensors) - count :]
    axes = [
        axis % len(t.shape)
        for axis, t in zip(_list(operator, "scan_input_axes", count), scanned, strict=True)
    ]
    back = _list(operator, "scan_input_directions", count)
    body = part.part(operator, "body")
    made = len(operator.outputs) - len(state)
    collected: list[list[_core.Tensor]] = [[] for _ in range(made)]
    rounds = scanned[0].shape[axes[0]]
    for i in range(rounds):
        places = [rounds - 1 - i if reverse else i for reverse in back]
        slices = [
            t[(*[slice(None)] * axis, place)]
            for t, axis, place in zip(scanned, axes, places, strict=True)
        ]
        named = zip(body.inputs, (*state, *slices), strict=True)
        results = body.run({**env, **{port.name: t for port, t in named}})
        state = results[: len(state)]
        for all_, one in zip(collected, results[len(state) :], strict=True):
            all_.append(one)
    out_axes = _list(operator, "scan_output_axes", made)
    for all_, reverse in zip(
        collected, _list(operator, "scan_output_directions", made), strict=True
    ):
        if reverse:
            all_.reverse()
    return [
        *state,
        *(_stacked(all_, operator, axis) for all_, axis in zip(collected, out_axes, strict=True)),
    ]


def _number(operator: Operator, name: str) -> int:
    value = operator.attributes.get(name, 0)
    assert isinstance(value, int)
    return value


def _list(operator: Operator, name: str, count: int) -> list[int]:
    value = operator.attributes.get(name)
    numbers = list(value) if isinstance(value, tuple) else [0] * count
    if len(numbers) != count:
        raise PlanError(f"{operator.op}'s {name} takes {count} numbers")
    return [number for number in numbers if isinstance(number, int)]


_CONTROL = {"if": _if, "loop": _loop, "scan": _scan}
