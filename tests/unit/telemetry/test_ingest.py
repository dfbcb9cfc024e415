"""Reports into the database and onto the bus, each once, whichever bus it is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa
from shoal.telemetry.v1 import telemetry_pb2

from cloud.rpc.peer import DevicePeer
from cloud.store.database import Database
from cloud.store.tables import device_streams, notices, run_counts
from cloud.telemetry.errors import ReportGap, TelemetryBusy
from cloud.telemetry.ingest import TelemetryIngest
from cloud.telemetry.outlet import Outlet
from cloud.telemetry.records import topic_of
from cloud.telemetry.settings import TelemetrySettings
from cloud.telemetry.tally import ReportBatch
from device_agent.clock import SystemClock
from tests.helpers.conditions import until
from tests.helpers.memory_bus import SharedBus, StreamBus
from tests.helpers.release_sets import DEVICE, NAMESPACE
from tests.helpers.reports import BOOT, emit, message, notice, run

TOPIC = topic_of(NAMESPACE, "digits", "answer")


def batch(first: int, *reports: telemetry_pb2.Report, device: str = DEVICE) -> ReportBatch:
    told = message(first, *reports)
    return ReportBatch(
        peer=DevicePeer(device, NAMESPACE), boot=told.boot.hex(), reports=tuple(told.reports)
    )


@asynccontextmanager
async def running(database: Database, bus: StreamBus) -> AsyncIterator[TelemetryIngest]:
    made = TelemetryIngest(database, Outlet(bus), SystemClock(), TelemetrySettings())
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(params=[SharedBus, StreamBus])
def bus(request: pytest.FixtureRequest) -> StreamBus:
    made = request.param()
    assert isinstance(made, StreamBus)
    return made


async def rows(database: Database, table: sa.Table) -> list[sa.Row[tuple[object, ...]]]:
    async with database.read() as connection:
        return list((await connection.execute(sa.select(table))).all())


async def test_a_message_is_durable_in_every_part(database: Database, bus: StreamBus) -> None:
    async with running(database, bus) as ingest:
        assert await ingest.ingest(batch(1, emit(), run(), notice())) == 3
    assert bus.keys(TOPIC) == [f"{DEVICE}:{BOOT.hex()}:1"]
    (mark,) = await rows(database, device_streams)
    assert (mark.stream, mark.sequence) == ("report", 3)
    (count,) = await rows(database, run_counts)
    assert (count.outcome, count.runs, count.wall_us) == ("ok", 1, 10)
    (kept,) = await rows(database, notices)
    assert kept.code == "CLOCK_MENDED"


async def test_what_is_sent_again_counts_once(database: Database, bus: StreamBus) -> None:
    async with running(database, bus) as ingest:
        await ingest.ingest(batch(1, emit(), run()))
        assert await ingest.ingest(batch(1, emit(), run(), emit(), run())) == 4
        assert (ingest.counted, ingest.duplicates) == (4, 2)
    assert len(bus.keys(TOPIC)) == 2
    (count,) = await rows(database, run_counts)
    assert count.runs == 2


async def test_a_gap_spoils_its_own_message_only(database: Database, bus: StreamBus) -> None:
    ingest = TelemetryIngest(database, Outlet(bus), SystemClock(), TelemetrySettings())
    gapped = asyncio.create_task(ingest.ingest(batch(2, emit())))
    good = asyncio.create_task(ingest.ingest(batch(1, emit(), device="cd" * 16)))
    await until(lambda: ingest.waiting == 2)
    task = asyncio.create_task(ingest.run())
    with pytest.raises(ReportGap):
        await gapped
    assert await good == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert bus.keys(TOPIC) == [f"{'cd' * 16}:{BOOT.hex()}:1"]
    assert ingest.gaps == 1


async def test_the_same_message_twice_in_one_batch_counts_once(
    database: Database, bus: StreamBus
) -> None:
    ingest = TelemetryIngest(database, Outlet(bus), SystemClock(), TelemetrySettings())
    both = [asyncio.create_task(ingest.ingest(batch(1, emit()))) for _ in range(2)]
    await until(lambda: ingest.waiting == 2)
    task = asyncio.create_task(ingest.run())
    assert await asyncio.gather(*both) == [1, 1]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(bus.keys(TOPIC)) == 1


async def test_a_bus_that_is_away_acknowledges_nothing(database: Database) -> None:
    bus = StreamBus()
    bus.fails = 1
    async with running(database, bus) as ingest:
        with pytest.raises(ConnectionError):
            await ingest.ingest(batch(1, emit(), run()))
        assert await rows(database, run_counts) == []
        assert await ingest.ingest(batch(1, emit(), run())) == 2
    assert len(bus.keys(TOPIC)) == 1


async def test_a_full_queue_says_so(database: Database) -> None:
    settings = TelemetrySettings(queue_max=1)
    ingest = TelemetryIngest(database, Outlet(StreamBus()), SystemClock(), settings)
    waiting = asyncio.create_task(ingest.ingest(batch(1, emit())))
    await until(lambda: ingest.waiting == 1)
    with pytest.raises(TelemetryBusy):
        await ingest.ingest(batch(1, emit()))
    waiting.cancel()


async def test_more_kinds_of_runs_than_a_statement_takes(database: Database) -> None:
    async with running(database, StreamBus()) as ingest:
        many = [run(f"CODE_{n}") for n in range(250)]
        await ingest.ingest(batch(1, *many))
        await ingest.ingest(batch(251, *many))
    counted = await rows(database, run_counts)
    assert (len(counted), {row.runs for row in counted}) == (250, {2})
