"""A Redis that is there and says no: full, a replica, or with a disk that fails. Named, and nothing half-published."""

import contextlib
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from cloud.bus.errors import BusFull, BusUnavailable
from cloud.bus.redis_streams import RedisBus
from cloud.bus.settings import BusSettings
from device_agent.clock import SystemClock
from tests.helpers.servers import redis_server

TOPIC = "demo/app/digits/answer"
pytestmark = pytest.mark.slow


@pytest.fixture
async def bus() -> AsyncIterator[RedisBus]:
    """On a server of its own: what a test does to it, no other test must feel."""
    with redis_server() as url:
        opened = await RedisBus.open(url, SystemClock(), BusSettings(redis_prefix="refusals:"))
        yield opened
        await opened.close()


@contextlib.asynccontextmanager
async def said(bus: RedisBus, wrong: list[str], right: list[str]) -> AsyncIterator[None]:
    redis: Redis = bus._redis
    await redis.execute_command(*wrong)  # type: ignore[no-untyped-call]  # redis's own
    try:
        yield
    finally:
        await redis.execute_command(*right)  # type: ignore[no-untyped-call]  # as above


async def taken(bus: RedisBus) -> list[str]:
    records = await bus.take(TOPIC, "g", "c", limit=10, wait_ms=50)
    await bus.ack(*records)
    return [record.key for record in records]


async def test_a_full_redis_is_a_full_bus(bus: RedisBus) -> None:
    await bus.publish(TOPIC, [("before", b"x")])
    full = ["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"]
    async with said(bus, *full):
        with pytest.raises(BusFull, match="no memory left"):
            await bus.publish(TOPIC, [("a", b"x"), ("b", b"x")])
        await bus.ready()  # it answers
    await bus.publish(TOPIC, [("after", b"x")])
    assert await taken(bus) == ["before", "after"]
    assert bus.counts.published == 2


async def test_a_replica_takes_nothing_and_is_away_until_it_is_no_replica(bus: RedisBus) -> None:
    await bus.publish(TOPIC, [("before", b"x")])
    replica = ["REPLICAOF", "127.0.0.1", "1"], ["REPLICAOF", "NO", "ONE"]
    async with said(bus, *replica):
        with pytest.raises(BusUnavailable, match="does not take it now"):
            await bus.publish(TOPIC, [("a", b"x")])
        with pytest.raises(BusUnavailable):
            await bus.take(TOPIC, "g", "c", limit=1, wait_ms=10)
    assert await taken(bus) == ["before"]


async def test_too_few_replicas_is_away_as_well(bus: RedisBus) -> None:
    few = (
        ["CONFIG", "SET", "min-replicas-to-write", "1"],
        ["CONFIG", "SET", "min-replicas-to-write", "0"],
    )
    async with said(bus, *few):
        with pytest.raises(BusUnavailable, match="does not take it now"):
            await bus.publish(TOPIC, [("a", b"x")])
    assert await taken(bus) == []


async def test_a_subscription_outlives_a_full_redis(bus: RedisBus) -> None:
    full = ["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"]
    seen = []
    stream = bus.subscribe(TOPIC, "g", "c")
    async with contextlib.aclosing(stream):
        await bus.publish(TOPIC, [("one", b"x")])
        seen.append((await anext(stream)).key)
        async with said(bus, *full):
            with pytest.raises(BusFull):
                await bus.publish(TOPIC, [("lost", b"x")])
        await bus.publish(TOPIC, [("two", b"x")])
        seen.append((await anext(stream)).key)
    assert seen == ["one", "two"]


async def test_what_is_a_fault_of_ours_keeps_its_own_name(bus: RedisBus) -> None:
    """Another kind of value where a stream should be: no outage, and told as what it is."""
    from redis.exceptions import ResponseError

    await bus._redis.set("refusals:stream:" + TOPIC, "no stream")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await bus.publish(TOPIC, [("a", b"x")])
