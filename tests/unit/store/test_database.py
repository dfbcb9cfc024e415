"""Transactions commit or leave nothing; reads see one state; waits are bounded."""

import asyncio
import gc
from pathlib import Path

import pytest
import sqlalchemy as sa

from cloud.store.database import Database
from cloud.store.errors import DatabaseBusy, DatabaseUnavailable, DatabaseUrlInvalid
from cloud.store.locks import lock_namespace
from cloud.store.settings import DatabaseSettings
from cloud.store.tables import namespaces

CANCELLED_TURNS_MAX = 30
ROW = {"namespace": "a/b", "created_at_ms": 1, "epoch": 1}


async def count(database: Database) -> int:
    async with database.read() as connection:
        return int(await connection.scalar(sa.select(sa.func.count()).select_from(namespaces)) or 0)


async def test_an_exception_rolls_back_and_a_normal_end_commits(database: Database) -> None:
    async def fail_after_writing() -> None:
        async with database.begin() as connection:
            await connection.execute(sa.insert(namespaces).values(ROW))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail_after_writing()
    assert await count(database) == 0
    async with database.begin() as connection:
        await connection.execute(sa.insert(namespaces).values(ROW))
    assert await count(database) == 1


async def test_a_cancelled_writer_writes_nothing_and_gives_its_connection_back(
    database: Database,
) -> None:
    inside = asyncio.Event()

    async def write() -> None:
        async with database.begin() as connection:
            await connection.execute(sa.insert(namespaces).values(ROW))
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(write())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5), database.begin() as connection:
        await connection.execute(sa.insert(namespaces).values(ROW))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["read", "begin"])
async def test_a_caller_cancelled_at_any_turn_leaves_no_connection_that_no_pool_knows(
    database: Database, kind: str
) -> None:
    async def ask() -> None:
        async with getattr(database, kind)() as connection:
            await connection.execute(sa.select(sa.literal(1)))

    for turns in range(1, CANCELLED_TURNS_MAX):
        await database.close()  # so that the caller opens one
        task = asyncio.create_task(ask())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await database.close()
    # An unclosed connection warns when it is collected, and warnings are errors.
    gc.collect()


async def test_a_reader_sees_the_state_of_its_first_read(database: Database) -> None:
    async with database.read() as reader:
        statement = sa.select(sa.func.count()).select_from(namespaces)
        assert await reader.scalar(statement) == 0
        async with database.begin() as writer:
            await writer.execute(sa.insert(namespaces).values(ROW))
        assert await reader.scalar(statement) == 0
    assert await count(database) == 1


async def test_a_read_transaction_cannot_write(database: Database) -> None:
    with pytest.raises(sa.exc.DBAPIError):
        async with database.read() as connection:
            await connection.execute(sa.insert(namespaces).values(ROW))


async def test_another_process_holding_the_lock_is_busy_not_a_hang(
    database: Database, database_url: str
) -> None:
    other = await Database.open(database_url, DatabaseSettings(lock_ms_max=1))
    try:
        async with database.begin() as connection:
            await lock_namespace(connection, "a/b")
            with pytest.raises(DatabaseBusy, match="try again"):
                async with other.begin() as waiting:
                    await lock_namespace(waiting, "a/b")
    finally:
        await other.close()


async def test_run_begins_again_after_busy_and_gives_up_in_the_end(sqlite_url: str) -> None:
    settings = DatabaseSettings(attempts_max=3, backoff_ms=1)
    database = await Database.open(sqlite_url, settings)
    calls = 0

    async def busy_twice(_connection: object) -> int:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise DatabaseBusy("not yet")
        return calls

    async def always_busy(_connection: object) -> None:
        raise DatabaseBusy("never")

    try:
        assert await database.run(busy_twice) == 3
        with pytest.raises(DatabaseBusy, match="never"):
            await database.run(always_busy)
    finally:
        await database.close()


async def test_concurrent_writers_all_get_their_turn(database: Database) -> None:
    async with database.begin() as connection:
        await connection.execute(sa.insert(namespaces).values(ROW))

    async def add(_: int) -> None:
        async with database.begin() as connection:
            await lock_namespace(connection, "a/b")
            epoch = await connection.scalar(sa.select(namespaces.c.epoch))
            assert epoch is not None
            await connection.execute(sa.update(namespaces).values(epoch=epoch + 1))

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(add(number))
    async with database.read() as connection:
        assert await connection.scalar(sa.select(namespaces.c.epoch)) == 21


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mysql://localhost/x", "mysql is not supported"),
        ("nonsense", "cannot be read"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("postgresql://host", "names no database"),
    ],
)
async def test_a_wrong_url_says_what_to_write(url: str, why: str) -> None:
    with pytest.raises(DatabaseUrlInvalid, match=why):
        await Database.open(url)


async def test_an_unreachable_database_is_told_without_its_password() -> None:
    with pytest.raises(DatabaseUnavailable, match="check the server") as caught:
        await Database.open("postgresql://shoal:secret@127.0.0.1:1/shoal")
    assert "secret" not in str(caught.value)
    with pytest.raises(DatabaseUnavailable):
        await Database.open("sqlite:////no/such/folder/shoal.db")


async def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database" * 100)
    with pytest.raises(DatabaseUnavailable, match="file is not a database"):
        await Database.open(f"sqlite:///{tmp_path / 'notes.txt'}")


async def test_ready_answers(database: Database) -> None:
    await database.ready()
