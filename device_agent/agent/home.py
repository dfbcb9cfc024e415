"""The home folder: one agent at a time, and a look at it from outside.

Rules of this module:

- HOME/agent.lock is locked for as long as an agent runs; a killed agent's lock goes with it.
- `status` reads and never writes; it works beside a running agent.
"""

import contextlib
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
# How often in a row the lock may be in the hands of somebody who only looks.
LOOKS_MAX = 1_000


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
        if not _lock(descriptor):
            raise HomeInUse(f"another agent runs in {home}; stop it first or use another folder")
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Takes the lock; who only looks whether an agent runs holds it for a moment, and is waited for."""
    for _ in range(LOOKS_MAX):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False  # somebody has it for himself: an agent
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.sched_yield()
    return False


def is_running(home: Path) -> bool:
    """Whether an agent runs in this home folder."""
    try:
        descriptor = os.open(home / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StoreFailed(f"{error}; let the agent read its home folder") from error
    try:
        # Shared: two who look at the same time do not take each other for an agent.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


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
    try:
        # As a URI with its special characters quoted: a home folder may be called anything.
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error as error:
        raise named_error(error, path) from error
    try:
        held = Held(connection)
        if not held.is_made():
            return None
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
