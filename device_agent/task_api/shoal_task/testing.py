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
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shoal_task.event import Event


@dataclass(slots=True, kw_only=True)
class Collected:
    """What a task did.

    Attributes:
        emits: (topic, payload) in order.
        logs: Lines written by log.
        topics: Topics that may be emitted; None permits all.
        resources: Path in the bundle to the path of the file.
    """

    emits: list[tuple[str, bytes]] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    topics: Collection[str] | None = None
    resources: Mapping[str, str] = field(default_factory=dict)


_everything = Collected()
_current: ContextVar[Collected | None] = ContextVar("shoal_task.testing", default=None)


@contextmanager
def collecting(
    *, topics: Collection[str] | None = None, resources: Mapping[str, str] | None = None
) -> Iterator[Collected]:
    """Collects what is emitted and logged inside the `with`; import the task inside it when it loads a model."""
    collected = Collected(topics=topics, resources=resources or {})
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
) -> Collected:
    """Calls `entry` with the event, as a VM does: through the event's binary form."""
    with collecting(topics=topics, resources=resources) as collected:
        entry(type(event).from_bytes(event.to_bytes()))
    return collected


def emit(topic: str, payload: Buffer) -> None:
    """The border's emit, outside a VM."""
    collected = _now()
    if collected.topics is not None and topic not in collected.topics:
        raise PermissionError(
            f"topic '{topic}' is not permitted; add it to permissions.emit in task.toml"
        )
    collected.emits.append((topic, bytes(payload)))


def log(text: str) -> None:
    """The border's log, outside a VM."""
    if not isinstance(text, str):
        raise TypeError(f"log takes a str, not {type(text).__name__}")
    _now().logs.append(text)


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
