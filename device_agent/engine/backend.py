"""Where plans run: the interface that the core and every other backend fill, and what is registered.

Rules of this module:

- The core's levels of kernels are always there. Others register themselves when their package is imported; a device has
  none of them, and nothing here imports one.
- A backend is chosen for a whole stage, by Walle's C = sum over its steps of min over algorithms of Q / P + S, the
  steps being the atoms and rasters that every backend has. The cheapest plans the stage for its own kernels and runs
  it; one that cannot says `NotHere`, and the next is asked. The core can always.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from device_agent.engine import _core
from device_agent.engine.plan.planned import Plan, Stage
from device_agent.engine.plan.target import Target
from device_agent.engine.plan.words import PlanRows, read_plan


class NotHere(Exception):
    """A backend cannot run a plan; the message says what it lacks."""


class Session(Protocol):
    """A plan with its memory, ready to run."""

    def run(self, inputs: Sequence[_core.Tensor], /) -> list[_core.Tensor]:
        """The plan's outputs for its inputs."""
        ...


class Runner(Protocol):
    """A backend with one model's weights."""

    @property
    def target(self) -> Target | None:
        """The kernels that plans for it may use; None for atoms alone."""
        ...

    def seconds(self, rows: PlanRows) -> float:
        """What a run of a plan of atoms costs here, by the cost model."""
        ...

    def session(self, plan: Plan) -> Session:
        """A session of the plan.

        Raises:
            NotHere: the plan has what this backend lacks.
        """
        ...


class Backend(Protocol):
    """Kernels of one kind on one device.

    Attributes:
        name: By which it is asked for and shown.
    """

    name: str

    def runner(self, file: _core.Tensor, threads: int) -> Runner:
        """The backend over a model file."""
        ...


_registered: dict[str, Backend] = {}


def register(backend: Backend) -> None:
    """Makes a backend known by its name; one of that name is replaced."""
    _registered[backend.name] = backend


def registered() -> tuple[str, ...]:
    """The names of what is registered beside the core."""
    return tuple(_registered)


def backend_of(name: str) -> Backend:
    """A registered backend.

    Raises:
        ValueError: there is none of that name.
    """
    found = _registered.get(name)
    if found is None:
        known = ", ".join(_registered) or "none"
        raise ValueError(f"no backend '{name}' is registered; known are: {known}")
    return found


def cheapest(
    runners: Sequence[Runner], plan: Callable[[Target | None], Stage]
) -> tuple[Stage, Session]:
    """The stage where it costs least; `plan` plans it for a target, or of atoms alone.

    Raises:
        NotHere: none of them can run it.
    """
    rows = read_plan(plan(None).plan.words)
    refusals = []
    for runner in sorted(runners, key=lambda one: one.seconds(rows)):
        stage = plan(runner.target)
        try:
            return stage, runner.session(stage.plan)
        except NotHere as refusal:
            refusals.append(str(refusal))
    raise NotHere("; ".join(refusals))
