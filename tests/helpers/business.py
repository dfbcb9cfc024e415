"""A shop with the middleware in memory, and a device that talks to it."""

import json
from dataclasses import dataclass, field

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from shoal.device.v1 import device_pb2

from cloud.gateway.business import App, ProfileFace, ShoalProfileMiddleware
from cloud.gateway.settings import BusinessSettings
from device_agent.tasks.names import device_id_of
from device_agent.tasks.profile_header import PROFILE_HEADER, encode_profile
from tests.helpers.release_sets import NAMESPACE
from tests.helpers.sync_fleet import NOW_MS, SyncFleet


@dataclass(slots=True)
class StillClock:
    """Time that stands until a test moves it."""

    now_ms: int = NOW_MS

    def wall_ms(self) -> int:
        return self.now_ms

    def monotonic_ns(self) -> int:
        return self.now_ms * 1_000_000


async def plain_shop(scope: dict[str, object], _receive: object, send: object) -> None:
    """A business app in bare ASGI; a path /broken fails after the response began."""
    assert callable(send)
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if scope["path"] == "/broken":
        raise RuntimeError("the shop's own fault")
    await send({"type": "http.response.body", "body": json.dumps({"items": 2}).encode()})


@dataclass(slots=True)
class Shopper:
    """A device's key, its clock and its count of nonces."""

    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    namespace: str = NAMESPACE
    nonces: int = 0

    @property
    def device_id(self) -> str:
        public = self.key.public_key()
        return device_id_of(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

    def header(self, message: device_pb2.SyncRequest, at_ms: int = NOW_MS) -> str:
        self.nonces += 1
        nonce = self.nonces.to_bytes(16)
        return encode_profile(self.key, self.namespace, message.SerializeToString(), nonce, at_ms)


class Shop:
    """The shop, its face, and the fleet's release set behind it."""

    def __init__(self, settings: BusinessSettings | None = None, app: App = plain_shop) -> None:  # type: ignore[assignment]  # plain_shop takes what ASGI gives
        self.fleet = SyncFleet(devices=1, releases=31)
        self.clock = StillClock()
        self.face = ProfileFace(self.fleet.answerer, self.clock, settings)
        self.app = ShoalProfileMiddleware(app, self.face)

    async def get(self, header: str | None, path: str = "/basket/7") -> httpx.Response:
        headers = {} if header is None else {PROFILE_HEADER: header}
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            return await client.get(path, headers=headers)
