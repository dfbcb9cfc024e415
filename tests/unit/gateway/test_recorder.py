"""Acknowledgements are counted once and durable before they are told; presence follows, and neither hurts a Sync."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa
from shoal.device.v1 import device_pb2
from shoal.identity.v1 import identity_pb2
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.gateway.presence import PresenceLog
from cloud.gateway.recorder import AckBatch, AckRecorder, Told, batch_of
from cloud.gateway.settings import RecorderSettings
from cloud.rpc.peer import DevicePeer
from cloud.store.database import Database
from cloud.store.tables import device_streams, devices
from device_agent.clock import SystemClock
from tests.helpers.conditions import until
from tests.helpers.release_sets import DEVICE, NAMESPACE, request, row
from tests.helpers.seed_store import Seed

PEER = DevicePeer(DEVICE, NAMESPACE)


class Outcomes:
    """What a ReleaseService would be given."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, int]] = []
        self.failures = 0

    async def record(
        self,
        connection: AsyncConnection,
        _namespace: str,
        outcomes: Sequence[tuple[str, Sequence[Told]]],
        _now_ms: int,
    ) -> None:
        await connection.execute(sa.select(sa.literal(1)))
        if self.failures:
            self.failures -= 1
            raise RuntimeError("a row that nobody foresaw")
        for device, told in outcomes:
            self.kept += [(device, one.sequence) for one in told]


def batch(*sequences: int, device: str = DEVICE, boot: str = "b1") -> AckBatch:
    told = tuple(
        Told(sequence=n, release_id="r1", version=1, outcome="installed", error_code="")
        for n in sequences
    )
    return AckBatch(namespace=NAMESPACE, device_id=device, boot=boot, told=told)


@asynccontextmanager
async def running(
    database: Database, outcomes: Outcomes, settings: RecorderSettings | None = None
) -> AsyncIterator[AckRecorder]:
    made = AckRecorder(database, outcomes.record, SystemClock(), settings or RecorderSettings())
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_is_told_is_durable(database: Database) -> None:
    outcomes = Outcomes()
    async with running(database, outcomes) as recorder:
        assert await recorder.acknowledge(batch(1, 2)) == 2
    async with database.read() as connection:
        rows = (await connection.execute(sa.select(device_streams))).all()
    assert [(one.stream, one.boot, one.sequence) for one in rows] == [("ack", "b1", 2)]
    assert outcomes.kept == [(DEVICE, 1), (DEVICE, 2)]


async def test_a_duplicate_counts_once_and_a_new_boot_counts_anew(database: Database) -> None:
    outcomes = Outcomes()
    async with running(database, outcomes) as recorder:
        await recorder.acknowledge(batch(1, 2))
        assert await recorder.acknowledge(batch(1, 2, 3)) == 3
        assert await recorder.acknowledge(batch(2)) == 3
        assert await recorder.acknowledge(batch(1, boot="b2")) == 1
    assert [n for _, n in outcomes.kept] == [1, 2, 3, 1]


async def test_many_syncs_share_one_commit_and_the_same_one_twice_counts_once(
    database: Database,
) -> None:
    outcomes = Outcomes()
    woken: list[str] = []
    recorder = AckRecorder(
        database, outcomes.record, SystemClock(), RecorderSettings(), woken.append
    )
    waiting = [
        asyncio.create_task(recorder.acknowledge(batch(1, device=f"{n % 3:032x}")))
        for n in range(6)
    ]
    await until(lambda: recorder.waiting == 6)
    task = asyncio.create_task(recorder.run())
    assert await asyncio.gather(*waiting) == [1] * 6
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(outcomes.kept) == 3
    assert woken == [NAMESPACE]


async def test_a_batch_that_fails_is_taken_apart(database: Database) -> None:
    outcomes = Outcomes()
    outcomes.failures = 2  # the batch, then the first of its parts
    patient = RecorderSettings(wait_ms_max=60_000)  # a machine may be slow to print the failure
    recorder = AckRecorder(database, outcomes.record, SystemClock(), patient)
    first = asyncio.create_task(recorder.acknowledge(batch(1)))
    second = asyncio.create_task(recorder.acknowledge(batch(1, device="cd" * 16)))
    await until(lambda: recorder.waiting == 2)
    task = asyncio.create_task(recorder.run())
    with pytest.raises(RuntimeError):
        await first
    assert await second == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert outcomes.kept == [("cd" * 16, 1)]


