"""The home folder: one agent at a time, and a look at it from outside.

Rules of this module:

- HOME/agent.lock is locked for as long as an agent runs; a killed agent's lock goes with it.
- `status` reads and never writes; it works beside a running agent.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from device_agent.agent.core import DATABASE
from device_agent.agent.errors import HomeInUse, StoreFailed
from device_agent.agent.store.database import named_error
from device_agent.agent.store.held import AgentRow, Held, TaskRow

LOCK = "agent.lock"
SOCKET = "agent.sock"


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Holds the home folder.

    Raises:
        HomeInUse: another agent does.
        StoreFailed: nobody may write in it.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(home / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreFailed(f"{error}; let the agent write in its home folder") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HomeInUse(
                f"another agent runs in {home}; stop it first or use another folder"
            ) from None
        yield
    finally:
        os.close(descriptor)


def is_running(home: Path) -> bool:
    """Whether an agent runs in this home folder."""
    try:
        with locked(home):
            return False
    except HomeInUse:
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What lies in a home folder."""

    running: bool
    agent: AgentRow
    tasks: tuple[TaskRow, ...]
    killed: frozenset[str]
    opted_out: frozenset[str]


def read_status(home: Path) -> Status | None:
    """The state of a home folder; None when no agent ever ran in it.

    Raises:
        StoreDamaged, StoreFailed: it cannot be read.
    """
    path = home / DATABASE
    if not path.exists():
        return None
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        held = Held(connection)
        return Status(
            running=is_running(home),
            agent=held.agent(),
            tasks=tuple(held.tasks().values()),
            killed=held.killed(),
            opted_out=held.opted_out(),
        )
    except sqlite3.Error as error:
        raise named_error(error, path) from error
    finally:
        connection.close()
