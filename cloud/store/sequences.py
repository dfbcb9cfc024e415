"""Where the row ids that the database gives out stand.

Rules of this module:

- A position is the last id that was given, not the highest that is there: rows are trimmed, and readers of bus_log
  remember ids whose rows are gone.
"""

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.store.tables import metadata
from cloud.store.urls import SQLITE

_NUMBERED = [
    table.name for table in metadata.sorted_tables if table.autoincrement_column is not None
]


async def read_sequences(connection: AsyncConnection) -> dict[str, int]:
    """Table to the last id given; tables that never gave one are left out."""
    positions: dict[str, int] = {}
    if connection.dialect.name == SQLITE:
        rows = await connection.execute(sa.text("SELECT name, seq FROM sqlite_sequence"))
        return {row.name: row.seq for row in rows if row.name in _NUMBERED}
    for table in _NUMBERED:
        name = await connection.scalar(_sequence_of(table))
        # Sequence names are ours (from our own tables), so quoting them is all they need.
        row = (await connection.execute(sa.text(f"SELECT last_value, is_called FROM {name}"))).one()
        if row.is_called:
            positions[table] = row.last_value
    return positions


async def write_sequences(connection: AsyncConnection, positions: Mapping[str, int]) -> None:
    """Lets ids go on after these."""
    for table, position in positions.items():
        if connection.dialect.name == SQLITE:
            await _write_sqlite(connection, table, position)
        else:
            name = await connection.scalar(_sequence_of(table))
            await connection.execute(sa.select(sa.func.setval(name, position)))


async def _write_sqlite(connection: AsyncConnection, table: str, position: int) -> None:
    values = {"table": table, "position": position}
    await connection.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = :table"), values)
    await connection.execute(
        sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES (:table, :position)"), values
    )


def _sequence_of(table: str) -> sa.Select[str]:
    return sa.select(sa.func.pg_get_serial_sequence(table, "id", type_=sa.String))
