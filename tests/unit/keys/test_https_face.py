"""The whole HTTPS face as it runs: uvicorn over TLS, and the device's own code at the other end."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
import uvicorn

from cloud.artifacts.blobs import BlobStore
from cloud.keys.enrolment import EnrolmentService, EnrolmentSite
from cloud.keys.files import write_new
from cloud.keys.generate import init_keys
from cloud.keys.online import OnlineKeys
from cloud.keys.publishing import Publisher, sign_version
from cloud.keys.repository import TufRepository
from cloud.keys.roles import targets_to_sign
from cloud.keys.routes import device_app, device_routes
from cloud.store.database import Database
from cloud.store.namespaces import create_namespace
from device_agent.clock import SystemClock
from device_agent.tasks.director import (
    Action,
    BundleFile,
    DirectorDocument,
    KillSwitch,
    Scope,
    TaskInstruction,
)
from device_agent.tasks.download import Downloader
from device_agent.tasks.enrol import enrol, renew
from device_agent.tasks.fetch import HttpFetcher
from device_agent.tasks.names import Namespace, sha256_digest, target_path
from device_agent.tasks.proof import PURPOSE_EXCLUSIVE
from device_agent.tasks.pull import DirectorReader, Puller
from device_agent.tasks.trust import TrustStore
from device_agent.tasks.trust_errors import CloudUntrusted

NAMESPACE = "demo/digits-app"
CLOCK = SystemClock()
MODEL = bytes(range(256)) * 8192  # 2 MiB: many pieces of the store and of the link


class Server(uvicorn.Server):
    """Says when it listens, and where."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Serves; gives the address."""
        serving = asyncio.create_task(self.serve())
        async with asyncio.timeout(10):
            await self.ready.wait()
        port = self.servers[0].sockets[0].getsockname()[1]
        yield f"https://127.0.0.1:{port}"
        self.should_exit = True
        await serving


