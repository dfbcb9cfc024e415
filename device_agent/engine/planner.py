"""Plans the stages of a model: for whoever runs it here, or for VMs that ask another to plan.

Rules of this module:

- A task's VM loads none of this: it asks with a `Request` (device_agent.engine.asking) and gets a stage back.
- A request is answered from the model's file, and from shapes and numbers that the request holds. When a number that a
  shape hangs on is not there, the answer names it, and the same is asked again with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from device_agent.engine import _core
from device_agent.engine.asking import Address, Request, answer_of, need_of, refusal_of
from device_agent.engine.errors import EngineError
from device_agent.engine.format import graph_of
from device_agent.engine.graph import Constant, Graph, names_from
from device_agent.engine.machine import machine_of
from device_agent.engine.plan.planned import PlanError, Stage
from device_agent.engine.plan.stage import Surroundings, plan_stage
from device_agent.engine.plan.target import Target
from device_agent.engine.trials import Trials

if TYPE_CHECKING:
    from collections.abc import Callable

GRAPHS_KEPT = 8  # parsed models of a VM that plans for others


def target_of(level: _core._Level, threads: int, trials: int = 0) -> Target:
    """The core's kernels of a level on this machine; up to so many timed trials help the cost model to choose."""

    def floats(command: int, words: Sequence[int]) -> tuple[int, int]:
        return _core.command_floats(command, words, threads, level)

    trial = Trials(level, threads, trials).seconds if trials else None
    return Target(machine=machine_of(level), threads=threads, floats=floats, trial=trial)


def plan_part(
    graph: Graph,
    constants: Mapping[str, Constant],
    at: int,
    specs: Mapping[str, tuple[int, tuple[int, ...]]],
    contents: Callable[[str], bytes],
    target: Target | None,
) -> Stage:
    """The stage that begins at an operator of a graph.

    Args:
        graph: A model's, or a part of it.
        constants: The model's.
        at: The first operator.
        specs: Dtype code and shape of every tensor that is there.
        contents: What one of them holds.
        target: The kernels to plan for; None for atoms alone.

    Raises:
        PlanError: operators do not fit the shapes that they are given.
    """
    around = Surroundings(
        constants=_Visible(constants, specs), spec=specs.__getitem__, contents=contents
    )
    return plan_stage(graph.operators, at, around, lambda end: names_from(graph, end), target)


class _Visible(Mapping[str, Constant]):
    """Constants, but for those whose names a part's inputs hide."""

    def __init__(self, constants: Mapping[str, Constant], hidden: Mapping[str, object]) -> None:
        self._constants = constants
        self._hidden = hidden

    def __getitem__(self, name: str) -> Constant:
        if name in self._hidden:
            raise KeyError(name)
        return self._constants[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._constants if name not in self._hidden)

    def __len__(self) -> int:
        return sum(1 for _ in self)


# --- for others ------------------------------------------------------------------------------------------------------


class _Needed(Exception):
    """The plan hangs on what a tensor holds, and the request does not say it."""


def answer_request(path: str, data: bytes) -> bytes:
    """What a VM asked to have planned, of the model in a file or, with no path, in the request.

    Refusals are answers, too.
    """
    request = Request.from_bytes(data)
    try:
        model = _graph(path) if path else graph_of(memoryview(_core.check_model(request.file)))
        graph = _part(model, request.address)
        specs = {name: (dtype, shape) for name, dtype, shape in request.specs}

        def contents(name: str) -> bytes:
            if name not in request.contents:
                raise _Needed(name)
            return request.contents[name]

        target = target_of(request.level, request.threads, request.trials)  # type: ignore[arg-type]  # a level's name
        if request.training is not None:
            from device_agent.engine.train.planning import Training, plan_training  # for few tasks

            training = Training.from_said(request.training)
            return answer_of(plan_training(model, training, specs, target))
        return answer_of(plan_part(graph, model.constants, request.at, specs, contents, target))
    except _Needed as needed:
        return need_of(str(needed))
    except (PlanError, EngineError, OSError) as error:
        return refusal_of(str(error))


@lru_cache(maxsize=GRAPHS_KEPT)
def _graph(path: str) -> Graph:
    return graph_of(memoryview(_core.map_model(path)))


def _part(graph: Graph, address: Address) -> Graph:
    for at, name in address:
        part = graph.operators[at].attributes[name]
        assert isinstance(part, Graph), "a request names a part that is there"
        graph = part
    return graph
