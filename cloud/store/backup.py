"""Backup of the whole database into one file, and back into an empty database, of the same kind or the other.

Rules of this module:

- A backup is one moment: a single read transaction, while writers go on.
- A restore is all or nothing, and never writes over anything.
- A backup of an older schema is restored at that schema and migrated then.
- Row ids go on where they were: an id that was given before the backup is not given again, though its row is gone.
- After a restore every epoch is above all that devices have seen (time-based, see epochs.py), and the old change log
  is gone: the next Sync of each device is decided in full, because what changed since the backup is not known.
"""

import base64
from collections.abc import Callable, Iterator
from itertools import batched
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.store.audit import WHOLE_CLOUD, append_audit
from cloud.store.backup_file import (
    BackupHeader,
    BackupWriter,
    TableRow,
    read_header,
    read_rows,
    written_backup,
)
from cloud.store.database import Database
from cloud.store.epochs import bump_epoch
from cloud.store.errors import BackupDamaged, RestoreRefused, SchemaMismatch
from cloud.store.namespaces import list_namespaces
from cloud.store.schema import (
    MIGRATION_SETTINGS,
    NEWEST_REVISION,
    downgrade_async,
    is_known_revision,
    migrate_async,
    require_current_schema,
    schema_revision,
)
from cloud.store.sequences import read_sequences, write_sequences
from cloud.store.tables import changes, metadata
from device_agent.clock import Clock, SystemClock
from device_agent.failpoint import failpoint

_ALEMBIC = "alembic_version"
_ROWS_A_STATEMENT = 200
_NAMESPACES_MAX = 100_000


async def backup_database(url: str, file: Path, clock: Clock | None = None) -> int:
    """Writes a backup; gives how many rows it holds.

    Raises:
        SchemaMismatch: the database is older or newer than the code.
        DatabaseUnavailable: it cannot be reached.
        OSError: the file cannot be written; nothing is left of it.
    """
    database = await Database.open(url, MIGRATION_SETTINGS)
    try:
        await require_current_schema(database)
        async with database.read() as connection:
            with written_backup(file) as writer:
                header = BackupHeader(
                    schema=NEWEST_REVISION,
                    made_at_ms=(clock or SystemClock()).wall_ms(),
                    sequences=await read_sequences(connection),
                )
                writer.header(header)
                for table in metadata.sorted_tables:
                    await _dump(connection, table, writer)
        return writer.rows
    finally:
        await database.close()


async def restore_database(file: Path, url: str, clock: Clock | None = None) -> int:
    """Fills an empty database from a backup; gives how many rows it wrote.

    Raises:
        BackupDamaged: the file is cut, changed or of another format; nothing was written.
        SchemaMismatch: it comes from a newer version of Shoal; nothing was written.
        RestoreRefused: the database is not empty; nothing was written.
    """
    header = read_header(file)
    if not is_known_revision(header.schema):
        raise SchemaMismatch(
            f"the backup has schema {header.schema}, which this version of Shoal does not know; "
            "restore it with the newer version"
        )
    await _make_empty_schema(url, header.schema)
    database = await Database.open(url, MIGRATION_SETTINGS)
    try:
        async with database.begin() as connection:
            rows = await _load(connection, file)
            await write_sequences(connection, header.sequences)
            await _go_on(connection, header, (clock or SystemClock()).wall_ms())
            failpoint("store.restore.before_commit")
    finally:
        await database.close()
    await migrate_async(url)
    return rows


async def _dump(connection: AsyncConnection, table: sa.Table, writer: BackupWriter) -> None:
    encoders = [_encoder(column) for column in table.columns]
    writer.table(table.name, [column.name for column in table.columns])
    async with connection.stream(sa.select(table).order_by(*table.primary_key.columns)) as rows:
        async for row in rows:
            writer.row([encode(value) for encode, value in zip(encoders, row, strict=True)])


async def _make_empty_schema(url: str, revision: str) -> None:
    """Brings an empty database to a revision, from any other."""
    database = await Database.open(url, MIGRATION_SETTINGS)
    try:
        async with database.read() as connection:
            found = await schema_revision(connection)
            filled = await connection.run_sync(_filled_tables)
    finally:
        await database.close()
    if filled:
        raise RestoreRefused(
            f"{database.url} is not empty ({', '.join(sorted(filled))} have rows); "
            "restore into a new database"
        )
    if found not in {None, revision}:
        await downgrade_async(url, "base")
    await migrate_async(url, revision)


def _filled_tables(connection: sa.Connection) -> list[str]:
    found = sa.MetaData()
    found.reflect(connection)
    return [
        table.name
        for table in found.tables.values()
        if table.name != _ALEMBIC and connection.execute(sa.select(table).limit(1)).first()
    ]


async def _load(connection: AsyncConnection, file: Path) -> int:
    found = sa.MetaData()
    await connection.run_sync(found.reflect)
    total = 0
    for chunk in batched(_decoded(read_rows(file), found), _ROWS_A_STATEMENT, strict=False):
        # Rows come table by table; a chunk may span the border of two.
        for name in dict.fromkeys(row.table for row in chunk):
            rows = [dict(row.values) for row in chunk if row.table == name]
            await connection.execute(sa.insert(found.tables[name]), rows)
            total += len(rows)
    return total


def _decoded(rows: Iterator[TableRow], found: sa.MetaData) -> Iterator[TableRow]:
    for row in rows:
        table = found.tables.get(row.table)
        if table is None or not row.values.keys() <= set(table.columns.keys()):
            raise BackupDamaged(f"the backup's table {row.table[:64]!r} is unknown; use another")
        columns = table.columns
        values = {name: _decode(columns[name], value) for name, value in row.values.items()}
        yield TableRow(table=row.table, values=values)


async def _go_on(connection: AsyncConnection, header: BackupHeader, now_ms: int) -> None:
    """Lets devices and auditors notice the restore, in its own transaction.

    The three tables that it writes have the same columns in every schema so far; a revision that changes one of them
    changes this too.
    """
    await connection.execute(sa.delete(changes))
    for row in await list_namespaces(connection, limit=_NAMESPACES_MAX):
        await bump_epoch(connection, row.namespace, "kill", "", now_ms)
    detail = {"made_at_ms": header.made_at_ms, "schema": header.schema}
    await append_audit(connection, WHOLE_CLOUD, "operator", "database.restore", "", detail, now_ms)


def _encoder(column: sa.Column[Any]) -> Callable[[Any], Any]:
    if isinstance(column.type, sa.LargeBinary):
        return lambda value: None if value is None else base64.b64encode(value).decode()
    return lambda value: value


def _decode(column: sa.Column[Any], value: Any) -> Any:  # noqa: ANN401  a cell has any type
    if isinstance(column.type, sa.LargeBinary) and value is not None:
        return base64.b64decode(value)
    return value
