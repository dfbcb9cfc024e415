"""The tunnel over real mutual TLS: reports up, acknowledgements and replies down."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from shoal.telemetry.v1 import telemetry_pb2

from cloud.gateway.errors import NamespaceNotServed
from cloud.keys.errors import DeviceRevoked
from cloud.rpc.answering import ERROR_CODE_KEY
from cloud.rpc.peer import DevicePeer, PeerReader
from cloud.store.database import Database
from cloud.telemetry.parts import TelemetryParts
from cloud.telemetry.records import topic_of
from cloud.telemetry.replies import reply_id_for
from cloud.telemetry.settings import TelemetrySettings
from cloud.telemetry.tunnel import SERVICE, add_telemetry_service
from device_agent.clock import SystemClock
from tests.helpers.conditions import until
from tests.helpers.device_tls import TlsCloud, TlsDevice
from tests.helpers.memory_bus import SharedBus
from tests.helpers.release_sets import NAMESPACE
from tests.helpers.reports import UID, emit, message, run

type Stream = grpc.aio.StreamStreamCall[Any, telemetry_pb2.TunnelResponse]


@dataclass(slots=True)
class Live:
    port: int
    tls: TlsCloud
    parts: TelemetryParts
    bus: SharedBus
    revoked: set[str]

    @asynccontextmanager
    async def tunnel(self, device: TlsDevice) -> AsyncIterator[Stream]:
        async with device.channel(self.port) as channel:
            call: Stream = channel.stream_stream(
                f"/{SERVICE}/Tunnel",
                telemetry_pb2.TunnelRequest.SerializeToString,
                telemetry_pb2.TunnelResponse.FromString,
            )(timeout=20)
            yield call
            call.cancel()


@asynccontextmanager
async def serving(
    database: Database, settings: TelemetrySettings | None = None
) -> AsyncIterator[Live]:
    tls, bus = TlsCloud(), SharedBus()
    revoked: set[str] = set()

    def admit(peer: DevicePeer) -> None:
        if peer.device_id in revoked:
            raise DeviceRevoked("the device was revoked")
        if peer.namespace != NAMESPACE:
            raise NamespaceNotServed("not here")

    parts = TelemetryParts.build(
        database=database, bus=bus, admit=admit, clock=SystemClock(), settings=settings
    )
    background = asyncio.create_task(parts.run())
    server = grpc.aio.server()
    add_telemetry_service(server, parts.tunnels, PeerReader())
    port = server.add_secure_port("localhost:0", tls.server_credentials())
    await server.start()
    yield Live(port, tls, parts, bus, revoked)
    await server.stop(0)
    background.cancel()
    await asyncio.gather(background, return_exceptions=True)


async def read(call: Stream) -> telemetry_pb2.TunnelResponse:
    answer = await asyncio.wait_for(call.read(), 10)
    assert isinstance(answer, telemetry_pb2.TunnelResponse), "the stream ended"
    return answer


async def refusal(call: Stream) -> tuple[grpc.StatusCode, dict[str, str]]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await asyncio.wait_for(call.read(), 10)
    metadata = {key: str(value) for key, value in refused.value.trailing_metadata() or ()}
    return refused.value.code(), metadata


async def reply(live: Live, device: TlsDevice, number: int) -> None:
    reply_id = reply_id_for("labels", str(number))
    await live.parts.replies.reply(
        NAMESPACE, device.peer.device_id, "digits", 1002, UID, b"7", reply_id
    )


async def test_reports_go_up_and_are_acknowledged(database: Database) -> None:
    async with serving(database) as live:
        device = live.tls.enrol(NAMESPACE)
        async with live.tunnel(device) as call:
            await call.write(message(1, emit(), run()))
            assert (await read(call)).acknowledged_sequence == 2
            await call.write(message(3, emit()))
            assert (await read(call)).acknowledged_sequence == 3
        keys = live.bus.keys(topic_of(NAMESPACE, "digits", "answer"))
        assert [key.partition(":")[0] for key in keys] == [device.peer.device_id] * 2


async def test_the_clouds_answer_comes_down_and_is_forgotten_when_received(
    database: Database,
) -> None:
    async with serving(database) as live:
        device = live.tls.enrol(NAMESPACE)
        key = (NAMESPACE, device.peer.device_id)
        async with live.tunnel(device) as call:
            await call.write(message(1, emit()))
            await read(call)
            await reply(live, device, 1)
            (got,) = (await read(call)).replies
            assert (got.event_id, got.cause_uid, got.payload) == (1002, UID, b"7")
            await call.write(telemetry_pb2.TunnelRequest(received_reply_ids=[got.reply_id]))
            await call.write(message(2, emit()))
            await read(call)
        assert await live.parts.replies.pending(key, 10) == []


async def test_an_answer_that_was_not_received_comes_on_the_next_tunnel(
    database: Database,
) -> None:
    async with serving(database) as live:
        device = live.tls.enrol(NAMESPACE)
        await reply(live, device, 1)
        for _ in range(2):
            async with live.tunnel(device) as call:
                (got,) = (await read(call)).replies
                assert got.reply_id == reply_id_for("labels", "1")


async def test_replies_keep_to_their_window(database: Database) -> None:
    async with serving(database, TelemetrySettings(replies_window=2)) as live:
        device = live.tls.enrol(NAMESPACE)
        for number in range(3):
            await reply(live, device, number)
        async with live.tunnel(device) as call:
            first = (await read(call)).replies[0]
            await read(call)
            await until(lambda: live.parts.tunnels.replies_sent == 2)
            await call.write(telemetry_pb2.TunnelRequest(received_reply_ids=[first.reply_id]))
            await read(call)
        await until(lambda: live.parts.tunnels.replies_sent == 3)


async def test_a_gap_says_from_where_to_send_again(database: Database) -> None:
    async with serving(database) as live:
        async with live.tunnel(live.tls.enrol(NAMESPACE)) as call:
            await call.write(message(4, emit()))
            status, metadata = await refusal(call)
        assert status is grpc.StatusCode.FAILED_PRECONDITION
        assert metadata[ERROR_CODE_KEY] == "REPORT_GAP"
        assert metadata["shoal-expected-sequence"] == "1"
        assert live.bus.keys(topic_of(NAMESPACE, "digits", "answer")) == []


async def test_a_message_that_breaks_a_limit_ends_the_tunnel(database: Database) -> None:
    async with serving(database) as live:
        async with live.tunnel(live.tls.enrol(NAMESPACE)) as call:
            await call.write(message(1, emit(payload=bytes(65_537))))
            status, metadata = await refusal(call)
        assert status is grpc.StatusCode.INVALID_ARGUMENT
        assert metadata[ERROR_CODE_KEY] == "TUNNEL_INVALID"


async def test_silence_ends_the_tunnel_without_an_error(database: Database) -> None:
    async with serving(database, TelemetrySettings(idle_ms_max=20)) as live:
        async with live.tunnel(live.tls.enrol(NAMESPACE)) as call:
            assert await asyncio.wait_for(call.read(), 10) is grpc.aio.EOF
            assert await call.code() is grpc.StatusCode.OK
        assert live.parts.tunnels.hub.tunnels == 0


async def test_a_newer_tunnel_ends_the_older(database: Database) -> None:
    async with serving(database) as live:
        device = live.tls.enrol(NAMESPACE)
        async with live.tunnel(device) as older:
            await older.write(message(1, emit()))
            await read(older)
            async with live.tunnel(device) as newer:
                await newer.write(message(2, emit()))
                await read(newer)
                assert await asyncio.wait_for(older.read(), 10) is grpc.aio.EOF
                await reply(live, device, 1)
                assert len((await read(newer)).replies) == 1


async def test_who_is_revoked_while_it_is_open_is_refused(database: Database) -> None:
    async with serving(database) as live:
        device = live.tls.enrol(NAMESPACE)
        async with live.tunnel(device) as call:
            await call.write(message(1, emit()))
            await read(call)
            live.revoked.add(device.peer.device_id)
            await call.write(message(2, emit()))
            status, metadata = await refusal(call)
        assert status is grpc.StatusCode.PERMISSION_DENIED
        assert metadata[ERROR_CODE_KEY] == "DEVICE_REVOKED"


async def test_one_tunnel_too_many_is_refused(database: Database) -> None:
    async with serving(database, TelemetrySettings(tunnels_max=1)) as live:
        async with live.tunnel(live.tls.enrol(NAMESPACE)) as call:
            await call.write(message(1, emit()))
            await read(call)
            async with live.tunnel(live.tls.enrol(NAMESPACE)) as refused:
                status, _ = await refusal(refused)
        assert status is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_device_that_vanishes_leaves_nothing_behind(database: Database) -> None:
    async with serving(database) as live:
        device = live.tls.enrol(NAMESPACE)
        async with live.tunnel(device) as call:
            await call.write(message(1, emit()))
            await read(call)
            assert live.parts.tunnels.hub.tunnels == 1

        await until(lambda: live.parts.tunnels.hub.tunnels == 0)
