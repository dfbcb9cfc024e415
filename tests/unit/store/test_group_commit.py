"""Many callers share a transaction; one that fails fails alone."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.gateway.errors import GatewayBusy, SyncInvalid
from cloud.store.database import Database
from cloud.store.errors import DatabaseUnavailable
from cloud.store.group_commit import GroupCommit
from tests.helpers.conditions import until


class Writer:
    """Gives every number back doubled; some spoil their batch."""

    def __init__(self, database: Database, queue_max: int = 100) -> None:
        self.batches: list[list[int]] = []
        self.committed: list[int] = []
        self.commits = GroupCommit[int, int](
            database,
            self.apply,
            queue_max=queue_max,
            batch_max=3,
            busy=GatewayBusy,
            committed=self.committed.extend,
        )

    async def apply(
        self, _connection: AsyncConnection, items: Sequence[int]
    ) -> Sequence[int | Exception]:
        self.batches.append(list(items))
        if 13 in items:
            raise ZeroDivisionError("unlucky")
        if 14 in items:
            raise SyncInvalid("not this one")
        if 99 in items:
            raise DatabaseUnavailable("gone")
        return [ValueError("odd") if item == 7 else 2 * item for item in items]


@asynccontextmanager
async def working(writer: Writer) -> AsyncIterator[None]:
    task = asyncio.create_task(writer.commits.run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def submitted(writer: Writer, *items: int) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(writer.commits.submit(item)) for item in items]
    await until(lambda: writer.commits.waiting == len(items))
    return tasks


async def test_who_waits_shares_a_transaction(database: Database) -> None:
    writer = Writer(database)
    tasks = await submitted(writer, 1, 2, 3, 4)
    async with working(writer):
        assert await asyncio.gather(*tasks) == [2, 4, 6, 8]
    assert writer.batches == [[1, 2, 3], [4]]
    assert writer.committed == [1, 2, 3, 4]


async def test_an_exception_as_a_result_is_its_callers_alone(database: Database) -> None:
    writer = Writer(database)
    tasks = await submitted(writer, 1, 7)
    async with working(writer):
        with pytest.raises(ValueError, match="odd"):
            await tasks[1]
        assert await tasks[0] == 2


@pytest.mark.parametrize(("bad", "error"), [(13, ZeroDivisionError), (14, SyncInvalid)])
async def test_who_spoils_a_batch_fails_alone(
    database: Database, bad: int, error: type[Exception]
) -> None:
    writer = Writer(database)
    tasks = await submitted(writer, 1, bad, 2)
    async with working(writer):
        with pytest.raises(error):
            await tasks[1]
        assert [await tasks[0], await tasks[2]] == [2, 4]
    assert writer.committed == [1, 2]


async def test_what_is_away_is_away_for_all(database: Database) -> None:
    writer = Writer(database)
    tasks = await submitted(writer, 1, 99)
    async with working(writer):
        for task in tasks:
            with pytest.raises(DatabaseUnavailable):
                await task
    assert writer.batches == [[1, 99]]


async def test_a_full_queue_raises_at_once(database: Database) -> None:
    writer = Writer(database, queue_max=1)
    (waiting,) = await submitted(writer, 1)
    with pytest.raises(GatewayBusy):
        await writer.commits.submit(2)
    waiting.cancel()


async def test_when_it_ends_nobody_is_left_waiting(database: Database) -> None:
    """Also those of a batch that is run again one by one, and whose turn has not come."""

    class Stuck(Writer):
        async def apply(
            self, connection: AsyncConnection, items: Sequence[int]
        ) -> Sequence[int | Exception]:
            if len(items) == 1:
                self.alone.set()
                await asyncio.Event().wait()
            return await super().apply(connection, items)

        alone = asyncio.Event()

    writer = Stuck(database)
    tasks = await submitted(writer, 1, 13, 2, 3)
    async with working(writer):
        await asyncio.wait_for(writer.alone.wait(), 10)
    ended = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
    assert all(isinstance(one, asyncio.CancelledError) for one in ended)
    assert writer.committed == []


async def test_who_was_told_before_the_end_stays_told(database: Database) -> None:
    writer = Writer(database)
    tasks = await submitted(writer, 1, 2, 3)
    async with working(writer):
        await asyncio.gather(*tasks)
    assert [task.result() for task in tasks] == [2, 4, 6]


async def test_who_gave_up_is_left_out(database: Database) -> None:
    writer = Writer(database)
    first, second = await submitted(writer, 1, 2)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    async with working(writer):
        assert await second == 4
    assert writer.batches == [[2]]
