"""The server side of the gRPC benchmark: the real gateway and an echo on one mutual-TLS port.

Prints one line of JSON when it listens; ends on SIGTERM.
"""

import asyncio
import base64
import json
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from shoal.device.v1 import device_pb2

from cloud.rpc.answering import Context
from cloud.store.database import Database
from cloud.store.tables import metadata
from tests.helpers.live_gateway import live_gateway
from tests.helpers.release_sets import facts, release, request, row, version

SYNC = "/shoal.device.v1.DeviceService/Sync"
ECHO = "/bench.Echo/Echo"
TASKS = 10


@dataclass(frozen=True, slots=True)
class Offer:
    """How to reach the server, as one device."""

    port: int
    key: bytes
    certificate: bytes
    ca: bytes
    request: bytes

    def to_json(self) -> dict[str, object]:
        texts = {
            name: base64.b64encode(getattr(self, name)).decode()
            for name in ("key", "certificate", "ca", "request")
        }
        return {"port": self.port, **texts}

    @classmethod
    def from_json(cls, told: Mapping[str, object]) -> "Offer":
        texts = {name: base64.b64decode(str(told[name])) for name in told if name != "port"}
        return cls(port=int(str(told["port"])), **texts)

    def channel(self) -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(self.ca, self.key, self.certificate)
        return grpc.aio.secure_channel(f"localhost:{self.port}", credentials)


async def serve(folder: Path) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    database = await Database.open(f"sqlite:///{folder / 'bench.db'}")
    async with database.begin() as connection:
        await connection.run_sync(metadata.create_all)
    answer = b""

    async def echo(_data: bytes, _context: Context) -> bytes:
        return answer

    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo)
    }
    more = grpc.method_handlers_generic_handler("bench.Echo", methods)
    async with live_gateway(database, more=[more]) as live:
        for place in range(TASKS):
            await live.seed.publish(version(f"task-{place}", 1))
            epoch = await live.seed.release(release(f"task-{place}", 1, order=place + 1))
        await live.parts.follower.look()
        device = await live.enrol()
        rows = [row(f"task-{place}", 1) for place in range(TASKS)]
        said = facts(attributes={"region": "r1", "tier": "gold"})
        message = request(epoch, rows, said).SerializeToString()
        answer = await live.sync_bytes(device, message)
        assert device_pb2.SyncResponse.FromString(answer).director == b""
        key = device.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        offer = Offer(live.port, key, device.certificate_pem, device.ca_pem, message)
        print(json.dumps(offer.to_json()), flush=True)
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        await ended.wait()
    await database.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        asyncio.run(serve(Path(made)))
