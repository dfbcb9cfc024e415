"""The machine's state and events as JSON values, as they lie in the store.

Rules of this module:

- What is written carries the version of its form; another version is refused, never guessed at.
- Reading checks types: a row that somebody edited by hand is named as damaged before it reaches the machine.
"""

from typing import Any

import msgspec

from cloud.rollout.errors import ReleaseLogDamaged
from cloud.rollout.machine import (
    Commanded,
    Counted,
    Created,
    LogEntry,
    MachineState,
    Restored,
    Superseded,
    TimePassed,
)

FORM = 1
_ENTRY = Created | Commanded | Counted | TimePassed | Superseded | Restored

type JsonObject = dict[str, Any]  # what a JSON column takes and gives


def state_to_json(state: MachineState) -> JsonObject:
    """The state for the store."""
    return {"form": FORM, "state": msgspec.to_builtins(state)}


def state_from_json(value: JsonObject) -> MachineState:
    """The state from the store.

    Raises:
        ReleaseLogDamaged: It is not what `state_to_json` wrote.
    """
    body = _body(value, "state")
    try:
        return msgspec.convert(body, MachineState)
    except msgspec.ValidationError as error:
        raise ReleaseLogDamaged(f"a stored release state is damaged: {error}") from error


def event_to_json(event: LogEntry) -> JsonObject:
    """The event for the log."""
    return {"form": FORM, "event": msgspec.to_builtins(event)}


def event_from_json(value: JsonObject) -> LogEntry:
    """The event from the log.

    Raises:
        ReleaseLogDamaged: It is not what `event_to_json` wrote.
    """
    body = _body(value, "event")
    try:
        entry: LogEntry = msgspec.convert(body, _ENTRY)
    except msgspec.ValidationError as error:
        raise ReleaseLogDamaged(f"a stored release event is damaged: {error}") from error
    return entry


def _body(value: JsonObject, name: str) -> object:
    form = value.get("form") if isinstance(value, dict) else None
    if form != FORM or name not in value:
        raise ReleaseLogDamaged(
            f"a stored release {name} has form {form!r}, this cloud reads {FORM}: "
            "run the cloud that wrote it, or restore from a backup"
        )
    return value[name]
