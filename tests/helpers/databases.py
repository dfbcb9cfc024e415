"""What tests do to databases."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.store.tables import metadata


async def hold_all(connection: AsyncConnection) -> None:
    """Nobody else can write until this transaction ends. SQLite's `begin` is enough; PostgreSQL locks each table."""
    if connection.dialect.name == "postgresql":
        names = ", ".join(table.name for table in metadata.sorted_tables)
        await connection.execute(sa.text(f"LOCK TABLE {names} IN EXCLUSIVE MODE"))
