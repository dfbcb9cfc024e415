"""The agent's SQLite file: opening, migrating, transactions.

Rules of this module:

- WAL with synchronous=FULL: what was committed survives a power cut. A mark that must only survive the death of
  this process (not of the machine) commits without waiting for the disk: `transaction(durable=False)`.
- Every change happens in `transaction`; whatever must be true together is written in one.
- What SQLite cannot do has a name when it leaves: StoreDamaged for a file that is none, StoreFailed for the rest.
- A damaged file is never used and never deleted: it is set aside, and a new one begins.
- Migrations are numbered by user_version, run in one transaction each, and are never edited once released.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from device_agent.agent.errors import AgentError, StoreDamaged, StoreFailed, StoreUnknown
from device_agent.failpoint import failpoint

MIGRATIONS: Sequence[str] = (
    """
    CREATE TABLE agent (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        boot BLOB NOT NULL,
        epoch INTEGER NOT NULL DEFAULT 0,
        document_epoch INTEGER NOT NULL DEFAULT 0,
        document_issued_at_ms INTEGER NOT NULL DEFAULT 0,
        document_expires_at_ms INTEGER NOT NULL DEFAULT 0,
        document BLOB NOT NULL DEFAULT x'',
        expiry_told INTEGER NOT NULL DEFAULT 0,
        clock_offset_ms INTEGER NOT NULL DEFAULT 0,
        facts_digest TEXT NOT NULL DEFAULT '',
        kill_all INTEGER NOT NULL DEFAULT 0,
        event_sequence INTEGER NOT NULL DEFAULT 0,
        report_sequence INTEGER NOT NULL DEFAULT 0,
        ack_sequence INTEGER NOT NULL DEFAULT 0,
        events_open INTEGER NOT NULL DEFAULT 0,
        events_open_bytes INTEGER NOT NULL DEFAULT 0,
        reports_open INTEGER NOT NULL DEFAULT 0,
        reports_bytes INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE killed (task TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE opted_out (task TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE tasks (
        task TEXT PRIMARY KEY,
        version INTEGER NOT NULL DEFAULT 0,
        digest TEXT NOT NULL DEFAULT '',
        python_tag TEXT NOT NULL DEFAULT '',
        previous_digest TEXT NOT NULL DEFAULT '',
        release_id TEXT NOT NULL DEFAULT '',
        traceparent TEXT NOT NULL DEFAULT '',
        quarantined INTEGER NOT NULL DEFAULT 0,
        deaths INTEGER NOT NULL DEFAULT 0,
        wanted BLOB,
        tries INTEGER NOT NULL DEFAULT 0,
        told TEXT NOT NULL DEFAULT ''
    ) WITHOUT ROWID;
    CREATE TABLE bundles (
        task TEXT NOT NULL,
        digest TEXT NOT NULL,
        python_tag TEXT NOT NULL,
        version INTEGER NOT NULL,
        manifest BLOB NOT NULL,
        files BLOB NOT NULL,
        bytes INTEGER NOT NULL,
        installed_at_ms INTEGER NOT NULL,
        PRIMARY KEY (task, digest, python_tag)
    ) WITHOUT ROWID;
    CREATE TABLE triggers (event_id INTEGER NOT NULL, task TEXT NOT NULL, PRIMARY KEY (event_id, task)) WITHOUT ROWID;
    CREATE TABLE events (
        sequence INTEGER PRIMARY KEY, uid BLOB NOT NULL, data BLOB NOT NULL, waiting INTEGER NOT NULL
    );
    CREATE TABLE seen (uid BLOB PRIMARY KEY, sequence INTEGER NOT NULL) WITHOUT ROWID;
    CREATE UNIQUE INDEX seen_by_sequence ON seen (sequence);
    CREATE TABLE work (task TEXT NOT NULL, sequence INTEGER NOT NULL, PRIMARY KEY (task, sequence)) WITHOUT ROWID;
    CREATE TABLE running (task TEXT NOT NULL, sequence INTEGER NOT NULL, PRIMARY KEY (task, sequence)) WITHOUT ROWID;
    CREATE TABLE reports (
        sequence INTEGER PRIMARY KEY, kind INTEGER NOT NULL, task TEXT NOT NULL, version INTEGER NOT NULL,
        topic TEXT NOT NULL, event_uid BLOB NOT NULL, at_ms INTEGER NOT NULL, payload BLOB NOT NULL
    );
    CREATE TABLE acks (
        sequence INTEGER PRIMARY KEY, task TEXT NOT NULL, version INTEGER NOT NULL, digest TEXT NOT NULL,
        release_id TEXT NOT NULL, outcome INTEGER NOT NULL, error_code TEXT NOT NULL, at_ms INTEGER NOT NULL,
        traceparent TEXT NOT NULL
    );
    CREATE TABLE received (reply_id BLOB PRIMARY KEY) WITHOUT ROWID;
    """,
    """
    CREATE TABLE task_values (task TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (task, key));
    CREATE TABLE task_rows (
        number INTEGER PRIMARY KEY AUTOINCREMENT, task TEXT NOT NULL, name TEXT NOT NULL, row TEXT NOT NULL
    );
    CREATE INDEX task_rows_by_table ON task_rows (task, name, number);
    """,
)


DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class Database:
    """One connection, used by one thread."""

    def __init__(self, path: Path, *, boot: bytes) -> None:
        """Opens or creates the file; `boot` names the report log if the file is made now.

        Raises:
            StoreUnknown: a newer agent wrote the file.
            StoreDamaged: it is not what was written.
            StoreFailed: it cannot be opened or written.
        """
        assert len(boot) == 16
        self._path = path
        self._durable = True
        try:
            self.connection = sqlite3.connect(path, isolation_level=None, timeout=5.0)
        except sqlite3.Error as error:
            raise named_error(error, path) from error
        try:
            self._open(boot)
        except sqlite3.Error as error:
            self.connection.close()
            raise named_error(error, path) from error
        except BaseException:
            self.connection.close()
            raise

    def _open(self, boot: bytes) -> None:
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute("PRAGMA synchronous=FULL")
        (problem,) = self.connection.execute("PRAGMA quick_check(1)").fetchone()
        if problem != "ok":
            raise _damaged(self._path, problem)
        self._migrate(self._path, boot)

    def close(self) -> None:
        """Closes the connection; an open transaction is undone."""
        self.connection.close()

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """All or nothing; `durable=False` survives the death of the process, not a power cut.

        Raises:
            StoreDamaged, StoreFailed: nothing was written.
        """
        try:
            with self._transaction(durable=durable):
                yield self.connection
        except sqlite3.Error as error:
            raise named_error(error, self._path) from error

    @contextmanager
    def _transaction(self, *, durable: bool) -> Iterator[None]:
        if durable != self._durable:
            self.connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._durable = durable
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            failpoint("agent.store.committing")
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise
        failpoint("agent.store.committed")

    def _migrate(self, path: Path, boot: bytes) -> None:
        (version,) = self.connection.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise StoreUnknown(
                f"{path} has schema {version}, this agent knows {len(MIGRATIONS)}; install the newer agent again"
            )
        for number in range(version, len(MIGRATIONS)):
            with self.transaction():
                for statement in MIGRATIONS[number].split(";"):
                    self.connection.execute(statement)
                self.connection.execute(f"PRAGMA user_version = {number + 1}")
        with self.transaction():
            self.connection.execute("INSERT OR IGNORE INTO agent (id, boot) VALUES (1, ?)", [boot])


def set_aside(path: Path) -> Path:
    """Gives a damaged file another name, in place of one that was set aside before; gives that name."""
    aside = path.with_name(f"{path.name}.damaged")
    # The log first: a log without its file is nothing, a new file with an old log would be damaged again.
    for suffix in ("-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.replace(aside.with_name(aside.name + suffix))
    failpoint("agent.store.set_aside")
    return aside


def named_error(error: sqlite3.Error, path: Path) -> AgentError:
    """The agent's error for one of SQLite."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED:
        return _damaged(path, str(error))
    return StoreFailed(
        f"{path}: {error}; make room on the disk and let the agent write in its home folder"
    )


def _damaged(path: Path, problem: str) -> StoreDamaged:
    return StoreDamaged(
        f"{path} is damaged ({problem}); the next `shoal-agent run` keeps it as {path.name}.damaged and begins anew"
    )
