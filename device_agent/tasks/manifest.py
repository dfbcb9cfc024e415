"""The manifest of a task: task.toml as the author writes it, manifest.json as the device gets it.

Rules of this module:

- Every problem is found and told at once, each with its field, its line and how to mend it.
- Unknown keys are refused: a misspelt limit must not become the default limit.
- Every number has bounds; they stand in BOUNDS and LATER_BOUNDS, and nowhere else.
- manifest.json is canonical (sorted keys, no spaces, every default written out), so that one manifest has one digest.
  What came after the first form is written only where it is no default: older manifests keep their digests, and older
  agents read every task that they can run.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from device_agent.tasks.errors import ManifestInvalid, Problem
from device_agent.tasks.manifest_reader import Reader

FORMAT = 1
SOURCE_BYTES_MAX = 64 * 1024
SUMMARY_CHARS_MAX = 200
EVENT_ID_MAX = 2**32 - 1
TRIGGERS_MAX = 64
TOPICS_MAX = 32
RESOURCES_MAX = 200
# Smallest and largest value of each limit.
BOUNDS: Mapping[str, tuple[int, int]] = {
    "wall_ms": (1, 60_000),
    "memory_mib": (8, 1024),
    "output_bytes": (0, 4 * 1024 * 1024),
    "log_lines": (0, 10_000),
    "concurrency": (1, 16),
}
# Those that came later: written only where they are no default.
LATER_BOUNDS: Mapping[str, tuple[int, int]] = {"cpu_ms": (0, 60_000), "engine_mib": (1, 1024)}
SCOPES = ("shared", "exclusive")
PRIORITIES = ("interactive", "background")
CONFIG_MAX = 100
CONFIG_CHARS_MAX = 1_000
DEADLINE_MS_MAX = 24 * 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Requires:
    """What a device must offer before the task is sent to it.

    Attributes:
        agent: Comparisons of the agent's version, e.g. ">=0.1,<2"; "" is any.
        guest_api: Version of the guest API that the scripts are written for; 0 is any.
        op_set: Smallest op set of the engine that runs the models; 0 is any.
        python: Bytecode tag without the magic number, e.g. "cpython-313"; "" is any.
        cpu_features: Features that the device's CPU must have.
    """

    agent: str = ""
    guest_api: int = 0
    op_set: int = 0
    python: str = ""
    cpu_features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """Runs the task on each event of this id."""

    event: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one run may use; a run that goes past one is ended and has no effects.

    Attributes:
        wall_ms: Wall time, milliseconds.
        cpu_ms: Processor time, milliseconds; 0 is no limit of its own.
        memory_mib: Memory of the VM, MiB.
        engine_mib: Memory of the VM's tensors, MiB; weights of models do not count.
        output_bytes: Bytes of all emits together.
        log_lines: Lines of log; more are dropped.
        concurrency: Runs at the same time on one device.
    """

    wall_ms: int = 1000
    cpu_ms: int = 0
    memory_mib: int = 64
    engine_mib: int = 64
    output_bytes: int = 262_144
    log_lines: int = 100
    concurrency: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a device runs the task's events, among those of other tasks.

    Attributes:
        priority: "interactive" goes before "background".
        deadline_ms: An event that has not begun to run this long after it happened is dropped; 0 is never.
    """

    priority: str = "interactive"
    deadline_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A data file of the bundle; scope is "shared" (by digest, for anyone) or "exclusive" (by ticket)."""

    path: str
    scope: str = "shared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest whose every field was checked.

    Attributes:
        name: Task name.
        entry: "module:function", called with one shoal_task.Event.
        summary: One line for people.
        fresh: Every run begins with the module's globals as the bundle has them; else a warm VM keeps them.
        requires: What a device must offer.
        triggers: Which events run the task; at least one.
        limits: What one run may use.
        schedule: When events are run.
        config: What the task's own code reads by shoal_task.config.
        emit: Topics that the task may emit to.
        replies: Topic to the id of the event as which the cloud's answer comes back.
        resources: Data files.
    """

    name: str
    entry: str
    summary: str = ""
    fresh: bool = False
    requires: Requires = field(default_factory=Requires)
    triggers: tuple[Trigger, ...] = ()
    limits: Limits = field(default_factory=Limits)
    schedule: Schedule = field(default_factory=Schedule)
    config: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    emit: frozenset[str] = frozenset()
    replies: Mapping[str, int] = field(default_factory=dict)
    resources: tuple[Resource, ...] = ()

    @property
    def event_ids(self) -> frozenset[int]:
        """Every event that runs the task: its triggers and the answers to its topics."""
        return frozenset(trigger.event for trigger in self.triggers) | frozenset(
            self.replies.values()
        )

    def to_json(self) -> bytes:
        """manifest.json: canonical, the same bytes for the same manifest."""
        return canonical_json({"format": FORMAT, **manifest_document(self)})

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Reads manifest.json.

        Raises:
            ManifestInvalid: it is not JSON of a known format, or a field breaks a rule.
        """
        try:
            document = json.loads(data) if len(data) <= SOURCE_BYTES_MAX else None
        except (ValueError, RecursionError) as error:
            raise _refused(f"is not JSON ({error}); publish the task again") from None
        if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
            raise _refused(f"is not a manifest of format {FORMAT}; update the agent")
        return _read(cls, document, "")


