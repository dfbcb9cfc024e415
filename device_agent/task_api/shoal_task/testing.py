"""Runs a task's function in an author's own process and collects what it does; not there inside a VM.

    from shoal_task import Event, testing
    import main

    def test_answers() -> None:
        done = testing.run(main.on_event, Event(1001, bytes(64), uid=bytes(16)), topics={"answer"})
        assert done.emits[0][0] == "answer"

Rules of this module:

- No limits are enforced here but the permission to emit; `shoal task test` runs the real VM.
"""

from collections.abc import Buffer, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from shoal_task.run_state import MemoryKept, RunState

if TYPE_CHECKING:
    from shoal_task.event import Event


class Emit(NamedTuple):
    """One message that a task handed on."""

    topic: str
    payload: bytes


@dataclass(slots=True, kw_only=True)
class Collected:
    """What a task did.

    Attributes:
        emits: What was handed on, in order.
        logs: Lines written by log.
        topics: Topics that may be emitted; None permits all.
        resources: Path in the bundle to the path of the file.
        config: What [config] of task.toml would say.
        kept: Values and tables; hand it to the next run, as a device does.
        wall_ms: What the clock says.
    """

    emits: list[Emit] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    topics: Collection[str] | None = None
    resources: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    kept: MemoryKept = field(default_factory=MemoryKept)
    wall_ms: int = 0
    state: RunState | None = None


_everything = Collected()
_current: ContextVar[Collected | None] = ContextVar("shoal_task.testing", default=None)


@contextmanager
def collecting(
    *,
    topics: Collection[str] | None = None,
    resources: Mapping[str, str] | None = None,
    config: Mapping[str, str | int | float | bool] | None = None,
    kept: MemoryKept | None = None,
    wall_ms: int = 0,
) -> Iterator[Collected]:
    """Collects what is emitted and logged inside the `with`; import the task inside it when it loads a model."""
    collected = Collected(
        topics=topics,
        resources=resources or {},
        config=config or {},
        kept=kept or MemoryKept(),
        wall_ms=wall_ms,
    )
    token = _current.set(collected)
    try:
        yield collected
    finally:
        _current.reset(token)


def run(
    entry: "Callable[[Event], object]",
    event: "Event",
    *,
    topics: Collection[str] | None = None,
    resources: Mapping[str, str] | None = None,
    kept: MemoryKept | None = None,
    wall_ms: int | None = None,
) -> Collected:
    """Calls `entry` with the event, as a VM does: through the event's binary form; an exception changes nothing.

    Args:
        entry: The task's function.
        event: One event.
        topics: Topics that may be emitted; None permits all.
        resources: Path in the bundle to the path of the file.
        kept: Values and tables of earlier runs; `Collected.kept` of one is for the next.
        wall_ms: What the clock says; when the event happened, if not given.
    """
    now_ms = event.wall_ms if wall_ms is None else wall_ms
    with collecting(topics=topics, resources=resources, kept=kept, wall_ms=now_ms) as collected:
        state = collected.state = RunState(collected.kept, lambda: now_ms)
        entry(type(event).from_bytes(event.to_bytes()))
        collected.kept.apply(state.changes)
    return collected


def emit(topic: str, payload: Buffer) -> None:
    """The border's emit, outside a VM."""
    collected = _now()
    if collected.topics is not None and topic not in collected.topics:
        raise PermissionError(
            f"topic '{topic}' is not permitted; add it to permissions.emit in task.toml"
        )
    collected.emits.append(Emit(topic, bytes(payload)))


def log(text: str) -> None:
    """The border's log, outside a VM."""
    if not isinstance(text, str):
        raise TypeError(f"log takes a str, not {type(text).__name__}")
    _now().logs.append(text)


def ask(what: str, data: Buffer) -> bytes:
    """The border's ask, outside a VM."""
    state = _now().state
    if state is None:
        raise RuntimeError("ask only while an event is handled, not while the module loads")
    return state.answer(what, bytes(data))


def config() -> Mapping[str, str | int | float | bool]:
    """The border's configuration, outside a VM."""
    return _now().config


def resource(path: str) -> str:
    """The border's resource, outside a VM."""
    found = _now().resources.get(path)
    if found is None:
        raise FileNotFoundError(
            f"the bundle has no resource '{path}'; name it in [[resources]] of task.toml"
        )
    return found


def _now() -> Collected:
    return _current.get() or _everything
