"""What only the embedded bus promises: records in the caller's transaction, and time that a test owns."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from cloud.bus.embedded import EmbeddedBus
from cloud.bus.errors import BusUnavailable, BusUrlInvalid
from cloud.bus.interface import Backlog, Record
from cloud.bus.opening import open_bus
from cloud.bus.settings import BusSettings
from cloud.store.database import Database
from tests.helpers.manual_clock import ManualClock

TOPIC = "demo/app/digits/answer"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def bus(database: Database, clock: ManualClock) -> AsyncIterator[EmbeddedBus]:
    opened = await open_bus("embedded:", database, clock)
    assert isinstance(opened, EmbeddedBus)
    await opened.ready()
    yield opened
    await opened.close()


async def take(bus: EmbeddedBus) -> list[Record]:
    return await bus.take(TOPIC, "g", "c", limit=10, wait_ms=0)


async def test_a_record_is_there_only_if_the_callers_transaction_commits(
    bus: EmbeddedBus, database: Database
) -> None:
    async def fail() -> None:
        async with database.begin() as connection:
            await bus.publish_in(connection, TOPIC, [("lost", b"")])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    waiting = asyncio.create_task(bus.take(TOPIC, "g", "c", limit=10, wait_ms=5000))
    async with database.begin() as connection:
        await bus.publish_in(connection, TOPIC, [("kept", b"")])
    bus.wake(TOPIC)
    assert [record.key for record in await waiting] == ["kept"]


async def test_visibility_goes_by_the_clock_and_survives_a_clock_that_is_set_back(
    bus: EmbeddedBus, clock: ManualClock
) -> None:
    await bus.publish(TOPIC, [("k", b"")])
    assert len(await take(bus)) == 1
    clock.advance_ms(29_999)
    assert await take(bus) == []
    clock.advance_ms(1)
    assert [record.deliveries for record in await take(bus)] == [2]
    clock.set_wall_ms(0)
    assert [record.deliveries for record in await take(bus)] == [3]


async def test_retention_goes_by_the_clock(bus: EmbeddedBus, clock: ManualClock) -> None:
    await bus.publish(TOPIC, [("read", b"")])
    await bus.ack(*await take(bus))
    await bus.publish("demo/app/digits/left", [("unread", b"")])
    settings = BusSettings()
    clock.advance_ms(settings.acknowledged_keep_ms - 1)
    assert await bus.trim() == 0
    clock.advance_ms(1)
    assert await bus.trim() == 1
    clock.advance_ms(settings.unread_keep_ms)
    assert await bus.trim() == 1
    assert await bus.backlog("demo/app/digits/left", "g") == Backlog(unread=0, unacknowledged=0)


async def test_a_subscription_outlives_an_outage(database: Database, clock: ManualClock) -> None:
    class Flaky(EmbeddedBus):
        away = 3

        async def take(
            self, topic: str, group: str, consumer: str, *, limit: int, wait_ms: int
        ) -> list[Record]:
            if self.away:
                self.away -= 1
                raise BusUnavailable("not yet")
            return await super().take(topic, group, consumer, limit=limit, wait_ms=wait_ms)

    bus = Flaky(database, clock, BusSettings(retry_ms=1, retry_ms_max=2))
    await bus.publish(TOPIC, [("k", b"")])
    async with asyncio.timeout(5):
        record = await anext(bus.subscribe(TOPIC, "g", "c"))
    assert (record.key, bus.away) == ("k", 0)


async def test_trimming_runs_until_it_is_cancelled(database: Database, clock: ManualClock) -> None:
    bus = EmbeddedBus(database, clock, BusSettings(trim_every_ms=1, trim_records_max=1))
    await bus.publish(TOPIC, [("a", b""), ("b", b"")])
    await bus.ack(*await take(bus))
    clock.advance_ms(BusSettings().acknowledged_keep_ms)
    trimming = asyncio.create_task(bus.run_trimming())
    async with asyncio.timeout(5):
        while (await bus.backlog(TOPIC, "new")).unread:
            pass
    trimming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trimming


@pytest.mark.parametrize("url", ["kafka://host", "", "redis://host:notaport"])
async def test_a_wrong_bus_url_says_what_to_write(
    database: Database, clock: ManualClock, url: str
) -> None:
    with pytest.raises(BusUrlInvalid, match="redis://host:port"):
        await open_bus(url, database, clock)


async def test_a_redis_that_is_not_there_is_told(database: Database, clock: ManualClock) -> None:
    with pytest.raises(BusUnavailable, match="check the server"):
        await open_bus("redis://127.0.0.1:1", database, clock)
