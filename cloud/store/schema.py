"""Brings a database's schema to the revision that the code needs, and says which one it has.

Rules of this module:

- One migration at a time: a lock inside the database, so that ten servers that start together migrate once.
- All or nothing: lock, every revision and the revision's number are one transaction, on SQLite too.
- A schema newer than the code is left alone and told.
- Alembic is loaded when there is something to migrate: a start, or a restart after a crash, does not wait for it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.store.database import Database
from cloud.store.errors import SchemaMismatch
from cloud.store.locks import advisory_number
from cloud.store.settings import DatabaseSettings
from cloud.store.urls import POSTGRESQL
from device_agent.failpoint import failpoint

if TYPE_CHECKING:
    from alembic.config import Config

# The newest file of migrations/versions; a test compares.
NEWEST_REVISION = "0002"
# A migration may rewrite tables: minutes, where a request gets seconds.
MIGRATION_SETTINGS = DatabaseSettings(
    connections_max=1, lock_ms_max=120_000, statement_ms_max=1_800_000
)


def migrate(url: str) -> None:
    """Upgrades a database to the newest revision; for callers without an event loop.

    Raises:
        SchemaMismatch: the database is newer than the code.
        DatabaseBusy: another migration did not end in time.
    """
    asyncio.run(migrate_async(url))


async def migrate_async(url: str, revision: str = "head") -> None:
    """Upgrades a database to a revision; does nothing when it is there."""
    async with _locked(url) as connection:
        found = await schema_revision(connection)
        if found == NEWEST_REVISION and revision in ("head", found):
            return
        _refuse_newer(found)
        await connection.run_sync(_upgrade, revision)
        failpoint("store.migrate.before_commit")


async def downgrade_async(url: str, revision: str) -> None:
    """Takes a database back to an older revision ("base" is none). What only newer ones hold is lost."""
    async with _locked(url) as connection:
        _refuse_newer(await schema_revision(connection))
        await connection.run_sync(_downgrade, revision)


async def require_current_schema(database: Database) -> None:
    """Raises SchemaMismatch unless the database has the revision that the code needs."""
    async with database.read() as connection:
        found = await schema_revision(connection)
    if found != NEWEST_REVISION:
        raise SchemaMismatch(
            f"{database.url} has schema {found or 'none'}, this version of Shoal needs "
            f"{NEWEST_REVISION}; migrate it when it is older, update Shoal when it is newer"
        )


async def schema_revision(connection: AsyncConnection) -> str | None:
    """Revision that the database has; None when it has no schema yet."""
    return await connection.run_sync(_revision)


def is_known_revision(revision: str) -> bool:
    """Whether the code has a migration to this revision."""
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    try:
        ScriptDirectory.from_config(_config()).get_revision(revision)
    except CommandError:
        return False
    return True


@asynccontextmanager
async def _locked(url: str) -> AsyncIterator[AsyncConnection]:
    database = await Database.open(url, MIGRATION_SETTINGS)
    try:
        # SQLite: BEGIN IMMEDIATE has the file's write lock already.
        async with database.begin() as connection:
            if database.dialect == POSTGRESQL:
                number = advisory_number("migration")
                await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(number)))
            yield connection
    finally:
        await database.close()


def _refuse_newer(found: str | None) -> None:
    if found is not None and not is_known_revision(found):
        raise SchemaMismatch(
            f"the database has schema {found}, which this version of Shoal does not know; "
            "run the newer version"
        )


def _revision(connection: sa.Connection) -> str | None:
    """What Alembic has noted; a table of one row."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return found


def _upgrade(connection: sa.Connection, revision: str) -> None:
    from alembic import command

    command.upgrade(_config(connection), revision)


def _downgrade(connection: sa.Connection, revision: str) -> None:
    from alembic import command

    command.downgrade(_config(connection), revision)


def _config(connection: sa.Connection | None = None) -> "Config":
    from alembic.config import Config

    config = Config()
    folder = str(files("cloud.store").joinpath("migrations"))
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