async def test_a_full_queue_and_a_slow_database_put_it_off(database: Database) -> None:
    settings = RecorderSettings(queue_max=1, wait_ms_max=20)
    recorder = AckRecorder(database, Outcomes().record, SystemClock(), settings)
    slow = asyncio.create_task(recorder.acknowledge(batch(1)))
    await until(lambda: recorder.waiting == 1)
    assert await recorder.acknowledge(batch(1)) == 0
    assert await slow == 0
    assert recorder.put_off == 2


def test_a_request_is_told_in_the_stores_words() -> None:
    message = request()
    for sequence, outcome in ((4, device_pb2.OUTCOME_ROLLED_BACK), (7, 99)):
        message.acknowledgements.add(
            boot=bytes(16),
            sequence=sequence,
            version=identity_pb2.TaskVersion(task="digits", version=3),
            release_id="r9",
            outcome=outcome,
            error_code="X",
        )
    told = batch_of(PEER, message)
    assert (told.boot, told.key) == ("00" * 16, (NAMESPACE, DEVICE, "00" * 16))
    assert [(one.sequence, one.outcome) for one in told.told] == [
        (4, "rolled_back"),
        (7, "unspecified"),
    ]
    assert (told.told[0].version, told.told[0].release_id) == (3, "r9")


async def presence_row(database: Database) -> sa.Row[tuple[object, ...]]:
    async with database.read() as connection:
        return (await connection.execute(sa.select(devices))).one()


async def test_presence_writes_the_newest_of_a_device(database: Database) -> None:
    seed = Seed(database)
    await seed.namespace()
    await seed.device(DEVICE)
    log = PresenceLog(database, RecorderSettings())
    log.note(PEER, request(epoch=3).SerializeToString(), 50)
    newest = request(epoch=7, rows=[row("digits", 2, "PENDING")]).SerializeToString()
    log.note(PEER, newest, 60)
    log.note(DevicePeer("cd" * 16, NAMESPACE), newest, 60)  # no such device: not made
    assert log.newest(PEER) == newest
    await log.flush()
    found = await presence_row(database)
    assert (found.epoch, found.last_seen_at_ms, log.waiting) == (7, 60, 0)
    assert found.facts["agent_version"] == "0.1.0"
    held = row("digits", 2).version
    assert found.installed == {"digits": {"version": 2, "digest": held.digest, "state": "pending"}}


async def test_a_flush_leaves_what_comes_meanwhile_to_the_next(database: Database) -> None:
    seed = Seed(database)
    await seed.namespace()
    await seed.device(DEVICE)
    log = PresenceLog(database, RecorderSettings())
    said = request(epoch=3).SerializeToString()
    log.note(PEER, said, 1)
    flush = asyncio.create_task(log.flush())
    async with asyncio.timeout(10):
        while not flush.done():
            log.note(PEER, said, 2)  # a device that never pauses
            await asyncio.sleep(0)
    assert log.waiting == 1
    await log.flush()
    found = await presence_row(database)
    assert (found.epoch, found.last_seen_at_ms, log.waiting) == (3, 2, 0)


async def test_presence_is_bounded(database: Database) -> None:
    log = PresenceLog(database, RecorderSettings(presence_devices_max=1))
    log.note(PEER, b"", 1)
    log.note(DevicePeer("cd" * 16, NAMESPACE), b"", 1)
    log.note(PEER, b"", 2)
    assert (log.waiting, log.dropped) == (1, 1)


async def test_presence_waits_for_a_database_that_is_busy(database: Database) -> None:
    log = PresenceLog(database, RecorderSettings())
    log.note(PEER, request().SerializeToString(), 1)
    await database.close()
    broken = Database("sqlite:////nowhere/at/all.db", database.settings, database._jitter)
    log._database = broken
    await log.flush()
    assert log.waiting == 1
    await broken.close()
