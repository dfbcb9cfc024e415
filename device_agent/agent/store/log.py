"""The event log: what was fed, which task still has to see it, and what runs just now.

Rules of this module:

- An event is logged once a uid; its uid is remembered after it was consumed, `seen_uids_max` uids back.
- (event, task) is the unit of work; it is made when the event is logged and ends with `consume`, once.
- A task that may not run (killed, quarantined, opted out) gets no new work; what it has waits.
- At a limit the feeder is told EVENT_LOG_FULL; nothing is dropped in silence.
"""

import sqlite3
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from shoal_task.event import Event

from device_agent.agent.settings import AgentSettings
from device_agent.events.frames import FeedAnswer, FeedStatus

ACCEPTED = FeedAnswer(status=FeedStatus.ACCEPTED)
DUPLICATE = FeedAnswer(status=FeedStatus.DUPLICATE)
FULL = FeedAnswer(status=FeedStatus.REFUSED, code="EVENT_LOG_FULL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One event that one task has to see."""

    task: str
    sequence: int
    event: Event


class EventLog:
    """Reads and writes events and work; changes are made inside `Database.transaction`."""

    def __init__(self, connection: sqlite3.Connection, settings: AgentSettings) -> None:
        self._connection = connection
        self._settings = settings

    def append(self, event: Event, tasks: Iterable[str]) -> FeedAnswer:
        """Logs one event as work for `tasks`; an event that no task wants is only remembered."""
        known = self._connection.execute("SELECT 1 FROM seen WHERE uid=?", [event.uid]).fetchone()
        if known:
            return DUPLICATE
        tasks = sorted(set(tasks))
        sequence, waiting, size = self._connection.execute(
            "SELECT event_sequence + 1, events_open, events_open_bytes FROM agent"
        ).fetchone()
        event.sequence = sequence
        data = event.to_bytes()
        if tasks and not self._fits(waiting, size + len(data)):
            return FULL
        self._connection.execute(
            "INSERT INTO seen (uid, sequence) VALUES (?,?)", [event.uid, sequence]
        )
        self._connection.execute("UPDATE agent SET event_sequence=?", [sequence])
        self._connection.execute(
            "DELETE FROM seen WHERE sequence <= ? AND sequence NOT IN (SELECT sequence FROM events)",
            [sequence - self._settings.seen_uids_max],
        )
        if tasks:
            self._insert(sequence, event.uid, data, tasks)
        return ACCEPTED

    def _fits(self, waiting: int, size: int) -> bool:
        settings = self._settings
        return waiting < settings.events_open_max and size <= settings.events_open_bytes_max

    def _insert(self, sequence: int, uid: bytes, data: bytes, tasks: Collection[str]) -> None:
        self._connection.execute(
            "INSERT INTO events (sequence, uid, data, waiting) VALUES (?,?,?,?)",
            [sequence, uid, data, len(tasks)],
        )
        self._connection.executemany(
            "INSERT INTO work (task, sequence) VALUES (?,?)", [[task, sequence] for task in tasks]
        )
        self._connection.execute(
            "UPDATE agent SET events_open=events_open+1, events_open_bytes=events_open_bytes+?",
            [len(data)],
        )

    def listeners(self, event_id: int) -> frozenset[str]:
        """Tasks with a trigger on an event."""
        rows = self._connection.execute("SELECT task FROM triggers WHERE event_id=?", [event_id])
        return frozenset(task for (task,) in rows)

    def waiting(self, task: str, limit: int) -> list[Work]:
        """The task's oldest work, in order."""
        rows = self._connection.execute(
            "SELECT work.sequence, events.data FROM work JOIN events USING (sequence)"
            " WHERE work.task=? ORDER BY work.sequence LIMIT ?",
            [task, limit],
        )
        return [
            Work(task=task, sequence=sequence, event=Event.from_bytes(data))
            for sequence, data in rows
        ]

    def waiting_uids(self, task: str) -> list[tuple[int, bytes]]:
        """Sequence and uid of all the task's work."""
        return self._connection.execute(
            "SELECT work.sequence, events.uid FROM work JOIN events USING (sequence)"
            " WHERE work.task=? ORDER BY work.sequence",
            [task],
        ).fetchall()

    def tasks_with_work(self) -> list[str]:
        """Tasks that have work; asks once a task, however much of it waits."""
        rows = self._connection.execute(
            "SELECT task FROM tasks WHERE EXISTS (SELECT 1 FROM work WHERE work.task = tasks.task)"
            " ORDER BY task"
        )
        return [task for (task,) in rows]

    def mark_running(self, work: Work) -> None:
        """Writes ahead that the task is about to see the event."""
        self._connection.execute(
            "INSERT OR IGNORE INTO running (task, sequence) VALUES (?,?)",
            [work.task, work.sequence],
        )

    def unmark_running(self, work: Work) -> None:
        """The run ended without effects and will come again."""
        self._connection.execute(
            "DELETE FROM running WHERE task=? AND sequence=?", [work.task, work.sequence]
        )

    def take_running(self) -> list[str]:
        """Tasks that were running when the agent died; each is named once, and the marks are gone."""
        rows = self._connection.execute(
            "SELECT DISTINCT task FROM running ORDER BY task"
        ).fetchall()
        self._connection.execute("DELETE FROM running")
        return [task for (task,) in rows]

    def consume(self, task: str, sequence: int) -> bool:
        """Ends one piece of work; False when it had ended already (its task was removed meanwhile)."""
        self._connection.execute(
            "DELETE FROM running WHERE task=? AND sequence=?", [task, sequence]
        )
        ended = self._connection.execute(
            "DELETE FROM work WHERE task=? AND sequence=?", [task, sequence]
        ).rowcount
        if not ended:
            return False
        ((left, size),) = self._connection.execute(
            "UPDATE events SET waiting=waiting-1 WHERE sequence=? RETURNING waiting, length(data)",
            [sequence],
        ).fetchall()
        if left == 0:
            self._connection.execute("DELETE FROM events WHERE sequence=?", [sequence])
            self._connection.execute(
                "UPDATE agent SET events_open=events_open-1, events_open_bytes=events_open_bytes-?",
                [size],
            )
        return True
