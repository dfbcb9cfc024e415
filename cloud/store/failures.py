"""Which failures of a driver mean "try again" and which mean "the database is gone".

Rules of this module:

- Only failures that are known are translated; every other one is a bug of ours and stays as it is.
- SQLSTATE decides for PostgreSQL, the extended result code for SQLite; message texts decide nothing.
"""

import asyncio
import sqlite3

import sqlalchemy as sa

from cloud.store.errors import DatabaseBusy, DatabaseUnavailable, StoreError

# serialization_failure, deadlock_detected, lock_not_available, query_canceled (statement or lock time-out)
_BUSY_STATES = {"40001", "40P01", "55P03", "57014", "25P03"}
# connection exceptions; insufficient resources (too many connections); operator intervention; no such database;
# authentication.
_GONE_CLASSES = {"08", "53", "28"}
_GONE_STATES = {"57P01", "57P02", "57P03", "57P04", "3D000"}
_SQLITE_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_SQLITE_GONE = {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_CORRUPT,
}
_PRIMARY_CODE = 0xFF


def translate(error: BaseException, url: str) -> StoreError | None:
    """The StoreError that a driver's failure stands for; None when it is no known one."""
    if isinstance(error, sa.exc.TimeoutError):
        return DatabaseBusy(
            "every database connection is in use; try again, or raise connections_max"
        )
    if _is_busy(error):
        return DatabaseBusy("the database is busy with another change; try again")
    if _is_gone(error):
        return DatabaseUnavailable(f"{url} cannot be used: {_reason(error)}; check the server")
    return None


def _is_busy(error: BaseException) -> bool:
    return _sqlstate(error) in _BUSY_STATES or _sqlite_code(error) in _SQLITE_BUSY


def _is_gone(error: BaseException) -> bool:
    state = _sqlstate(error)
    if state[:2] in _GONE_CLASSES or state in _GONE_STATES:
        return True
    if _sqlite_code(error) in _SQLITE_GONE:
        return True
    if isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(error, (ConnectionError, asyncio.TimeoutError, OSError))


def _sqlstate(error: BaseException) -> str:
    original = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    return str(getattr(original, "sqlstate", None) or "")


def _sqlite_code(error: BaseException) -> int | None:
    original = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    code = getattr(original, "sqlite_errorcode", None)
    return code & _PRIMARY_CODE if isinstance(code, int) else None


def _reason(error: BaseException) -> str:
    original = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    return f"{type(original).__name__}: {original}".splitlines()[0]
