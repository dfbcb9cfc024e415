"""Epochs grow, never fall below the clock, and are written with their change."""

import pytest

from cloud.store.database import Database
from cloud.store.epochs import Change, bump_epoch, changes_since, current_epoch
from cloud.store.errors import NamespaceUnknown
from cloud.store.namespaces import create_namespace

NS = "demo/digits-app"


async def test_an_epoch_is_the_clock_or_one_more_than_before(database: Database) -> None:
    async with database.begin() as connection:
        await create_namespace(connection, NS, 1000, "test")
        first = await bump_epoch(connection, NS, "release", "digits", 5000)
        second = await bump_epoch(connection, NS, "kill", "", 5000)
        third = await bump_epoch(connection, NS, "revocation", "ab" * 16, 10)
        later = await bump_epoch(connection, NS, "release", "digits", 9000)
    assert (first, second, third, later) == (5000, 5001, 5002, 9000)
    async with database.read() as connection:
        assert await current_epoch(connection, NS) == 9000
        assert await changes_since(connection, NS, 5000, 2) == [
            Change(epoch=5001, kind="kill", subject=""),
            Change(epoch=5002, kind="revocation", subject="ab" * 16),
        ]


async def test_an_unknown_namespace_has_no_epoch(database: Database) -> None:
    with pytest.raises(NamespaceUnknown, match="create it first"):
        async with database.begin() as connection:
            await bump_epoch(connection, NS, "release", "digits", 5000)
    async with database.read() as connection:
        with pytest.raises(NamespaceUnknown):
            await current_epoch(connection, NS)
        assert await changes_since(connection, NS, 0, 10) == []


async def test_a_change_that_fails_leaves_epoch_and_change_log_alone(database: Database) -> None:
    async with database.begin() as connection:
        await create_namespace(connection, NS, 1000, "test")

    async def fail_after_bumping() -> None:
        async with database.begin() as connection:
            await bump_epoch(connection, NS, "release", "digits", 5000)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail_after_bumping()
    async with database.read() as connection:
        assert await current_epoch(connection, NS) == 1000
        assert await changes_since(connection, NS, 0, 10) == []
