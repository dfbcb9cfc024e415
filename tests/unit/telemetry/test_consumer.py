"""Consumers see every record at least once; a fold into the database sees it exactly once."""

import asyncio
from collections.abc import Sequence

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.store.database import Database
from cloud.store.tables import consumed_records, run_counts
from cloud.telemetry.consumer import Consumer, Delivery
from cloud.telemetry.exactly_once import ExactlyOnce, Work
from cloud.telemetry.records import EmitRecord, encode_record
from cloud.telemetry.settings import TelemetrySettings
from device_agent.clock import SystemClock
from tests.helpers.memory_bus import StreamBus
from tests.helpers.release_sets import DEVICE, NAMESPACE
from tests.helpers.reports import UID


def record(sequence: int) -> EmitRecord:
    return EmitRecord(
        device=DEVICE,
        boot="b1",
        sequence=sequence,
        version=1,
        event_uid=UID,
        at_ms=1,
        payload=b"7",
    )


def consumer(bus: StreamBus) -> Consumer:
    return Consumer(
        bus, namespace=NAMESPACE, task="digits", topic="answer", group="labels", name="w1"
    )


async def publish(bus: StreamBus, *sequences: int) -> None:
    records = [(record(n).key, encode_record(record(n))) for n in sequences]
    await bus.publish(consumer(bus).topic, records)


async def take(member: Consumer, count: int) -> list[Delivery]:
    taken: list[Delivery] = []
    async with asyncio.timeout(5):
        async for delivery in member:
            taken.append(delivery)
            if len(taken) == count:
                break
    return taken


async def test_what_is_not_done_comes_again() -> None:
    bus = StreamBus()
    await publish(bus, 1, 2)
    first, second = await take(consumer(bus), 2)
    assert (first.record.sequence, second.record.sequence) == (1, 2)
    await first.done()
    (again,) = await take(consumer(bus), 1)
    assert again.key == second.key


async def test_what_cannot_be_read_is_put_aside() -> None:
    bus = StreamBus()
    member = consumer(bus)
    await bus.publish(member.topic, [("k", b"rubbish")])
    await publish(bus, 1)
    (delivery,) = await take(member, 1)
    assert delivery.record.sequence == 1
    assert member.unreadable == 1
    assert len(bus.acknowledged) == 1


def counting(failures: int = 0) -> tuple[list[int], Work]:
    seen: list[int] = []

    async def work(connection: AsyncConnection, records: Sequence[EmitRecord]) -> None:
        nonlocal failures
        for one in records:
            await connection.execute(
                sa.insert(run_counts).values(
                    namespace=NAMESPACE,
                    task="digits",
                    version=one.sequence,
                    outcome="ok",
                    runs=1,
                    wall_us=0,
                )
            )
            seen.append(one.sequence)
        if failures:
            failures -= 1
            raise RuntimeError("after writing, before the commit")

    return seen, work


async def counted(database: Database) -> list[int]:
    async with database.read() as connection:
        rows = await connection.execute(sa.select(run_counts.c.version))
        return sorted(row.version for row in rows)


async def test_a_record_that_comes_again_is_folded_once(database: Database) -> None:
    bus = StreamBus()
    await publish(bus, 1, 2)
    await publish(bus, 2)  # published twice: ingest died between bus and commit
    member = consumer(bus)
    once = ExactlyOnce(database, SystemClock(), topic=member.topic, group="labels")
    _, work = counting()
    assert await once.apply(await take(member, 3), work) == 2
    assert await counted(database) == [1, 2]
    assert len(bus.acknowledged) == 3
    again = Delivery(key=record(1).key, record=record(1), done=no_bus)
    assert await once.apply([again], work) == 0


async def no_bus() -> None:
    return None


async def test_what_failed_was_not_counted_and_is_counted_later(database: Database) -> None:
    bus = StreamBus()
    await publish(bus, 1)
    member = consumer(bus)
    once = ExactlyOnce(database, SystemClock(), topic=member.topic, group="labels")
    _, work = counting(failures=1)
    with pytest.raises(RuntimeError):
        await once.apply(await take(member, 1), work)
    assert await counted(database) == []
    assert bus.acknowledged == set()
    assert await once.apply(await take(member, 1), work) == 1
    assert await counted(database) == [1]


async def test_another_group_counts_for_itself(database: Database) -> None:
    delivery = Delivery(key="k", record=record(1), done=no_bus)
    seen: list[int] = []

    async def work(_connection: AsyncConnection, records: Sequence[EmitRecord]) -> None:
        seen.extend(one.sequence for one in records)

    for group in ("labels", "audit", "labels"):
        await ExactlyOnce(database, SystemClock(), topic="t", group=group).apply([delivery], work)
    assert seen == [1, 1]


async def test_keys_are_forgotten_after_their_time(database: Database) -> None:
    settings = TelemetrySettings(consumed_valid_ms=-1)
    once = ExactlyOnce(database, SystemClock(), topic="t", group="g", settings=settings)
    _, work = counting()
    await once.apply([Delivery(key="k", record=record(1), done=no_bus)], work)
    assert await once.forget() == 1
    async with database.read() as connection:
        left = await connection.scalar(sa.select(sa.func.count()).select_from(consumed_records))
    assert left == 0