class Running:
    """A cloud's HTTPS face on loopback, with a version published."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.keys = init_keys(folder / "keys", namespaces=[NAMESPACE], now_ms=CLOCK.wall_ms())
        self.online = OnlineKeys.load(self.keys.online)
        url = f"file://{folder / 'artifacts'}"
        self.blobs = BlobStore.open(url)
        self.repository = TufRepository.open(url, self.online.repository)
        self.enrolment = EnrolmentService(database, self.online.authority, CLOCK, self.site)
        self.db = database
        self.scopes: dict[str, Scope] = {}
        self.url = ""
        self.files: tuple[BundleFile, ...] = ()
        key, chain = self.online.server_tls(["127.0.0.1"])
        write_new(folder / "tls.pem", key + chain)
        app = device_app(
            device_routes(
                blobs=self.blobs,
                tickets=self.online.tickets,
                scope_of=self.scope_of,
                authority=self.online.authority,
                enrolment=self.enrolment,
                repository=self.repository,
                clock=CLOCK,
            )
        )
        config = uvicorn.Config(
            app, port=0, ssl_certfile=folder / "tls.pem", log_config=None, lifespan="off"
        )
        self.server = Server(config)

    def site(self) -> EnrolmentSite:
        return EnrolmentSite(
            url=self.url, sync_address="127.0.0.1:1", tuf_root=self.repository.root()
        )

    async def scope_of(self, digest: str) -> frozenset[Scope]:
        return frozenset([self.scopes[digest]]) if digest in self.scopes else frozenset()

    async def publish(self) -> None:
        now_ms = CLOCK.wall_ms()
        await self.repository.load(self.online.first_metadata, now_ms)
        async with self.db.begin() as connection:
            await create_namespace(connection, NAMESPACE, now_ms, "test")
        contents = [("code.bin", b"code", Scope.SHARED), ("m.shoalmodel", MODEL, Scope.EXCLUSIVE)]
        self.files = tuple([await self.store(*content) for content in contents])
        targets = targets_to_sign(
            (one.target, one.digest, one.size, one.path) for one in self.files
        )
        base = self.repository.signing_base(NAMESPACE, "digits")
        publisher = Publisher.load(self.keys.path, NAMESPACE)
        signed = sign_version(publisher, "digits", base, targets, now_ms)
        await self.repository.publish(NAMESPACE, "digits", targets, signed, now_ms)

    async def store(self, path: str, data: bytes, scope: Scope) -> BundleFile:
        digest = await self.blobs.put(data)
        self.scopes[digest] = scope
        target = target_path(Namespace.parse(NAMESPACE), "digits", 1, digest)
        return BundleFile(path=path, digest=digest, size=len(data), scope=scope, target=target)

    def document(self, device: str) -> bytes:
        task = TaskInstruction(
            task="digits", action=Action.INSTALL, version=1, digest="", files=self.files
        )
        now_ms = CLOCK.wall_ms()
        return self.online.director.sign(
            DirectorDocument(
                device=device,
                namespace=NAMESPACE,
                epoch=1,
                issued_at_ms=now_ms,
                expires_at_ms=now_ms + 60_000,
                tasks=(task,),
                kill=KillSwitch(),
            )
        )


@pytest.fixture
async def running(database: Database, tmp_path: Path) -> AsyncIterator[Running]:
    cloud = Running(database, tmp_path)
    await cloud.publish()
    async with cloud.server.listening() as cloud.url:
        yield cloud


@pytest.mark.slow
async def test_a_device_enrols_pulls_and_renews_over_tls(running: Running, tmp_path: Path) -> None:
    code = await running.enrolment.create_token(NAMESPACE, {}, "token:ci")
    home = tmp_path / "home"
    identity = await asyncio.to_thread(enrol, HttpFetcher, code, home, {})
    fetcher = HttpFetcher(identity.url, identity.ca_pem)
    trust = TrustStore(tmp_path / "tuf", identity.root, fetcher)

    async def credentials(digest: str) -> dict[str, str]:
        now_ms = CLOCK.wall_ms()
        ticket = running.online.tickets.issue(identity.device_id, digest, now_ms + 60_000)
        proof = identity.proof(PURPOSE_EXCLUSIVE, ticket.encode(), now_ms)
        return {"shoal-ticket": ticket, "shoal-proof": proof}

    reader = DirectorReader(trust, identity.device_id, NAMESPACE)
    envelope = running.document(identity.device_id)
    document = await reader.read(envelope, held=None, now_ms=CLOCK.wall_ms())
    downloader = Downloader(fetcher, CLOCK, Random(1), credentials=credentials)
    puller = Puller(trust, downloader, NAMESPACE)
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "m.shoalmodel.part").write_bytes(MODEL[:1_000_000])  # of an earlier attempt
    await puller.pull(document.tasks[0], bundle, quota_bytes=1 << 30, now_ms=CLOCK.wall_ms())
    assert sorted(path.name for path in bundle.iterdir()) == ["code.bin", "m.shoalmodel"]
    assert sha256_digest((bundle / "m.shoalmodel").read_bytes()) == running.files[1].digest
    renewed = await asyncio.to_thread(renew, fetcher, identity, home)
    assert renewed.certificate_pem != identity.certificate_pem
    fetcher.close()


@pytest.mark.slow
async def test_somebody_in_between_gets_no_token(running: Running, tmp_path: Path) -> None:
    """A server with a certificate of its own, in front of the cloud: its CA is not the code's."""
    code = await running.enrolment.create_token(NAMESPACE, {}, "token:ci")
    (tmp_path / "impostor").mkdir()
    impostor = Running(running.db, tmp_path / "impostor")
    impostor.url = running.url
    async with impostor.server.listening() as url:

        def redirected(_url: str, ca_pem: bytes | None) -> HttpFetcher:
            return HttpFetcher(url, ca_pem)

        with pytest.raises(CloudUntrusted):
            await asyncio.to_thread(enrol, redirected, code, tmp_path / "home", {})
