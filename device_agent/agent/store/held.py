"""What the device holds: its newest document, its tasks, their bundles, and what must not run.

Rules of this module:

- Functions that change something are called inside `Database.transaction`.
- A task has one row: what runs, what came before it, and what is wanted and not yet done.
- Bundles are registered here after their folder is in its final place, so a folder without a row is rubbish.
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from device_agent.tasks.director import DirectorDocument, TaskInstruction
from device_agent.tasks.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRow:
    """What there is one of.

    Attributes:
        boot: Identity of the report log.
        epoch: Epoch of the newest answer that was accepted.
        document: (epoch, issued at) of the newest document; None when there is none.
        expires_at_ms: Its end; 0 when there is none.
        expiry_told: The document's end was reported.
        clock_offset_ms: To be added to the device's wall clock.
        facts_digest: Digest of the facts that the cloud last decided with.
        kill_all: Nothing may run.
        reports_open: Reports that wait for the cloud.
        reports_bytes: Their bytes.
        events_open: Events that wait for a run.
    """

    boot: bytes
    epoch: int
    document: tuple[int, int] | None
    expires_at_ms: int
    expiry_told: bool
    clock_offset_ms: int
    facts_digest: str
    kill_all: bool
    reports_open: int
    reports_bytes: int
    events_open: int
    issued_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """One task.

    Attributes:
        task: Its name.
        version: The version that runs; 0 when none is installed yet.
        digest: Its digest.
        python_tag: What its bytecode was made for.
        previous_digest: The version before, kept until this one has run; "" when there is none.
        release_id: Release that installed it.
        traceparent: Trace of that release.
        quarantined: Safe mode took it out.
        deaths: Deaths of the agent inside it since its last finished run.
        wanted: Instruction that is not carried out yet.
        tries: How often that was tried and failed.
        told: Last failure or deferral that was acknowledged for it.
    """

    task: str
    version: int = 0
    digest: str = ""
    python_tag: str = ""
    previous_digest: str = ""
    release_id: str = ""
    traceparent: str = ""
    quarantined: bool = False
    deaths: int = 0
    wanted: TaskInstruction | None = None
    tries: int = 0
    told: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleRow:
    """A bundle on disk: `files` maps each path in it to (digest, bytes)."""

    task: str
    digest: str
    python_tag: str
    version: int
    manifest: Manifest
    files: Mapping[str, tuple[str, int]]
    size: int


class Held:
    """Reads and writes what the device holds."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def is_made(self) -> bool:
        """Whether the file was made to its end; one whose agent died while it made it holds nothing yet."""
        tables = self._connection.execute("SELECT 1 FROM sqlite_master WHERE name='agent'")
        return bool(
            tables.fetchone() and self._connection.execute("SELECT 1 FROM agent").fetchone()
        )

    def agent(self) -> AgentRow:
        """The single row."""
        row = self._connection.execute(
            "SELECT boot, epoch, document_epoch, document_issued_at_ms, document_expires_at_ms, expiry_told,"
            " clock_offset_ms, facts_digest, kill_all, reports_open, reports_bytes, events_open FROM agent"
        ).fetchone()
        boot, epoch, of, issued, expires, told, offset, facts, kill, reports, size, events = row
        return AgentRow(
            boot=boot,
            epoch=epoch,
            document=(of, issued) if issued else None,
            expires_at_ms=expires,
            expiry_told=bool(told),
            clock_offset_ms=offset,
            facts_digest=facts,
            kill_all=bool(kill),
            reports_open=reports,
            reports_bytes=size,
            events_open=events,
            issued_at_ms=issued,
        )

    def put_epoch(self, epoch: int, facts_digest: str) -> None:
        """The cloud has decided up to `epoch` with these facts."""
        self._connection.execute("UPDATE agent SET epoch=?, facts_digest=?", [epoch, facts_digest])

    def put_document(self, document: DirectorDocument, envelope: bytes) -> None:
        """Keeps the newest document and its kill switch, which counts offline too."""
        self._connection.execute(
            "UPDATE agent SET document_epoch=?, document_issued_at_ms=?, document_expires_at_ms=?, document=?,"
            " expiry_told=0, kill_all=?",
            [
                document.epoch,
                document.issued_at_ms,
                document.expires_at_ms,
                envelope,
                document.kill.all,
            ],
        )
        self._connection.execute("DELETE FROM killed")
        self._connection.executemany(
            "INSERT OR IGNORE INTO killed (task) VALUES (?)",
            [[task] for task in document.kill.tasks],
        )

    def put_expiry_told(self) -> None:
        """The document's end was reported."""
        self._connection.execute("UPDATE agent SET expiry_told=1")

    def put_clock_offset(self, offset_ms: int) -> None:
        """Remembers how wrong the device's clock is."""
        self._connection.execute("UPDATE agent SET clock_offset_ms=?", [offset_ms])

    def killed(self) -> frozenset[str]:
        """Tasks that the cloud's kill switch names."""
        return frozenset(task for (task,) in self._connection.execute("SELECT task FROM killed"))

    def opted_out(self) -> frozenset[str]:
        """Tasks that the device's owner does not want."""
        return frozenset(task for (task,) in self._connection.execute("SELECT task FROM opted_out"))

    def put_opted_out(self, task: str, out: bool) -> None:
        """Sets or takes back the owner's refusal of a task."""
        if out:
            self._connection.execute("INSERT OR IGNORE INTO opted_out (task) VALUES (?)", [task])
        else:
            self._connection.execute("DELETE FROM opted_out WHERE task=?", [task])

    def tasks(self) -> dict[str, TaskRow]:
        """Every task by name."""
        rows = self._connection.execute(
            "SELECT task, version, digest, python_tag, previous_digest, release_id, traceparent, quarantined,"
            " deaths, wanted, tries, told FROM tasks ORDER BY task"
        )
        return {row[0]: _task_row(row) for row in rows}

    def put_task(self, row: TaskRow) -> None:
        """Writes a task's row, whole."""
        wanted = msgspec.json.encode(row.wanted) if row.wanted is not None else None
        self._connection.execute(
            "INSERT OR REPLACE INTO tasks (task, version, digest, python_tag, previous_digest, release_id,"
            " traceparent, quarantined, deaths, wanted, tries, told) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
            [
                row.task,
                row.version,
                row.digest,
                row.python_tag,
                row.previous_digest,
                row.release_id,
                row.traceparent,
                row.quarantined,
                row.deaths,
                wanted,
                row.tries,
                row.told,
            ],
        )

    def delete_task(self, task: str) -> None:
        """Forgets a task, its bundles, triggers and state; its folders go with the next clean-up."""
        for table in ("tasks", "bundles", "triggers", "task_values", "task_rows"):
            self._connection.execute(f"DELETE FROM {table} WHERE task=?", [task])

    def bundle(self, task: str, digest: str, python_tag: str) -> BundleRow | None:
        """A registered bundle."""
        for row in self.bundles():
            if (row.task, row.digest, row.python_tag) == (task, digest, python_tag):
                return row
        return None

    def bundles(self) -> list[BundleRow]:
        """Every registered bundle."""
        rows = self._connection.execute(
            "SELECT task, digest, python_tag, version, manifest, files, bytes FROM bundles"
        )
        return [
            BundleRow(
                task=task,
                digest=digest,
                python_tag=tag,
                version=version,
                manifest=Manifest.from_json(manifest),
                files=msgspec.json.decode(files, type=dict[str, tuple[str, int]]),
                size=size,
            )
            for task, digest, tag, version, manifest, files, size in rows
        ]

    def put_bundle(self, row: BundleRow, now_ms: int) -> None:
        """Registers a bundle whose folder is in place."""
        self._connection.execute(
            "INSERT OR REPLACE INTO bundles (task, digest, python_tag, version, manifest, files, bytes,"
            " installed_at_ms) VALUES (?,?,?,?,?,?,?,?)",
            [
                row.task,
                row.digest,
                row.python_tag,
                row.version,
                row.manifest.to_json(),
                msgspec.json.encode(dict(row.files)),
                row.size,
                now_ms,
            ],
        )

    def keep_bundles(self, row: TaskRow) -> None:
        """Forgets the bundles of a task that are neither what runs nor what came before it."""
        self._connection.execute(
            "DELETE FROM bundles WHERE task=? AND (python_tag<>? OR digest NOT IN (?,?))",
            [row.task, row.python_tag, row.digest, row.previous_digest],
        )

    def put_triggers(self, manifest: Manifest) -> None:
        """Registers the events that a task runs on, in place of those before."""
        self._connection.execute("DELETE FROM triggers WHERE task=?", [manifest.name])
        self._connection.executemany(
            "INSERT OR IGNORE INTO triggers (event_id, task) VALUES (?,?)",
            [[trigger.event, manifest.name] for trigger in manifest.triggers],
        )


def _task_row(
    row: tuple[str, int, str, str, str, str, str, int, int, bytes | None, int, str],
) -> TaskRow:
    (
        task,
        version,
        digest,
        tag,
        previous,
        release,
        trace,
        quarantined,
        deaths,
        wanted,
        tries,
        told,
    ) = row
    return TaskRow(
        task=task,
        version=version,
        digest=digest,
        python_tag=tag,
        previous_digest=previous,
        release_id=release,
        traceparent=trace,
        quarantined=bool(quarantined),
        deaths=deaths,
        wanted=msgspec.json.decode(wanted, type=TaskInstruction) if wanted is not None else None,
        tries=tries,
        told=told,
    )
