"""Migrations make just the tables of the code, on both databases, once, and take them away again."""

import asyncio
import subprocess
import sys
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from cloud.store.database import Database
from cloud.store.errors import SchemaMismatch
from cloud.store.schema import (
    NEWEST_REVISION,
    downgrade_async,
    migrate_async,
    require_current_schema,
    schema_revision,
)
from cloud.store.tables import metadata


async def differences(url: str) -> list[object]:
    def compare(connection: sa.Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    return await inside(url, compare)


async def tables(url: str) -> set[str]:
    return set(await inside(url, lambda connection: sa.inspect(connection).get_table_names()))


async def inside[T](url: str, look: Callable[[sa.Connection], list[T]]) -> list[T]:
    database = await Database.open(url)
    try:
        async with database.read() as connection:
            return await connection.run_sync(look)
    finally:
        await database.close()


async def test_upgrading_an_empty_database_gives_the_tables_of_the_code(any_empty_url: str) -> None:
    await migrate_async(any_empty_url)
    assert await differences(any_empty_url) == []
    await migrate_async(any_empty_url)
    assert await differences(any_empty_url) == []


async def test_downgrading_leaves_nothing_but_alembics_own_table(any_empty_url: str) -> None:
    await migrate_async(any_empty_url)
    await downgrade_async(any_empty_url, "base")
    assert await tables(any_empty_url) <= {"alembic_version", "sqlite_sequence"}
    await migrate_async(any_empty_url)
    assert await differences(any_empty_url) == []


async def test_many_servers_that_start_together_migrate_once(any_empty_url: str) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(migrate_async(any_empty_url))
    assert await differences(any_empty_url) == []


async def test_a_schema_that_is_missing_or_newer_is_told_and_left_alone(any_empty_url: str) -> None:
    database = await Database.open(any_empty_url)
    try:
        with pytest.raises(SchemaMismatch, match="has schema none"):
            await require_current_schema(database)
        await migrate_async(any_empty_url)
        await require_current_schema(database)
        async with database.begin() as connection:
            assert await schema_revision(connection) == NEWEST_REVISION
            await connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(SchemaMismatch, match="run the newer version"):
            await migrate_async(any_empty_url)
        with pytest.raises(SchemaMismatch, match="update Shoal"):
            await require_current_schema(database)
    finally:
        await database.close()


async def test_a_failed_migration_leaves_no_half_of_a_schema(any_empty_url: str) -> None:
    database = await Database.open(any_empty_url)
    try:
        # The last table of the revision is there already: everything before it must go back.
        async with database.begin() as connection:
            await connection.execute(sa.text("CREATE TABLE version_files (x INTEGER)"))
    finally:
        await database.close()
    with pytest.raises(sa.exc.DBAPIError):
        await migrate_async(any_empty_url)
    assert await tables(any_empty_url) == {"version_files"}


def test_the_revision_that_the_code_needs_is_that_of_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", "cloud/store/migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == NEWEST_REVISION


@pytest.mark.slow
def test_a_restart_waits_for_nothing_that_it_does_not_use() -> None:
    """A cloud that died is back sooner by a quarter: measured by `python -X importtime`."""
    left_out = ("alembic", "redis", "opentelemetry.exporter", "onnx", "cloud.compiler")
    code = f"import sys, cloud.server.serve; print([n for n in {left_out} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr
