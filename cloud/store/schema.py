"""Brings a database's schema to the revision that the code needs, and says which one it has.

Rules of this module:

- One migration at a time: a lock inside the database, so that ten servers that start together migrate once.
- All or nothing: lock, every revision and the revision's number are one transaction, on SQLite too.
- A schema newer than the code is left alone and told.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.resources import files

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.store.database import Database
from cloud.store.errors import SchemaMismatch
from cloud.store.locks import advisory_number
from cloud.store.settings import DatabaseSettings
from cloud.store.urls import POSTGRESQL
from device_agent.failpoint import failpoint

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
        await connection.run_sync(_refuse_newer)
        await connection.run_sync(_command, command.upgrade, revision)
        failpoint("store.migrate.before_commit")


async def downgrade_async(url: str, revision: str) -> None:
    """Takes a database back to an older revision ("base" is none). What only newer ones hold is lost."""
    async with _locked(url) as connection:
        await connection.run_sync(_refuse_newer)
        await connection.run_sync(_command, command.downgrade, revision)


async def require_current_schema(database: Database) -> None:
    """Raises SchemaMismatch unless the database has the revision that the code needs."""
    async with database.read() as connection:
        found = await schema_revision(connection)
    if found != newest_revision():
        raise SchemaMismatch(
            f"{database.url} has schema {found or 'none'}, this version of Shoal needs "
            f"{newest_revision()}; migrate it when it is older, update Shoal when it is newer"
        )


async def schema_revision(connection: AsyncConnection) -> str | None:
    """Revision that the database has; None when it has no schema yet."""
    return await connection.run_sync(_revision)


def newest_revision() -> str:
    """Revision that the code needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def is_known_revision(revision: str) -> bool:
    """Whether the code has a migration to this revision."""
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


def _refuse_newer(connection: sa.Connection) -> None:
    found = _revision(connection)
    if found is not None and not is_known_revision(found):
        raise SchemaMismatch(
            f"the database has schema {found}, which this version of Shoal does not know; "
            "run the newer version"
        )


def _revision(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _command(connection: sa.Connection, run: Callable[[Config, str], None], revision: str) -> None:
    config = _config()
    config.attributes["connection"] = connection
    run(config, revision)


def _config() -> Config:
    config = Config()
    folder = str(files("cloud.store").joinpath("migrations"))
    config.set_main_option("script_location", folder.replace("%", "%%"))
    return config
