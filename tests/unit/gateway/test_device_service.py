"""Sync and GetTicket over real mutual TLS."""

import asyncio
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from shoal.device.v1 import device_pb2
from shoal.identity.v1 import identity_pb2

from cloud.gateway.settings import GatewaySettings, RecorderSettings
from cloud.rpc.answering import ERROR_CODE_KEY
from cloud.store.database import Database
from device_agent.clock import SystemClock
from device_agent.tasks.director import Action, Scope
from tests.helpers.databases import hold_all
from tests.helpers.live_gateway import TICKETS, LiveGateway, live_gateway
from tests.helpers.release_sets import digest, facts, release, request, row, version


def acknowledging(
    *sequences: int, boot: bytes = bytes(16), epoch: int = 0
) -> device_pb2.SyncRequest:
    message = request(epoch=epoch)
    for sequence in sequences:
        message.acknowledgements.add(
            boot=boot,
            sequence=sequence,
            version=identity_pb2.TaskVersion(task="digits", version=1),
            release_id="r1",
            outcome=device_pb2.OUTCOME_INSTALLED,
            traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
    return message


async def release_digits(live: LiveGateway, scope: Scope = Scope.SHARED) -> int:
    await live.seed.publish(version("digits", 1, scope=scope))
    epoch = await live.seed.release(release("digits", 1))
    await live.parts.follower.look()
    return epoch


async def test_a_device_gets_a_document_that_it_can_verify(database: Database) -> None:
    async with live_gateway(database) as live:
        epoch = await release_digits(live)
        device = await live.enrol()
        answer = await live.sync(device, request())
        document = live.verified(device, answer.director)
        (told,) = document.tasks
        assert (document.epoch, answer.epoch, told.action) == (epoch, epoch, Action.INSTALL)
        assert not answer.retry
        assert answer.next_sync_after_ms > 0
        assert abs(answer.server_time_ms - SystemClock().wall_ms()) < 60_000
        again = await live.sync(device, request(epoch=epoch, rows=[row("digits", 1)]))
        assert (again.epoch, again.director) == (epoch, b"")


async def test_a_device_ahead_of_the_gateway_is_told_to_ask_again(database: Database) -> None:
    async with live_gateway(database) as live:
        device = await live.enrol()
        answer = await live.sync(device, request(epoch=10_000))
        assert answer.retry
        assert answer.director == b""


async def test_acknowledgements_are_durable_when_the_answer_comes(database: Database) -> None:
    async with live_gateway(database) as live:
        device = await live.enrol()
        answer = await live.sync(device, acknowledging(1, 2))
        assert answer.acknowledged_sequence == 2
        assert (await live.sync(device, acknowledging(2, 3))).acknowledged_sequence == 3
        assert [told.sequence for _, told in live.outcomes] == [1, 2, 3]
        assert {of for of, _ in live.outcomes} == {device.peer.device_id}


async def test_a_sync_is_answered_though_acknowledgements_cannot_be_kept(
    database: Database,
) -> None:
    settings = GatewaySettings(recorder=RecorderSettings(wait_ms_max=20))
    async with live_gateway(database, settings) as live:
        await release_digits(live)
        device = await live.enrol()
        await live.sync(device, request())  # met
        async with database.begin() as connection:
            await hold_all(connection)  # no commit can come
            answer = await live.sync(device, acknowledging(1))
        assert answer.acknowledged_sequence == 0
        assert answer.director
        assert live.parts.gateway.recorder.put_off == 1


async def test_without_acknowledgements_the_database_is_not_touched(database: Database) -> None:
    # The follower looks at namespaces now and then; presence is written later than this test lasts.
    settings = GatewaySettings(recorder=RecorderSettings(presence_interval_ms=60_000))
    async with live_gateway(database, settings) as live:
        await release_digits(live)
        device = await live.enrol()
        await live.sync(device, request())  # met
        statements: list[str] = []
        for engine in (database._reader, database._writer):
            listen_to(engine.sync_engine, statements)
        answers = await asyncio.gather(*(live.sync(device, request()) for _ in range(3)))
        assert all(answer.director for answer in answers)
        assert [one for one in statements if "FROM namespaces" not in one] == []


def listen_to(engine: sa.Engine, statements: list[str]) -> None:
    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    sa.event.listen(engine, "before_cursor_execute", note)


async def test_enrolment_attributes_are_known_at_the_first_sync(database: Database) -> None:
    async with live_gateway(database) as live:
        await live.seed.publish(version("digits", 1))
        await live.seed.release(release("digits", 1, attributes={"tier": "gold"}))
        await live.parts.follower.look()
        gold, tin = await live.enrol({"tier": "gold"}), await live.enrol({"tier": "tin"})
        told = live.verified(gold, (await live.sync(gold, request())).director)
        untold = live.verified(tin, (await live.sync(tin, request())).director)
        assert (len(told.tasks), len(untold.tasks)) == (1, 0)


async def test_a_device_that_the_store_does_not_have_is_refused(database: Database) -> None:
    async with live_gateway(database) as live:
        stranger = live.tls.enrol(live.seed.name)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await live.sync(stranger, request())
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        assert dict(refused.value.trailing_metadata() or ())[ERROR_CODE_KEY] == "DEVICE_UNKNOWN"


async def test_a_ticket_opens_an_exclusive_file_of_the_devices_own(database: Database) -> None:
    async with live_gateway(database) as live:
        await release_digits(live, Scope.EXCLUSIVE)
        device = await live.enrol()
        wanted = digest("digits/1/model.bin/")
        await live.sync(device, request())
        answer = await live.ticket(device, wanted)
        now_ms = SystemClock().wall_ms()
        TICKETS.check(answer.ticket, device_id=device.peer.device_id, digest=wanted, now_ms=now_ms)
        assert now_ms < answer.expires_at_ms
        await live.parts.gateway.presence.flush()
        assert (await live.ticket(device, wanted)).ticket  # from what the store knows


async def test_what_is_not_exclusive_or_not_the_devices_gets_no_ticket(
    database: Database,
) -> None:
    async with live_gateway(database) as live:
        await live.seed.publish(version("digits", 1, scope=Scope.EXCLUSIVE))
        await live.seed.release(release("digits", 1, attributes={"tier": "gold"}))
        await live.parts.follower.look()
        device = await live.enrol()
        await live.sync(device, request(said=facts(attributes={"tier": "tin"})))
        for wanted in ("digits/1/model.bin/", "digits/1/manifest.json/"):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await live.ticket(device, digest(wanted))
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
            metadata = dict(refused.value.trailing_metadata() or ())
            assert metadata[ERROR_CODE_KEY] == "FILE_NOT_ASSIGNED"
