"""INSERT … ON CONFLICT for both dialects.

Rules of this module:

- The conflict is always about the table's primary key.
- One statement, so that two writers that meet do not both insert.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.store.urls import SQLITE

Row = Mapping[str, Any]
# A statement carries at most this many rows; longer lists go in several, in one transaction.
ROWS_MAX = 200


async def insert_or_update(
    connection: AsyncConnection,
    table: sa.Table,
    rows: Row | Sequence[Row],
    update: Sequence[str],
) -> None:
    """Inserts rows; where one is there already, takes the columns named in `update` from the new one."""
    for chunk in _chunks(rows):
        statement = _insert(connection, table).values(chunk)
        changes = {name: statement.excluded[name] for name in update}
        await connection.execute(
            statement.on_conflict_do_update(index_elements=_key(table), set_=changes)
        )


async def insert_or_ignore(
    connection: AsyncConnection, table: sa.Table, rows: Row | Sequence[Row]
) -> int:
    """Inserts rows that are not there yet; gives how many were new."""
    new = 0
    for chunk in _chunks(rows):
        statement = _insert(connection, table).values(chunk)
        result = await connection.execute(
            statement.on_conflict_do_nothing(index_elements=_key(table))
        )
        new += result.rowcount
    return new


def _insert(connection: AsyncConnection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    if connection.dialect.name == SQLITE:
        return sqlite.insert(table)
    return postgresql.insert(table)


def _key(table: sa.Table) -> list[str]:
    return [column.name for column in table.primary_key.columns]


def _chunks(rows: Row | Sequence[Row]) -> list[list[dict[str, Any]]]:
    plain = [dict(rows)] if isinstance(rows, Mapping) else [dict(row) for row in rows]
    return [plain[i : i + ROWS_MAX] for i in range(0, len(plain), ROWS_MAX)]
