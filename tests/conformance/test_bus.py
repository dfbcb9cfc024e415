"""One suite for every bus: the rules of cloud/bus/interface.py, on SQLite, PostgreSQL and Redis."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloud.bus.errors import BusFull, RecordRefused
from cloud.bus.interface import Bus, Record
from cloud.bus.opening import open_bus
from cloud.bus.settings import BusSettings
from cloud.store.database import Database
from device_agent.clock import SystemClock

TOPIC = "demo/app/digits/answer"
# Short, so that what comes again does so within a test; waits are on `take` itself.
VISIBILITY_MS = 60
WAIT_MS = 5000


class Buses:
    """Opens buses on one store: several on the same one are several processes."""

    def __init__(self, url: str, database_url: str, prefix: str) -> None:
        self._url = url
        self._database_url = database_url
        self._prefix = prefix
        self._open: list[tuple[Bus, Database]] = []

    async def open(self, **changes: int) -> Bus:
        fast: dict[str, Any] = {"visibility_ms": VISIBILITY_MS, "poll_ms": 20, **changes}
        settings = BusSettings(redis_prefix=self._prefix, **fast)
        database = await Database.open(self._database_url)
        bus = await open_bus(self._url, database, SystemClock(), settings)
        self._open.append((bus, database))
        return bus

    async def close(self) -> None:
        for bus, database in self._open:
            await bus.close()
            await database.close()


@pytest.fixture(params=["sqlite", "postgresql", "redis"])
def bus_urls(request: pytest.FixtureRequest) -> tuple[str, str]:
    """URL of the bus, and of the database that it may live in."""
    kind = "postgres_url" if request.param == "postgresql" else "migrated_sqlite_url"
    url = request.getfixturevalue("redis_url") if request.param == "redis" else "embedded:"
    return url, request.getfixturevalue(kind)


@pytest.fixture
async def buses(bus_urls: tuple[str, str], redis_prefix: str) -> AsyncIterator[Buses]:
    opened = Buses(*bus_urls, redis_prefix)
    yield opened
    await opened.close()


def records(*numbers: int) -> list[tuple[str, bytes]]:
    return [(f"key-{number}", bytes([number])) for number in numbers]


def keys(taken: list[Record]) -> list[str]:
    return [record.key for record in taken]


async def take(
    bus: Bus, group: str = "g", limit: int = 100, wait_ms: int = WAIT_MS
) -> list[Record]:
    return await bus.take(TOPIC, group, "c", limit=limit, wait_ms=wait_ms)


async def test_records_come_in_order_with_key_and_payload(buses: Buses) -> None:
    bus = await buses.open()
    await bus.publish(TOPIC, records(1, 2))
    await bus.publish(TOPIC, records(3))
    taken = await take(bus)
    assert [(r.key, r.payload, r.topic, r.group, r.deliveries) for r in taken] == [
        (f"key-{n}", bytes([n]), TOPIC, "g", 1) for n in (1, 2, 3)
    ]
    assert len({record.id for record in taken}) == 3


async def test_every_group_gets_every_record_and_a_new_one_the_old_ones(buses: Buses) -> None:
    bus = await buses.open()
    await bus.publish(TOPIC, records(1, 2))
    first = await take(bus, "first")
    await bus.ack(*first)
    assert keys(await take(bus, "second")) == keys(first) == ["key-1", "key-2"]


async def test_topics_do_not_mix(buses: Buses) -> None:
    bus = await buses.open()
    await bus.publish("demo/app/digits/other", records(9))
    await bus.publish(TOPIC, records(1))
    assert keys(await take(bus)) == ["key-1"]


async def test_consumers_of_a_group_share_the_records(buses: Buses) -> None:
    one, other = await buses.open(visibility_ms=60_000), await buses.open(visibility_ms=60_000)
    await one.publish(TOPIC, records(1, 2, 3, 4))
    parts = [await take(one, limit=2), await take(other, limit=2), await take(one, wait_ms=0)]
    assert [keys(part) for part in parts] == [["key-1", "key-2"], ["key-3", "key-4"], []]


async def test_what_is_not_acknowledged_comes_again_and_what_is_does_not(buses: Buses) -> None:
    bus = await buses.open()
    await bus.publish(TOPIC, records(1, 2))
    first, second = await take(bus)
    await bus.ack(first)
    again = await take(bus)
    assert [(record.key, record.deliveries) for record in again] == [(second.key, 2)]
    assert again[0].id == second.id
    await bus.ack(*again)
    await bus.ack(*again)
    assert await take(bus, wait_ms=3 * VISIBILITY_MS) == []


async def test_an_acknowledgement_after_another_consumer_got_the_record_counts(
    buses: Buses,
) -> None:
    one, other = await buses.open(), await buses.open()
    await one.publish(TOPIC, records(1))
    late = await take(one)
    assert keys(await take(other)) == ["key-1"]
    await one.ack(*late)
    assert await take(other, wait_ms=3 * VISIBILITY_MS) == []


async def test_a_group_outlives_its_process(buses: Buses) -> None:
    before = await buses.open()
    await before.publish(TOPIC, records(1, 2, 3))
    taken = await take(before, limit=2)
    await before.ack(taken[0])
    await before.close()
    after = await buses.open()
    got = [*await take(after), *await take(after)]
    assert sorted(set(keys(got))) == ["key-2", "key-3"]


async def test_a_waiting_consumer_is_woken_by_this_process_and_by_another(buses: Buses) -> None:
    here, elsewhere = await buses.open(), await buses.open()
    for publisher in (here, elsewhere):
        waiting = asyncio.create_task(take(here))
        await asyncio.sleep(0)
        await publisher.publish(TOPIC, records(1))
        async with asyncio.timeout(5):
            taken = await waiting
        assert keys(taken) == ["key-1"]
        await here.ack(*taken)


async def test_waiting_ends_in_time_with_nothing(buses: Buses) -> None:
    bus = await buses.open()
    async with asyncio.timeout(5):
        assert await take(bus, wait_ms=30) == []
        assert await take(bus, wait_ms=0) == []


async def test_a_take_that_is_cancelled_takes_nothing_for_good(buses: Buses) -> None:
    bus = await buses.open()
    waiting = asyncio.create_task(take(bus))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    await bus.publish(TOPIC, records(1))
    assert keys(await take(bus)) == ["key-1"]


async def test_subscribe_goes_on_and_leaves_what_was_not_acknowledged(buses: Buses) -> None:
    bus = await buses.open()
    await bus.publish(TOPIC, records(1, 2, 3))
    seen: list[str] = []
    async with contextlib.aclosing(bus.subscribe(TOPIC, "g", "c")) as stream:
        async for record in stream:
            seen.append(record.key)
            if len(seen) == 2:
                break
            await bus.ack(record)
    assert seen == ["key-1", "key-2"]
    assert sorted(set(keys(await take(bus)))) == ["key-2", "key-3"]


async def test_backlog_counts_unread_and_unacknowledged(buses: Buses) -> None:
    bus = await buses.open()
    await bus.publish(TOPIC, records(1, 2, 3))
    taken = await take(bus, limit=2)
    await bus.ack(taken[0])
    backlog = await bus.backlog(TOPIC, "g")
    assert (backlog.unread, backlog.unacknowledged) == (1, 1)
    fresh = await bus.backlog(TOPIC, "new")
    assert (fresh.unread, fresh.unacknowledged) == (3, 0)


async def test_trimming_leaves_what_a_group_still_needs(buses: Buses) -> None:
    bus = await buses.open(acknowledged_keep_ms=-1000)
    await bus.publish(TOPIC, records(1, 2, 3, 4))
    assert await bus.trim() == 0, "no group has read: all may be needed"
    quick, slow = await take(bus, "quick"), await take(bus, "slow", limit=3)
    await bus.ack(*quick)
    await bus.ack(*slow[:2])
    assert await bus.trim() == 2
    assert await bus.trim() == 0
    rest = [*await take(bus, "slow"), *await take(bus, "slow", wait_ms=3 * VISIBILITY_MS)]
    assert sorted(set(keys(rest))) == ["key-3", "key-4"]
    await bus.ack(*rest)
    assert await bus.trim() == 2


async def test_records_after_a_trim_are_not_missed(buses: Buses) -> None:
    bus = await buses.open(acknowledged_keep_ms=-1000)
    for number in range(1, 4):
        await bus.publish(TOPIC, records(number))
        taken = await take(bus)
        assert keys(taken) == [f"key-{number}"]
        await bus.ack(*taken)
        assert await bus.trim() == 1


async def test_acknowledged_records_stay_for_a_while(buses: Buses) -> None:
    bus = await buses.open()
    await bus.publish(TOPIC, records(1))
    await bus.ack(*await take(bus))
    assert await bus.trim() == 0


async def test_what_nobody_reads_goes_after_a_long_while(buses: Buses) -> None:
    bus = await buses.open(unread_keep_ms=-1000)
    await bus.publish(TOPIC, records(1, 2))
    await take(bus, limit=1)
    assert await bus.trim() == 2
    assert await take(bus, wait_ms=3 * VISIBILITY_MS) == []


async def test_a_full_topic_refuses_and_drops_nothing(buses: Buses) -> None:
    bus = await buses.open(topic_records_max=3, acknowledged_keep_ms=-1000)
    await bus.publish(TOPIC, records(1, 2, 3))
    await bus.trim()
    with pytest.raises(BusFull, match="start consumers"):
        await bus.publish(TOPIC, records(4))
    await bus.ack(*await take(bus))
    await bus.trim()
    await bus.publish(TOPIC, records(4))
    assert keys(await take(bus)) == ["key-4"]


@pytest.mark.parametrize(
    ("topic", "record"),
    [
        ("", ("k", b"")),
        ("a/b/" + "c" * 256, ("k", b"")),
        ("a/b/ü", ("k", b"")),
        (TOPIC, ("", b"")),
        (TOPIC, ("k" * 129, b"")),
        (TOPIC, ("k", b"x" * 2_000_000)),
    ],
    ids=["no topic", "long topic", "odd topic", "no key", "long key", "long payload"],
)
async def test_what_breaks_a_limit_is_refused(
    buses: Buses, topic: str, record: tuple[str, bytes]
) -> None:
    bus = await buses.open()
    with pytest.raises(RecordRefused):
        await bus.publish(topic, [record])
    with pytest.raises(RecordRefused):
        await bus.publish(TOPIC, [("k", b"")] * 1001)
    await bus.publish(TOPIC, [])
    assert await take(bus, wait_ms=0) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
async def test_whatever_consumers_do_nothing_is_lost(buses: Buses, seed: int) -> None:
    """Two processes publish, three consumers take and forget; every record is acknowledged in the end."""
    chance = random.Random(seed)
    processes = [await buses.open(), await buses.open()]
    expected = {f"{p}-{n}" for p in range(2) for n in range(60)}
    acknowledged: set[str] = set()
    first_seen: list[str] = []

    async def publish(process: int) -> None:
        numbers = iter(range(60))
        while chunk := list(itertools.islice(numbers, chance.randint(1, 7))):
            await processes[process].publish(TOPIC, [(f"{process}-{n}", b"x") for n in chunk])

    async def consume(name: str) -> None:
        bus = processes[chance.randrange(2)]
        while acknowledged != expected:
            limit = chance.randint(1, 9)
            for record in await bus.take(TOPIC, "g", name, limit=limit, wait_ms=50):
                if record.deliveries == 1:
                    first_seen.append(record.key)
                if chance.random() < 0.7:
                    await bus.ack(record)
                    acknowledged.add(record.key)

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for process in range(2):
            group.create_task(publish(process))
        for name in ("a", "b", "c"):
            group.create_task(consume(name))
    assert sorted(first_seen) == sorted(expected), "each first delivery happens once"


async def test_first_deliveries_keep_the_order_of_each_publisher(buses: Buses) -> None:
    bus, other = await buses.open(), await buses.open()

    async def publish(process: Bus, name: str) -> None:
        for number in range(20):
            await process.publish(TOPIC, [(f"{name}-{number:02}", b"")])

    seen: list[str] = []

    async def consume() -> None:
        while len(seen) < 40:
            taken = await take(bus, limit=3)
            seen.extend(record.key for record in taken if record.deliveries == 1)
            await bus.ack(*taken)

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(publish(bus, "a"))
        group.create_task(publish(other, "b"))
        group.create_task(consume())
    for name in ("a", "b"):
        mine = [key for key in seen if key.startswith(name)]
        assert mine == sorted(mine)
