"""The SQLAlchemy engines behind `Database`, with the pragmas and server settings that its rules need.

Rules of this module:

- SQLite: the driver's own idea of transactions is switched off (isolation_level None) and BEGIN is ours. The driver
  begins late, at the first write: a reader that upgrades its lock, and two of those fail with SQLITE_BUSY at once.
- SQLite: one writer connection. Writers of this process queue for it in order of arrival, instead of polling the
  file's lock; other processes are waited for by busy_timeout.
- PostgreSQL: one engine for both, the server enforces statement, lock and idle limits.
"""

import contextlib
import sqlite3
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from cloud.store.settings import DatabaseSettings
from cloud.store.urls import SQLITE


def make_engines(url: sa.URL, settings: DatabaseSettings) -> tuple[AsyncEngine, AsyncEngine]:
    """The engine for writing and the one for reading; the same one for PostgreSQL."""
    if url.get_backend_name() == SQLITE:
        return _sqlite_writer(url, settings), _sqlite_reader(url, settings)
    return _postgresql(url, settings)


def probe_sqlite(url: sa.URL, settings: DatabaseSettings) -> None:
    """Opens a SQLite file once without the pool, whose driver leaves a thread behind when a file cannot be opened.

    Turns the file to write-ahead logging, too, which it then keeps.

    Raises:
        sqlite3.Error: it cannot be opened, is no database, or is new and another writes it at this moment: SQLite
            refuses that at once, with SQLITE_BUSY, whatever the time for locks.
    """
    assert url.database is not None
    path = url.database
    connection = sqlite3.connect(
        path, timeout=settings.lock_ms_max / 1000, uri=path.startswith("file:")
    )
    with contextlib.closing(connection):
        connection.execute("PRAGMA journal_mode = WAL")


def _sqlite_writer(url: sa.URL, settings: DatabaseSettings) -> AsyncEngine:
    engine = _sqlite(url, settings, connections=1)
    event.listen(engine.sync_engine, "begin", _begin_immediate)
    return engine


def _sqlite_reader(url: sa.URL, settings: DatabaseSettings) -> AsyncEngine:
    engine = _sqlite(url, settings, connections=settings.connections_max)
    event.listen(engine.sync_engine, "begin", _begin_deferred)

    def forbid_writing(connection: Any, _record: object) -> None:  # noqa: ANN401  driver's type
        _execute(connection, "PRAGMA query_only = ON")

    event.listen(engine.sync_engine, "connect", forbid_writing)
    return engine


def _sqlite(url: sa.URL, settings: DatabaseSettings, *, connections: int) -> AsyncEngine:
    engine = create_async_engine(
        url,
        poolclass=AsyncAdaptedQueuePool,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=settings.connection_wait_s_max,
        connect_args={"timeout": settings.lock_ms_max / 1000},
    )

    def prepare(connection: Any, _record: object) -> None:  # noqa: ANN401  driver's type
        connection.isolation_level = None
        # An acknowledged commit survives a power cut, not only a crash of the process.
        _execute(connection, "PRAGMA synchronous = FULL")
        _execute(connection, "PRAGMA foreign_keys = ON")

    event.listen(engine.sync_engine, "do_connect", _try_open)
    event.listen(engine.sync_engine, "connect", prepare)
    return engine


def _try_open(
    _dialect: object, _record: object, arguments: Sequence[Any], _keywords: object
) -> None:
    """Fails here when the file cannot be opened: in the driver it would leave a thread behind."""
    path = str(arguments[0])
    sqlite3.connect(path, uri=path.startswith("file:")).close()


def _postgresql(url: sa.URL, settings: DatabaseSettings) -> tuple[AsyncEngine, AsyncEngine]:
    engine = create_async_engine(
        url,
        pool_size=settings.connections_max,
        max_overflow=0,
        pool_timeout=settings.connection_wait_s_max,
        pool_recycle=settings.connection_age_s_max,
        pool_pre_ping=True,
        connect_args={
            "timeout": settings.connect_s_max,
            "server_settings": {
                "application_name": "shoal",
                "statement_timeout": str(settings.statement_ms_max),
                "lock_timeout": str(settings.lock_ms_max),
                "idle_in_transaction_session_timeout": str(settings.idle_transaction_ms_max),
            },
        },
    )
    reader = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return engine, reader


def _begin_immediate(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_deferred(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _execute(connection: Any, statement: str) -> None:  # noqa: ANN401  the driver's own connection
    cursor = connection.cursor()
    cursor.execute(statement)
    cursor.close()
