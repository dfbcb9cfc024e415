"""A gateway that listens on loopback with mutual TLS over a SQLite database: real sockets, real certificates.

async with live_gateway(database) as live:
    device = await live.enrol({"tier": "gold"})
    answer = await live.sync(device, request())
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from shoal.device.v1 import device_pb2
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.artifacts.tickets import TicketSigner
from cloud.gateway.parts import GatewayParts
from cloud.gateway.recorder import Told
from cloud.gateway.service import SERVICE, add_device_service
from cloud.gateway.settings import GatewaySettings
from cloud.keys.director import DirectorSigner
from cloud.rpc.peer import PeerReader
from cloud.store.database import Database
from device_agent.clock import SystemClock
from device_agent.tasks.director import DirectorDocument
from device_agent.tasks.verify import verify_director
from tests.helpers.device_tls import TlsCloud, TlsDevice
from tests.helpers.seed_store import Seed

TICKETS = TicketSigner(bytes(32))


def unary(channel: grpc.aio.Channel, method: str) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
    """A method that takes and gives plain bytes."""
    return channel.unary_unary(method)


@dataclass(slots=True)
class LiveGateway:
    """What a test holds of it."""

    port: int
    parts: GatewayParts
    seed: Seed
    tls: TlsCloud
    signer: DirectorSigner
    outcomes: list[tuple[str, Told]] = field(default_factory=list)

    async def enrol(self, attributes: Mapping[str, str] | None = None) -> TlsDevice:
        device = self.tls.enrol(self.seed.name)
        await self.seed.device(device.peer.device_id, attributes)
        return device

    async def sync_bytes(self, device: TlsDevice, data: bytes) -> bytes:
        async with device.channel(self.port) as channel:
            return await unary(channel, f"/{SERVICE}/Sync")(data, timeout=10)

    async def sync(
        self, device: TlsDevice, message: device_pb2.SyncRequest
    ) -> device_pb2.SyncResponse:
        answer = await self.sync_bytes(device, message.SerializeToString())
        return device_pb2.SyncResponse.FromString(answer)

    async def ticket(self, device: TlsDevice, digest: str) -> device_pb2.GetTicketResponse:
        message = device_pb2.GetTicketRequest(digest=digest).SerializeToString()
        async with device.channel(self.port) as channel:
            call = unary(channel, f"/{SERVICE}/GetTicket")
            return device_pb2.GetTicketResponse.FromString(await call(message, timeout=10))

    def verified(self, device: TlsDevice, envelope: bytes) -> DirectorDocument:
        """The document, as the device's own code reads it."""
        return verify_director(
            envelope,
            keys={self.signer.keyid: self.signer.public_key},
            device=device.peer.device_id,
            namespace=device.peer.namespace,
            held=None,
            now_ms=SystemClock().wall_ms(),
        )


@asynccontextmanager
async def live_gateway(
    database: Database,
    settings: GatewaySettings | None = None,
    more: Sequence[grpc.GenericRpcHandler] = (),
) -> AsyncIterator[LiveGateway]:
    seed, tls = Seed(database), TlsCloud()
    signer = DirectorSigner(Ed25519PrivateKey.generate())
    outcomes: list[tuple[str, Told]] = []
    await seed.namespace()

    async def record(
        _connection: AsyncConnection,
        _namespace: str,
        told: Sequence[tuple[str, Sequence[Told]]],
        _now_ms: int,
    ) -> None:
        outcomes.extend((device, one) for device, many in told for one in many)

    chosen = settings or GatewaySettings()
    parts = GatewayParts.build(
        database=database,
        signer=signer,
        tickets=TICKETS,
        record=record,
        clock=SystemClock(),
        settings=chosen,
    )
    started = asyncio.Event()
    background = asyncio.create_task(parts.run(started))
    await asyncio.wait_for(started.wait(), 10)
    server = grpc.aio.server(options=chosen.server.options())
    add_device_service(server, parts.gateway, PeerReader())
    server.add_generic_rpc_handlers(tuple(more))
    port = server.add_secure_port("localhost:0", tls.server_credentials())
    await server.start()
    yield LiveGateway(port, parts, seed, tls, signer, outcomes)
    await server.stop(0)
    background.cancel()
    await asyncio.gather(background, return_exceptions=True)
