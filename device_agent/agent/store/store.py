"""The agent's store: the parts on one connection, and what happens when it opens after a death."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

from device_agent.agent.messages import notice
from device_agent.agent.settings import AgentSettings
from device_agent.agent.store.database import Database
from device_agent.agent.store.held import Held
from device_agent.agent.store.log import EventLog
from device_agent.agent.store.outbox import Outbox, Outcome, Report, ack_of
from device_agent.agent.store.task_state import TaskState
from device_agent.tasks.director import Action, TaskInstruction

BOOT_BYTES = 16


class Store:
    """Everything durable of one agent except the bundles' files.

    Attributes:
        held: Document, tasks, bundles, what must not run.
        log: Events and work.
        outbox: Reports and acknowledgements.
    """

    def __init__(self, path: Path, *, random: Random, settings: AgentSettings) -> None:
        """Opens or creates the file.

        Raises:
            StoreUnknown: a newer agent wrote it.
        """
        self._settings = settings
        self._database = Database(path, boot=random.randbytes(BOOT_BYTES))
        connection = self._database.connection
        self.held = Held(connection)
        self.log = EventLog(connection, settings)
        self.outbox = Outbox(connection, settings)

    def state(self, task: str) -> TaskState:
        """What a task keeps."""
        return TaskState(self._database.connection, task)

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """All or nothing; see Database.transaction."""
        with self._database.transaction(durable=durable) as connection:
            yield connection

    def recover(self, now_ms: int) -> list[str]:
        """Blames the tasks that were running when the agent died; returns those that safe mode takes out now.

        Every task that ran at that moment is blamed, the guilty and the innocent alike; the innocent's count goes
        back to 0 with its next finished run.
        """
        with self.transaction():
            rows = self.held.tasks()
            blamed = [rows[task] for task in self.log.take_running() if task in rows]
            out: list[str] = []
            for row in blamed:
                deaths = row.deaths + 1
                quarantined = row.quarantined or deaths >= self._settings.deaths_max
                self.held.put_task(replace(row, deaths=deaths, quarantined=quarantined))
                if quarantined and not row.quarantined:
                    out.append(row.task)
                    held = TaskInstruction(
                        task=row.task,
                        action=Action.KEEP,
                        version=row.version,
                        digest=row.digest,
                        release_id=row.release_id,
                        traceparent=row.traceparent,
                    )
                    self.outbox.append_ack(ack_of(held, Outcome.FAILED, "TASK_QUARANTINED", now_ms))
                    text = (
                        f"{row.task} version {row.version}: the agent died inside it {deaths} times"
                    )
                    self.outbox.append_report(notice("TASK_QUARANTINED", text, now_ms))
        return out

    def append_all(self, reports: list[Report]) -> None:
        """Appends reports in order; inside a transaction."""
        for report in reports:
            self.outbox.append_report(report)
