"""A new SQLite file is turned to write-ahead logging once, by whoever comes first, while others wait."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from cloud.store.database import Database
from cloud.store.errors import DatabaseBusy
from cloud.store.settings import DatabaseSettings

WATCHED_S = 0.1


def writer_of(path: Path) -> sqlite3.Connection:
    """A connection that is about to write a file that is not logged ahead: the next one is refused without a wait."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("CREATE TABLE x (y INTEGER)")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO x VALUES (1)")
    return connection


async def test_whoever_comes_while_the_file_is_written_waits_for_its_writer(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with contextlib.closing(writer_of(path)) as writer:
        opening = asyncio.create_task(Database.open(f"sqlite:///{path}"))
        assert not (await asyncio.wait([opening], timeout=WATCHED_S))[0]
        writer.execute("COMMIT")
        await (await opening).close()
        assert writer.execute("SELECT y FROM x").fetchall() == [(1,)]
        assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_a_file_that_stays_busy_is_told_after_the_time_for_locks(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with contextlib.closing(writer_of(path)), pytest.raises(DatabaseBusy):
        await Database.open(f"sqlite:///{path}", DatabaseSettings(lock_ms_max=20))


async def test_many_that_open_a_new_file_together_all_have_it(tmp_path: Path) -> None:
    for number in range(20):
        url = f"sqlite:///{tmp_path / f'{number}.db'}"
        for database in await asyncio.gather(*(Database.open(url) for _ in range(8))):
            await database.close()
