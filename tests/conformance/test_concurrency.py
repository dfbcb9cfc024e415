"""Writers that meet: each change has an epoch, a place in the audit chain and an answer of its own."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from cloud.store.audit import append_audit, verify_chain
from cloud.store.database import Database
from cloud.store.epochs import bump_epoch, changes_since, current_epoch
from cloud.store.errors import NamespaceExists
from cloud.store.idempotency import remember_idempotent
from cloud.store.namespaces import create_namespace, list_namespaces

NS = "demo/app"
WRITERS, CHANGES = 4, 6


@pytest.fixture
async def processes(any_url: str) -> AsyncIterator[tuple[Database, Database]]:
    """Two servers on one database."""
    pair = (await Database.open(any_url), await Database.open(any_url))
    yield pair
    for database in pair:
        await database.close()


async def test_who_follows_the_change_log_misses_no_change(
    processes: tuple[Database, Database],
) -> None:
    async with processes[0].begin() as connection:
        await create_namespace(connection, NS, 1, "test")
    made: list[int] = []
    seen: list[int] = []

    async def change(writer: int) -> None:
        for number in range(CHANGES):
            async with processes[writer % 2].begin() as connection:
                # The clock stands still, so that every epoch comes from the one before.
                epoch = await bump_epoch(connection, NS, "release", f"task-{number}", 5)
                await append_audit(connection, NS, "test", "release.start", str(epoch), {}, 5)
            made.append(epoch)

    async def follow() -> None:
        while len(seen) < WRITERS * CHANGES:
            async with processes[0].read() as connection:
                new = await changes_since(connection, NS, max(seen, default=0), 100)
            seen.extend(change.epoch for change in new)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(follow())
        for writer in range(WRITERS):
            group.create_task(change(writer))
    assert seen == sorted(made)
    assert len(set(made)) == WRITERS * CHANGES
    async with processes[1].read() as connection:
        assert await current_epoch(connection, NS) == max(made)
        assert (await verify_chain(connection, NS)).rows == WRITERS * CHANGES + 1


async def test_two_requests_with_one_key_do_the_work_once(
    processes: tuple[Database, Database],
) -> None:
    done: list[int] = []

    async def ask(database: Database) -> dict[str, object]:
        async def work() -> dict[str, object]:
            done.append(1)
            return {"release": len(done)}

        async with database.begin() as connection:
            return await remember_idempotent(connection, NS, "key", "sha256:" + "0" * 64, work, 1)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(processes[n % 2])) for n in range(6)]
    assert [task.result() for task in tasks] == [{"release": 1}] * 6
    assert done == [1]


async def test_a_namespace_is_made_by_one_of_those_who_try(
    processes: tuple[Database, Database],
) -> None:
    async def make(database: Database) -> bool:
        try:
            async with database.begin() as connection:
                await create_namespace(connection, NS, 1, "test")
        except NamespaceExists:
            return False
        return True

    made = await asyncio.gather(*(make(processes[n % 2]) for n in range(4)))
    assert sorted(made) == [False, False, False, True]
    async with processes[0].read() as connection:
        assert [row.namespace for row in await list_namespaces(connection)] == [NS]
        assert (await verify_chain(connection, NS)).rows == 1