def parse_manifest(toml_text: str) -> Manifest:
    """Reads task.toml.

    Raises:
        ManifestInvalid: it is not TOML, or fields break the rules; every problem is listed.
    """
    if len(toml_text.encode()) > SOURCE_BYTES_MAX:
        raise _refused(f"is longer than {SOURCE_BYTES_MAX} bytes; move data into resources")
    try:
        document = tomllib.loads(toml_text)
    except (
        ValueError,
        RecursionError,
    ) as error:  # a number of too many digits is a plain ValueError
        raise _refused(f"is not TOML: {error}") from None
    return _read(Manifest, document, toml_text)


def canonical_json(value: object) -> bytes:
    """JSON in the one form that digests are taken over."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def manifest_document(manifest: Manifest) -> dict[str, Any]:
    """The manifest in the shape of task.toml, with every default written out."""
    requires, limits, schedule = manifest.requires, manifest.limits, manifest.schedule
    return {
        "task": {
            "name": manifest.name,
            "entry": manifest.entry,
            "summary": manifest.summary,
            **({"fresh": True} if manifest.fresh else {}),
        },
        "requires": {
            "agent": requires.agent,
            "guest_api": requires.guest_api,
            "op_set": requires.op_set,
            "python": requires.python,
            "cpu_features": list(requires.cpu_features),
        },
        "triggers": [{"event": trigger.event} for trigger in manifest.triggers],
        "limits": {
            **{name: getattr(limits, name) for name in BOUNDS},
            **{
                name: getattr(limits, name)
                for name in LATER_BOUNDS
                if getattr(limits, name) != getattr(Limits(), name)
            },
        },
        **({"schedule": asdict(schedule)} if schedule != Schedule() else {}),
        **({"config": dict(manifest.config)} if manifest.config else {}),
        "permissions": {"emit": sorted(manifest.emit)},
        "replies": [
            {"topic": topic, "event": event} for topic, event in sorted(manifest.replies.items())
        ],
        "resources": [
            {"path": resource.path, "scope": resource.scope} for resource in manifest.resources
        ],
    }


def _read[M: Manifest](cls: type[M], document: dict[str, Any], source: str) -> M:
    reader = Reader(document, source)
    task = reader.table("task", required=True)
    limits = reader.table("limits")
    schedule = reader.table("schedule")
    emit = reader.table("permissions").names("emit", at_most=TOPICS_MAX)
    manifest = cls(
        name=task.task_name("name"),
        entry=task.entry("entry"),
        summary=task.line("summary", at_most=SUMMARY_CHARS_MAX),
        fresh=task.flag("fresh"),
        requires=_requires(reader),
        triggers=_triggers(reader),
        limits=Limits(
            **{
                name: limits.number(name, low, high, default=getattr(Limits(), name))
                for name, (low, high) in (*BOUNDS.items(), *LATER_BOUNDS.items())
            },
        ),
        schedule=Schedule(
            priority=schedule.choice("priority", PRIORITIES, default="interactive"),
            deadline_ms=schedule.number("deadline_ms", 0, DEADLINE_MS_MAX, default=0),
        ),
        config=reader.table("config").settings(CONFIG_MAX, CONFIG_CHARS_MAX),
        emit=frozenset(emit),
        replies=_replies(reader, emit),
        resources=_resources(reader),
    )
    reader.finish()
    return manifest


def _requires(reader: Reader) -> Requires:
    table = reader.table("requires")
    return Requires(
        agent=table.comparisons("agent"),
        guest_api=table.number("guest_api", 0, 10_000, default=0),
        op_set=table.number("op_set", 0, 10_000, default=0),
        python=table.python("python"),
        cpu_features=tuple(sorted(table.features("cpu_features"))),
    )


def _triggers(reader: Reader) -> tuple[Trigger, ...]:
    rows = reader.rows("triggers", at_most=TRIGGERS_MAX, at_least=1)
    events = [row.number("event", 1, EVENT_ID_MAX) for row in rows]
    reader.unique(rows, "event", events)
    return tuple(Trigger(event=event) for event in sorted(set(events)))


def _replies(reader: Reader, emit: list[str]) -> dict[str, int]:
    rows = reader.rows("replies", at_most=TOPICS_MAX)
    topics = [row.topic_of("topic", emit) for row in rows]
    reader.unique(rows, "topic", topics)
    return {
        topic: row.number("event", 1, EVENT_ID_MAX) for topic, row in zip(topics, rows, strict=True)
    }


def _resources(reader: Reader) -> tuple[Resource, ...]:
    rows = reader.rows("resources", at_most=RESOURCES_MAX)
    paths = [row.path("path") for row in rows]
    reader.unique(rows, "path", [path.casefold() for path in paths])
    scopes = [row.choice("scope", SCOPES, default="shared") for row in rows]
    pairs = sorted(zip(paths, scopes, strict=True))
    return tuple(Resource(path=path, scope=scope) for path, scope in pairs)


def _refused(message: str) -> ManifestInvalid:
    return ManifestInvalid((Problem(field="manifest", line=None, message=message),))
