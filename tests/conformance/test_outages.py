"""Servers that go away and come back: what is told meanwhile, and that work goes on afterwards."""

import asyncio
import contextlib

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.bus.errors import BusUnavailable
from cloud.bus.opening import open_bus
from cloud.bus.settings import BusSettings
from cloud.store.database import Database
from cloud.store.errors import DatabaseBusy, DatabaseUnavailable
from cloud.store.settings import DatabaseSettings
from cloud.store.tables import namespaces
from device_agent.clock import SystemClock
from tests.helpers.servers import free_port, redis_server

TOPIC = "demo/app/digits/answer"


async def end_connections(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    finally:
        await connection.close()


async def test_a_transaction_whose_server_goes_is_told_and_the_next_one_works(
    postgres_url: str,
) -> None:
    database = await Database.open(postgres_url)

    async def write_through_an_outage() -> None:
        async with database.begin() as connection:
            await connection.execute(
                sa.insert(namespaces).values(namespace="a/b", created_at_ms=1, epoch=1)
            )
            await end_connections(postgres_url)
            await connection.execute(sa.select(namespaces))

    try:
        with pytest.raises(DatabaseUnavailable, match="check the server"):
            await write_through_an_outage()
        await database.ready()
        async with database.read() as connection:
            assert (await connection.execute(sa.select(namespaces))).all() == []
    finally:
        await database.close()


async def test_two_transactions_that_wait_for_each_other_end_as_busy_and_run_again(
    postgres_url: str,
) -> None:
    database = await Database.open(postgres_url)
    rows = [{"namespace": name, "created_at_ms": 1, "epoch": 0} for name in ("a/a", "b/b")]
    async with database.begin() as connection:
        await connection.execute(sa.insert(namespaces), rows)
    both_hold_one = asyncio.Barrier(2)
    attempts = 0

    async def raise_epochs(first: str, second: str) -> None:
        met = False

        async def step(connection: AsyncConnection) -> None:
            nonlocal met, attempts
            attempts += 1
            grow = sa.update(namespaces).values(epoch=namespaces.c.epoch + 1)
            await connection.execute(grow.where(namespaces.c.namespace == first))
            if not met:
                met = True
                await both_hold_one.wait()
            await connection.execute(grow.where(namespaces.c.namespace == second))

        await database.run(step)

    try:
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(raise_epochs("a/a", "b/b"))
            group.create_task(raise_epochs("b/b", "a/a"))
        async with database.read() as connection:
            assert list(await connection.scalars(sa.select(namespaces.c.epoch))) == [2, 2]
        assert attempts == 3
    finally:
        await database.close()


async def test_a_pool_that_is_used_up_is_busy_not_a_hang(any_url: str) -> None:
    settings = DatabaseSettings(connections_max=1, connection_wait_s_max=0.05)
    database = await Database.open(any_url, settings)
    try:
        async with database.begin():
            with pytest.raises(DatabaseBusy, match="connections_max"):
                async with database.begin():
                    pass
    finally:
        await database.close()


async def test_a_subscription_outlives_a_redis_that_is_restarted(database: Database) -> None:
    port = free_port()
    settings = BusSettings(retry_ms=10, retry_ms_max=50, redis_connect_s_max=1.0)
    with redis_server(port) as url:
        bus = await open_bus(url, database, SystemClock(), settings)
        await bus.publish(TOPIC, [("before", b"")])
        stream = bus.subscribe(TOPIC, "g", "c")
        first = await anext(stream)
        await bus.ack(first)
        following = asyncio.create_task(anext(stream))
    with pytest.raises(BusUnavailable):
        await bus.publish(TOPIC, [("lost", b"")])
    with pytest.raises(BusUnavailable, match="check the server"):
        await bus.ready()
    # This Redis keeps nothing on disk: stream and group are gone with it, and are made again.
    with redis_server(port):
        await bus.ready()
        await bus.publish(TOPIC, [("after", b"")])
        async with asyncio.timeout(10):
            assert ((await following).key, first.key) == ("after", "before")
        with contextlib.suppress(BusUnavailable):
            await stream.aclose()
        await bus.close()
