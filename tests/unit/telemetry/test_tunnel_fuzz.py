"""Whatever a device puts into the tunnel, sense or not: it is counted once or refused by name, and stops nobody."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from shoal.telemetry.v1 import telemetry_pb2

from cloud.rpc.peer import DevicePeer
from cloud.store.database import Database
from cloud.store.tables import device_streams, notices, run_counts
from cloud.telemetry.errors import ReportGap, TunnelInvalid
from cloud.telemetry.parts import TelemetryParts
from cloud.telemetry.records import decode_record
from device_agent.clock import SystemClock
from tests.helpers.memory_bus import SharedBus
from tests.helpers.release_sets import NAMESPACE
from tests.helpers.reports import BOOT, UID, emit, notice, run

RUN, NOTICE, EMIT = (
    telemetry_pb2.REPORT_KIND_RUN,
    telemetry_pb2.REPORT_KIND_NOTICE,
    telemetry_pb2.REPORT_KIND_EMIT,
)
# What a text may hold on the wire and a database may not like.
TEXTS = st.text(max_size=12) | st.sampled_from(
    ["", "\0", "a\0b", "digits", "ok", "\ud7ff", "A" * 600]
)
INT64 = st.integers(-(2**63), 2**63 - 1)
GOOD = st.one_of(
    st.builds(lambda text: notice(text=text), TEXTS),
    st.builds(lambda code: notice(code), TEXTS),
    st.builds(lambda outcome, us: run(outcome, us), TEXTS, st.integers(0, 2**64 - 1)),
    st.builds(lambda data: emit(payload=data), st.binary(max_size=40)),
    st.builds(
        lambda kind, data, at_ms: telemetry_pb2.Report(
            kind=kind, task="digits", version=1, topic="answer", event_uid=UID, payload=data,
            at_ms=at_ms,
        ),
        st.integers(0, 9), st.binary(max_size=40), INT64,
    ),
)  # fmt: skip
ANY = st.builds(
    lambda kind, task, version, topic, uid, at_ms, data: telemetry_pb2.Report(
        kind=kind, task=task, version=version, topic=topic, event_uid=uid, at_ms=at_ms, payload=data
    ),
    st.integers(0, 9), TEXTS, st.integers(0, 2**32 - 1), TEXTS, st.binary(max_size=20), INT64,
    st.binary(max_size=40),
)  # fmt: skip
SEQUENCES = st.sampled_from([0, 1, 2, 3, 7, 2**63 - 1, 2**63, 2**64 - 1])
MESSAGES = st.lists(
    st.tuples(st.lists(GOOD | ANY, max_size=5), st.none() | SEQUENCES), min_size=1, max_size=6
)
LIFE = hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
numbers = iter(range(1, 1_000_000))


class Talk:
    """Tunnels of fresh devices on one database, without gRPC around them."""

    def __init__(self, database: Database) -> None:
        self.bus = SharedBus()
        self.database = database
        self.parts = TelemetryParts.build(
            database=database, bus=self.bus, admit=lambda _: None, clock=SystemClock()
        )
        self.peer = DevicePeer(f"{next(numbers):032x}", NAMESPACE)

    async def say(self, *messages: telemetry_pb2.TunnelRequest) -> list[int]:
        """Acknowledged sequences of one tunnel."""
        acknowledged: list[int] = []

        async def write(response: telemetry_pb2.TunnelResponse) -> None:
            acknowledged.append(response.acknowledged_sequence)

        await self.parts.tunnels.serve(self.peer, _each(messages), write)
        return acknowledged

    async def counts(self) -> tuple[int, int, int, int]:
        """The device's mark, its runs, notices and records."""
        async with self.database.read() as connection:
            mark = await connection.scalar(
                sa.select(device_streams.c.sequence).where(
                    device_streams.c.device_id == self.peer.device_id
                )
            )
            runs = await connection.scalar(sa.select(sa.func.sum(run_counts.c.runs)))
            told = await connection.scalar(
                sa.select(sa.func.count()).where(notices.c.device_id == self.peer.device_id)
            )
        records = [
            record
            for rows in self.bus.records.values()
            for record in rows
            if decode_record(record.payload).device == self.peer.device_id
        ]
        return int(mark or 0), int(runs or 0), int(told or 0), len(records)


async def _each(
    messages: Sequence[telemetry_pb2.TunnelRequest],
) -> AsyncIterator[telemetry_pb2.TunnelRequest]:
    for message in messages:
        yield message


def build(reports: Sequence[telemetry_pb2.Report], first: int) -> telemetry_pb2.TunnelRequest:
    for place, report in enumerate(reports):
        report.sequence = min(first + place, 2**64 - 1)
    return telemetry_pb2.TunnelRequest(boot=BOOT, reports=reports)


@asynccontextmanager
async def talking(url: str) -> AsyncIterator[Talk]:
    """A cloud's end of the tunnel on this database; each example has a loop of its own."""
    database = await Database.open(url)
    talk = Talk(database)
    # Only what writes: it is idle when the last message is answered, so that ending it interrupts no transaction.
    background = asyncio.create_task(talk.parts.tunnels.ingest.run())
    try:
        yield talk
    finally:
        background.cancel()
        await asyncio.gather(background, return_exceptions=True)
        await database.close()


async def tell(url: str, told: list[tuple[list[telemetry_pb2.Report], int | None]]) -> None:
    async with talking(url) as talk:
        _, runs_before, _, _ = await talk.counts()
        kinds: list[int] = []
        for reports, start in told:
            mark = len(kinds)
            first = mark + 1 if start is None else start
            try:
                acknowledged = await talk.say(build(reports, first))
            except TunnelInvalid:
                continue
            except ReportGap as error:
                gap = error
            else:
                new = [report.kind for report in reports if report.sequence > mark]
                kinds += new
                assert acknowledged == ([len(kinds)] if reports else [])
                continue
            assert gap.expected == mark + 1
            assert first > mark + 1
        mark, runs, notices_kept, records = await talk.counts()
        assert mark == len(kinds)
        assert runs - runs_before == kinds.count(RUN)
        assert notices_kept == kinds.count(NOTICE)
        assert records == kinds.count(EMIT)
        # The log goes on behind it all.
        assert await talk.say(build([emit()], mark + 1)) == [mark + 1]


@pytest.mark.slow
@LIFE
@given(told=MESSAGES)
def test_every_report_counts_once_or_its_message_is_refused(
    database_url: str, told: list[tuple[list[telemetry_pb2.Report], int | None]]
) -> None:
    asyncio.run(tell(database_url, told))


async def tell_bytes(url: str, data: bytes, received: list[bytes]) -> None:
    message = telemetry_pb2.TunnelRequest(received_reply_ids=received)
    async with talking(url) as talk:
        with contextlib.suppress(DecodeError, TunnelInvalid, ReportGap):
            message.MergeFromString(data)
            await talk.say(message)
        mark, _, _, _ = await talk.counts()
        assert mark <= len(message.reports)
        own = b"o" * 16 if message.boot != b"o" * 16 else b"p" * 16
        said = build([emit()], 1)
        said.boot = own
        assert await talk.say(said) == [1]


@pytest.mark.slow
@LIFE
@given(data=st.binary(max_size=200), received=st.lists(st.binary(max_size=20), max_size=3))
def test_any_bytes_are_a_message_that_is_refused_or_taken(
    database_url: str, data: bytes, received: list[bytes]
) -> None:
    asyncio.run(tell_bytes(database_url, data, received))
