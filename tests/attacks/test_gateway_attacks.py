"""Attacks on the gateway's gRPC face: each refused by name, and nothing changed."""

from collections.abc import Awaitable, Callable

import grpc
import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import ec
from shoal.device.v1 import device_pb2
from shoal.identity.v1 import identity_pb2

from cloud.rpc.answering import ERROR_CODE_KEY
from cloud.store.database import Database
from cloud.store.tables import device_streams, devices
from tests.helpers.device_tls import TlsCloud, TlsDevice
from tests.helpers.live_gateway import LiveGateway, live_gateway, unary
from tests.helpers.release_sets import NAMESPACE, facts, request, row


async def refused(call: Awaitable[object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    metadata = dict(error.value.trailing_metadata() or ())
    return error.value.code(), str(metadata.get(ERROR_CODE_KEY, ""))


async def traces(database: Database, live: LiveGateway) -> tuple[int, int]:
    """Devices that were seen, and logs that were counted."""
    await live.parts.gateway.presence.flush()
    async with database.read() as connection:
        seen = await connection.scalar(
            sa.select(sa.func.count()).where(devices.c.last_seen_at_ms.is_not(None))
        )
        streams = await connection.scalar(sa.select(sa.func.count()).select_from(device_streams))
    return seen or 0, streams or 0


async def test_no_certificate(database: Database) -> None:
    async with live_gateway(database) as live:
        credentials = grpc.ssl_channel_credentials(live.tls.ca_pem)
        async with grpc.aio.secure_channel(f"localhost:{live.port}", credentials) as channel:
            call = unary(channel, "/shoal.device.v1.DeviceService/Sync")
            status, _ = await refused(call(request().SerializeToString(), timeout=5))
        assert status is grpc.StatusCode.UNAVAILABLE
        assert await traces(database, live) == (0, 0)


async def test_a_certificate_of_an_unknown_authority(database: Database) -> None:
    async with live_gateway(database) as live:
        other = TlsCloud().enrol(NAMESPACE)
        forged = TlsDevice(other.peer, other.key, other.certificate_pem, live.tls.ca_pem)
        status, _ = await refused(live.sync(forged, request()))
        assert status is grpc.StatusCode.UNAVAILABLE
        assert await traces(database, live) == (0, 0)


async def test_another_devices_certificate_without_its_key(database: Database) -> None:
    async with live_gateway(database) as live:
        device = await live.enrol()
        stolen = TlsDevice(
            device.peer,
            ec.generate_private_key(ec.SECP256R1()),
            device.certificate_pem,
            live.tls.ca_pem,
        )
        status, _ = await refused(live.sync(stolen, request()))
        assert status is grpc.StatusCode.UNAVAILABLE
        assert await traces(database, live) == (0, 0)


async def test_a_server_certificate_as_a_device(database: Database) -> None:
    async with live_gateway(database) as live:
        key_pem, chain_pem = live.tls.authority.issue_server(["localhost"])
        credentials = grpc.ssl_channel_credentials(live.tls.ca_pem, key_pem, chain_pem)
        async with grpc.aio.secure_channel(f"localhost:{live.port}", credentials) as channel:
            call = unary(channel, "/shoal.device.v1.DeviceService/Sync")
            status, code = await refused(call(request().SerializeToString(), timeout=5))
        # TLS itself refuses it (no client usage), or the gateway does (no device id in it).
        assert (status, code) in (
            (grpc.StatusCode.UNAVAILABLE, ""),
            (grpc.StatusCode.UNAUTHENTICATED, "CERTIFICATE_INVALID"),
        )
        assert await traces(database, live) == (0, 0)


async def test_a_revoked_device(database: Database) -> None:
    async with live_gateway(database) as live:
        device = await live.enrol()
        await live.seed.revoke(device.peer.device_id)
        await live.parts.follower.look()
        for call in (live.sync(device, request()), live.ticket(device, "sha256:" + "0" * 64)):
            assert await refused(call) == (
                grpc.StatusCode.PERMISSION_DENIED,
                "DEVICE_REVOKED",
            )
        assert await traces(database, live) == (0, 0)


async def test_a_namespace_that_the_cloud_does_not_serve(database: Database) -> None:
    async with live_gateway(database) as live:
        elsewhere = live.tls.enrol("demo/elsewhere")
        assert await refused(live.sync(elsewhere, request())) == (
            grpc.StatusCode.NOT_FOUND,
            "NAMESPACE_NOT_SERVED",
        )


def too_many_rows() -> device_pb2.SyncRequest:
    return request(rows=[row(f"t{n}", 1) for n in range(257)])


def long_facts() -> device_pb2.SyncRequest:
    return request(said=facts(os_version="x" * 1100))


def long_attribute() -> device_pb2.SyncRequest:
    return request(said=facts(attributes={"k": "v" * 257}))


def many_attributes() -> device_pb2.SyncRequest:
    return request(said=facts(attributes={f"k{n}": "" for n in range(33)}))


def acknowledging(*told: tuple[bytes, int], text: str = "") -> device_pb2.SyncRequest:
    message = request()
    for boot, sequence in told:
        message.acknowledgements.add(
            boot=boot,
            sequence=sequence,
            error_code=text,
            version=identity_pb2.TaskVersion(task="digits", version=1),
        )
    return message


BOOT = bytes(16)
BAD: dict[str, Callable[[], device_pb2.SyncRequest]] = {
    "rows": too_many_rows,
    "facts": long_facts,
    "attribute": long_attribute,
    "attributes": many_attributes,
    "acknowledgements": lambda: acknowledging(*((BOOT, n) for n in range(1, 66))),
    "boot": lambda: acknowledging((b"short", 1)),
    "boots": lambda: acknowledging((BOOT, 1), (b"\1" * 16, 2)),
    "order": lambda: acknowledging((BOOT, 2), (BOOT, 1)),
    "zero": lambda: acknowledging((BOOT, 0)),
    "sequence": lambda: acknowledging((BOOT, 1 << 63)),
    "text": lambda: acknowledging((BOOT, 1), text="x" * 129),
    "zero byte": lambda: acknowledging((BOOT, 1), text="FAILED\0"),
}


@pytest.mark.parametrize("name", sorted(BAD))
async def test_what_breaks_a_limit(database: Database, name: str) -> None:
    async with live_gateway(database) as live:
        device = await live.enrol()
        assert await refused(live.sync(device, BAD[name]())) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "SYNC_INVALID",
        )
        assert live.outcomes == []
        assert await traces(database, live) == (0, 0)


async def test_bytes_that_are_no_request(database: Database) -> None:
    async with live_gateway(database) as live:
        device = await live.enrol()
        for data in (b"\xff\xff\xff", b"\x12" + b"\xff" * 9, bytes(65 * 1024)):
            assert await refused(live.sync_bytes(device, data)) == (
                grpc.StatusCode.INVALID_ARGUMENT,
                "SYNC_INVALID",
            )
        assert await traces(database, live) == (0, 0)


async def test_a_message_without_end(database: Database) -> None:
    async with live_gateway(database) as live:
        device = await live.enrol()
        status, _ = await refused(live.sync_bytes(device, bytes(2 * 1024 * 1024)))
        assert status is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await traces(database, live) == (0, 0)


async def test_a_digest_that_is_none(database: Database) -> None:
    async with live_gateway(database) as live:
        device = await live.enrol()
        assert await refused(live.ticket(device, "../../etc/passwd")) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "NAME_INVALID",
        )
