"""What the cloud has to hear: reports and acknowledgements, until it says that they are durable there.

Rules of this module:

- Sequences grow by one without gaps within the boot; a number is taken in the transaction that needs it.
- Nothing is deleted before the cloud acknowledged it.
- A cloud that acknowledges what was never sent is refused.
"""

import enum
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from device_agent.agent.errors import PeerRefused
from device_agent.agent.settings import AgentSettings
from device_agent.tasks.director import TaskInstruction


class ReportKind(enum.IntEnum):
    """What a report is; the numbers are those of the wire."""

    EMIT = 1
    RUN = 2
    NOTICE = 3


class Outcome(enum.IntEnum):
    """What became of an instruction; the numbers are those of the wire."""

    NOTIFIED = 1
    INSTALLED = 2
    REMOVED = 3
    FAILED = 4
    ROLLED_BACK = 5
    DEFERRED = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One report; `sequence` is 0 until it is appended."""

    kind: ReportKind
    task: str
    version: int
    topic: str
    event_uid: bytes
    at_ms: int
    payload: bytes
    sequence: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """One acknowledgement; `sequence` is 0 until it is appended."""

    task: str
    version: int
    digest: str
    release_id: str
    outcome: Outcome
    error_code: str
    at_ms: int
    traceparent: str
    sequence: int = 0


def ack_of(instruction: TaskInstruction, outcome: Outcome, code: str, now_ms: int) -> Ack:
    """The acknowledgement of an instruction."""
    return Ack(
        task=instruction.task,
        version=instruction.version,
        digest=instruction.digest,
        release_id=instruction.release_id,
        outcome=outcome,
        error_code=code,
        at_ms=now_ms,
        traceparent=instruction.traceparent,
    )


class Outbox:
    """Reads and writes what waits for the cloud; changes are made inside `Database.transaction`."""

    def __init__(self, connection: sqlite3.Connection, settings: AgentSettings) -> None:
        self._connection = connection
        self._settings = settings

    def append_report(self, report: Report) -> int:
        """Takes the next sequence for a report."""
        ((sequence,),) = self._connection.execute(
            "UPDATE agent SET report_sequence=report_sequence+1, reports_open=reports_open+1,"
            " reports_bytes=reports_bytes+? RETURNING report_sequence",
            [len(report.payload)],
        ).fetchall()
        self._connection.execute(
            "INSERT INTO reports (sequence, kind, task, version, topic, event_uid, at_ms, payload)"
            " VALUES (?,?,?,?,?,?,?,?)",
            [
                sequence,
                report.kind,
                report.task,
                report.version,
                report.topic,
                report.event_uid,
                report.at_ms,
                report.payload,
            ],
        )
        return int(sequence)

    def has_room(self) -> bool:
        """Whether a run may add its reports; one run may pass the limit by its own output."""
        count, size = self._connection.execute(
            "SELECT reports_open, reports_bytes FROM agent"
        ).fetchone()
        return bool(count < self._settings.reports_max and size < self._settings.reports_bytes_max)

    def reports(self, after: int) -> list[Report]:
        """The oldest reports past `after`, as many as one message carries."""
        rows = self._connection.execute(
            "SELECT sequence, kind, task, version, topic, event_uid, at_ms, payload FROM reports"
            " WHERE sequence > ? ORDER BY sequence LIMIT ?",
            [after, self._settings.reports_per_message_max],
        )
        batch: list[Report] = []
        size = 0
        for sequence, kind, task, version, topic, uid, at_ms, payload in rows:
            size += len(payload) + 256
            if batch and size > self._settings.message_bytes_max:
                break
            report = Report(
                sequence=sequence,
                kind=ReportKind(kind),
                task=task,
                version=version,
                topic=topic,
                event_uid=uid,
                at_ms=at_ms,
                payload=payload,
            )
            batch.append(report)
        return batch

    def acknowledge_reports(self, up_to: int) -> None:
        """Forgets reports that are durable in the cloud.

        Raises:
            PeerRefused: the cloud names a report that this device never made.
        """
        (last,) = self._connection.execute("SELECT report_sequence FROM agent").fetchone()
        if up_to > last:
            raise PeerRefused(
                f"the cloud acknowledged report {up_to}, but {last} is the newest; is this home folder a copy?"
            )
        count, size = self._connection.execute(
            "SELECT COUNT(*), COALESCE(SUM(length(payload)), 0) FROM reports WHERE sequence <= ?",
            [up_to],
        ).fetchone()
        self._connection.execute("DELETE FROM reports WHERE sequence <= ?", [up_to])
        self._connection.execute(
            "UPDATE agent SET reports_open=reports_open-?, reports_bytes=reports_bytes-?",
            [count, size],
        )

    def append_ack(self, ack: Ack) -> int:
        """Takes the next sequence for an acknowledgement."""
        ((sequence,),) = self._connection.execute(
            "UPDATE agent SET ack_sequence=ack_sequence+1 RETURNING ack_sequence"
        ).fetchall()
        self._connection.execute(
            "INSERT INTO acks (sequence, task, version, digest, release_id, outcome, error_code, at_ms,"
            " traceparent) VALUES (?,?,?,?,?,?,?,?,?)",
            [
                sequence,
                ack.task,
                ack.version,
                ack.digest,
                ack.release_id,
                ack.outcome,
                ack.error_code,
                ack.at_ms,
                ack.traceparent,
            ],
        )
        return int(sequence)

    def acks(self) -> list[Ack]:
        """The oldest acknowledgements, as many as one Sync carries."""
        rows = self._connection.execute(
            "SELECT sequence, task, version, digest, release_id, outcome, error_code, at_ms, traceparent"
            " FROM acks ORDER BY sequence LIMIT ?",
            [self._settings.acks_per_sync_max],
        )
        return [
            Ack(
                sequence=sequence,
                task=task,
                version=version,
                digest=digest,
                release_id=release_id,
                outcome=Outcome(outcome),
                error_code=code,
                at_ms=at_ms,
                traceparent=traceparent,
            )
            for sequence, task, version, digest, release_id, outcome, code, at_ms, traceparent in rows
        ]

    def ack_count(self) -> int:
        """Acknowledgements that wait."""
        (count,) = self._connection.execute("SELECT COUNT(*) FROM acks").fetchone()
        return int(count)

    def last_ack(self) -> int:
        """Sequence of the newest acknowledgement ever made."""
        (last,) = self._connection.execute("SELECT ack_sequence FROM agent").fetchone()
        return int(last)

    def acknowledge_acks(self, up_to: int) -> None:
        """Forgets acknowledgements that are durable in the cloud.

        Raises:
            PeerRefused: the cloud names one that this device never made.
        """
        last = self.last_ack()
        if up_to > last:
            raise PeerRefused(
                f"the cloud holds acknowledgement {up_to}, but {last} is the newest; is this home folder a copy?"
            )
        self._connection.execute("DELETE FROM acks WHERE sequence <= ?", [up_to])

    def renumber(self, boot: bytes) -> None:
        """Starts a new log: what waits keeps its order and is counted from 1."""
        for table, counter in (("reports", "report_sequence"), ("acks", "ack_sequence")):
            rows = self._connection.execute(f"SELECT sequence FROM {table} ORDER BY sequence")
            for number, (sequence,) in enumerate(rows.fetchall(), 1):
                self._connection.execute(
                    f"UPDATE {table} SET sequence=? WHERE sequence=?", [number, sequence]
                )
            self._connection.execute(
                f"UPDATE agent SET {counter}=(SELECT COUNT(*) FROM {table}), boot=?", [boot]
            )

    def put_received(self, reply_id: bytes) -> None:
        """A reply is durable here; the cloud may forget it once it was told."""
        self._connection.execute("INSERT OR IGNORE INTO received (reply_id) VALUES (?)", [reply_id])

    def received(self, limit: int) -> list[bytes]:
        """Replies that the cloud has to be told of."""
        rows = self._connection.execute(
            "SELECT reply_id FROM received ORDER BY reply_id LIMIT ?", [limit]
        )
        return [reply_id for (reply_id,) in rows]

    def delete_received(self, reply_ids: Sequence[bytes]) -> None:
        """The cloud was told."""
        self._connection.executemany(
            "DELETE FROM received WHERE reply_id=?", [[reply_id] for reply_id in reply_ids]
        )
