"""Reports and replies on real servers: both databases, both buses, one suite."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
import sqlalchemy as sa
from shoal.telemetry.v1 import telemetry_pb2
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.bus.interface import Bus
from cloud.bus.opening import EMBEDDED_URL, open_bus
from cloud.bus.settings import BusSettings
from cloud.gateway.recorder import AckBatch, AckRecorder, Told
from cloud.gateway.settings import RecorderSettings
from cloud.rpc.peer import DevicePeer
from cloud.store.database import Database
from cloud.store.tables import device_streams, run_counts
from cloud.telemetry.consumer import Consumer
from cloud.telemetry.exactly_once import ExactlyOnce
from cloud.telemetry.ingest import TelemetryIngest
from cloud.telemetry.outlet import Outlet
from cloud.telemetry.records import EmitRecord
from cloud.telemetry.replies import ReplyHub, ReplyService
from cloud.telemetry.settings import TelemetrySettings
from cloud.telemetry.tally import ReportBatch
from device_agent.clock import SystemClock
from tests.helpers.release_sets import DEVICE, NAMESPACE
from tests.helpers.reports import UID, emit, message, run

CLOCK = SystemClock()


@pytest.fixture(params=["embedded", "redis"])
async def bus(
    request: pytest.FixtureRequest, database: Database, redis_prefix: str
) -> AsyncIterator[Bus]:
    redis = request.param == "redis"
    url = request.getfixturevalue("redis_url") if redis else EMBEDDED_URL
    settings = replace(BusSettings(), redis_prefix=redis_prefix, poll_ms=10)
    opened = await open_bus(url, database, CLOCK, settings)
    yield opened
    await opened.close()


def batch(first: int, *reports: telemetry_pb2.Report, device: str = DEVICE) -> ReportBatch:
    told = message(first, *reports)
    return ReportBatch(
        peer=DevicePeer(device, NAMESPACE), boot=told.boot.hex(), reports=tuple(told.reports)
    )


@pytest.fixture
async def ingest(database: Database, bus: Bus) -> AsyncIterator[TelemetryIngest]:
    made = TelemetryIngest(database, Outlet(bus), CLOCK, TelemetrySettings())
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_every_report_reaches_the_consumer_and_counts_once(
    database: Database, bus: Bus, ingest: TelemetryIngest
) -> None:
    devices = [f"{n:032x}" for n in range(8)]

    async def device(device_id: str) -> None:
        await ingest.ingest(batch(1, emit(), run(), device=device_id))
        await ingest.ingest(batch(1, emit(), run(), emit(), run(), device=device_id))

    await asyncio.gather(*map(device, devices))
    member = Consumer(bus, namespace=NAMESPACE, task="digits", topic="answer", group="g", name="w1")
    once = ExactlyOnce(database, CLOCK, topic=member.topic, group="g")
    folded: list[str] = []

    async def work(_connection: AsyncConnection, records: Sequence[EmitRecord]) -> None:
        folded.extend(record.key for record in records)

    async with asyncio.timeout(20):
        async for delivery in member:
            await once.apply([delivery], work)
            if len(folded) == 2 * len(devices):
                break
    assert len(set(folded)) == 2 * len(devices)
    async with database.read() as connection:
        counted = (await connection.execute(sa.select(run_counts))).one()
    assert (counted.runs, counted.wall_us) == (2 * len(devices), 20 * len(devices))


async def test_more_records_of_a_topic_than_one_publish_takes(
    bus: Bus, ingest: TelemetryIngest
) -> None:
    many = [batch(1, *(emit() for _ in range(250)), device=f"{n:032x}") for n in range(5)]
    assert await asyncio.gather(*map(ingest.ingest, many)) == [250] * 5
    backlog = await bus.backlog(f"{NAMESPACE}/digits/answer", "new")
    assert backlog.unread == 1250


async def test_replies_wait_and_are_forgotten(database: Database) -> None:
    replies = ReplyService(database, CLOCK, TelemetrySettings(), ReplyHub())
    arguments = (NAMESPACE, DEVICE, "digits", 1002, UID, b"7", UID)
    assert [await replies.reply(*arguments), await replies.reply(*arguments)] == [True, False]
    (waiting,) = await replies.pending((NAMESPACE, DEVICE), 10)
    await replies.forget((NAMESPACE, DEVICE), [waiting.reply_id])
    assert await replies.pending((NAMESPACE, DEVICE), 10) == []


async def test_two_gateways_that_get_the_same_acknowledgements_count_them_once(
    database: Database,
) -> None:
    kept: list[int] = []

    async def record(
        _connection: AsyncConnection,
        _namespace: str,
        outcomes: Sequence[tuple[str, Sequence[Told]]],
        _now_ms: int,
    ) -> None:
        kept.extend(one.sequence for _, told in outcomes for one in told)

    told = tuple(
        Told(sequence=n, release_id="r1", version=1, outcome="installed", error_code="")
        for n in (1, 2)
    )
    acks = AckBatch(namespace=NAMESPACE, device_id=DEVICE, boot="b1", told=told)
    gateways = [AckRecorder(database, record, CLOCK, RecorderSettings()) for _ in range(2)]
    tasks = [asyncio.create_task(one.run()) for one in gateways]
    assert await asyncio.gather(*(one.acknowledge(acks) for one in gateways)) == [2, 2]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert kept == [1, 2]
    async with database.read() as connection:
        mark = (await connection.execute(sa.select(device_streams.c.sequence))).scalar_one()
    assert mark == 2
