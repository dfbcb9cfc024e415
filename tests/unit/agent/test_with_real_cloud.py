"""The agent's real core and gRPC link against the cloud's real gateway and tunnel, over mutual TLS and SQLite."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import grpc
import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cloud.gateway.answer import Answerer
from cloud.gateway.business import ProfileFace
from cloud.gateway.parts import GatewayParts
from cloud.gateway.recorder import Told
from cloud.gateway.release_set import Version
from cloud.gateway.service import add_device_service
from cloud.gateway.settings import GatewaySettings
from cloud.rpc.peer import PeerReader
from cloud.store.database import Database
from cloud.store.tables import notices, replies, run_counts
from cloud.telemetry.outlet import Records
from cloud.telemetry.parts import TelemetryParts
from cloud.telemetry.tunnel import add_telemetry_service
from device_agent.agent.business import BusinessSync
from device_agent.agent.conditions import Conditions, FixedConditions
from device_agent.agent.core import AgentCore
from device_agent.agent.grpc_link import GrpcLink, LinkIdentity
from device_agent.agent.loop import AgentLoop
from device_agent.agent.settings import AgentSettings
from device_agent.clock import SystemClock
from device_agent.tasks.bytecode import python_tag
from device_agent.tasks.manifest import Requires
from tests.helpers.device_tls import TlsCloud, TlsDevice
from tests.helpers.devices import event
from tests.helpers.fake_cloud import FakeCloud, FakeSupply, facts
from tests.helpers.fake_pool import FakePool
from tests.helpers.live_gateway import TICKETS
from tests.helpers.release_sets import NAMESPACE, release
from tests.helpers.seed_store import Seed

pytestmark = pytest.mark.slow
SETTINGS = AgentSettings(hurry_ms_max=20, tunnel_idle_ms=500, retry_ms_min=20)
SOURCE = "def on_event(event): emit('ask' if event.event_id == 1001 else 'answer', event.payload)"


class MemoryBus:
    """Keeps what telemetry publishes."""

    def __init__(self) -> None:
        self.records: dict[str, list[bytes]] = {}

    async def publish(self, topic: str, records: Records) -> None:
        self.records.setdefault(topic, []).extend(payload for _, payload in records)


@dataclass
class Cloud:
    """The real services, and what publishes and signs for them."""

    port: int
    seed: Seed
    tls: TlsCloud
    bench: FakeCloud
    parts: GatewayParts
    telemetry: TelemetryParts
    bus: MemoryBus
    outcomes: list[Told]

    async def release(self, task: str, number: int, state: str = "running") -> None:
        await self.seed.release(release(task, number, state))
        await self.parts.follower.look()

    async def publish(self, task: str, number: int, source: str) -> None:
        published = self.bench.publish(
            task, number, source, triggers=[1001], emit=("ask", "answer"), replies={"ask": 1002}
        )
        version = Version(
            task=task,
            number=number,
            digest=published.digest,
            requires=Requires(),
            bundles={python_tag(): published.files},
        )
        await self.seed.publish(version)


@asynccontextmanager
async def running_cloud(database: Database) -> AsyncIterator[Cloud]:
    seed, tls, bus = Seed(database), TlsCloud(), MemoryBus()
    bench = FakeCloud(SystemClock(), namespace=NAMESPACE)
    outcomes: list[Told] = []
    await seed.namespace()

    async def record(_connection: object, _name: str, told: object, _now_ms: int) -> None:
        outcomes.extend(one for _, many in told for one in many)  # type: ignore[attr-defined]  # the recorder's rows

    settings = GatewaySettings()
    parts = GatewayParts.build(
        database=database,
        signer=bench.signer,
        tickets=TICKETS,
        record=record,
        clock=SystemClock(),
        settings=settings,
    )
    telemetry = TelemetryParts.build(
        database=database, bus=bus, admit=lambda peer: peer, clock=SystemClock()
    )
    started = asyncio.Event()
    background = [
        asyncio.create_task(parts.run(started)),
        asyncio.create_task(telemetry.run()),
    ]
    await asyncio.wait_for(started.wait(), 10)
    server = grpc.aio.server(options=settings.server.options())
    add_device_service(server, parts.gateway, PeerReader())
    add_telemetry_service(server, telemetry.tunnels, PeerReader())
    port = server.add_secure_port("localhost:0", tls.server_credentials())
    await server.start()
    try:
        yield Cloud(port, seed, tls, bench, parts, telemetry, bus, outcomes)
    finally:
        await server.stop(0)
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)


class Agent:
    """A device of that cloud, its loops running."""

    def __init__(self, cloud: Cloud, device: TlsDevice, home: Path) -> None:
        identity = LinkIdentity(
            address=f"localhost:{cloud.port}",
            ca_pem=device.ca_pem,
            key_pem=device.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            certificate_pem=device.certificate_pem,
        )
        self.device_id = device.peer.device_id
        self.core = AgentCore(
            home=home,
            link=GrpcLink(lambda: identity),
            supply=FakeSupply(cloud.bench, self.device_id),
            pool=FakePool(),
            clock=SystemClock(),
            random=Random(1),
            facts=facts(),
            settings=SETTINGS,
        )
        self.stop = asyncio.Event()
        loop = AgentLoop(self.core, server=None, conditions=FixedConditions(Conditions()))
        self.task = asyncio.create_task(loop.run(self.stop))

    async def until(self, holds: Callable[[], bool], within_s: float = 60.0) -> None:
        async with asyncio.timeout(within_s):
            while not holds():
                assert not self.task.done(), self.task
                self.core.syncer.hurry()
                await asyncio.sleep(0.02)

    def version(self) -> int:
        row = self.core.store.held.tasks().get("ask")
        return row.version if row is not None else 0

    async def end_loop(self) -> None:
        self.stop.set()
        await asyncio.wait_for(self.task, 15)

    async def end(self) -> None:
        await self.end_loop()
        self.core.close()


@dataclass(frozen=True)
class Namesake:
    """Who the device is."""

    namespace: str
    key: ec.EllipticCurvePrivateKey


@asynccontextmanager
async def living(cloud: Cloud, home: Path) -> AsyncIterator[Agent]:
    device = cloud.tls.enrol(NAMESPACE)
    await cloud.seed.device(device.peer.device_id)
    await cloud.parts.follower.look()
    agent = Agent(cloud, device, home)
    try:
        yield agent
    finally:
        await agent.end()


async def test_from_release_to_report_and_back(database: Database, tmp_path: Path) -> None:
    async with running_cloud(database) as cloud:
        await cloud.publish("ask", 1, SOURCE)
        await cloud.publish("ask", 2, SOURCE + "  # better")
        async with living(cloud, tmp_path / "home") as agent:
            await cloud.release("ask", 1)
            await agent.until(lambda: agent.version() == 1)
            agent.core.feed([event(number, payload=b"?") for number in range(20)])
            asked = f"{NAMESPACE}/ask/ask"
            await agent.until(lambda: len(cloud.bus.records.get(asked, [])) == 20)
            replied = await cloud.telemetry.replies.reply(
                NAMESPACE, agent.device_id, "ask", 1002, event(0).uid, b"!", b"r" * 16
            )
            assert replied
            answered = f"{NAMESPACE}/ask/answer"
            await agent.until(lambda: len(cloud.bus.records.get(answered, [])) == 1)
            await cloud.release("ask", 2)
            await agent.until(lambda: agent.version() == 2)
            store = agent.core.store
            await agent.until(lambda: not (store.outbox.ack_count() or store.outbox.received(1)))
        assert {str(one.outcome) for one in cloud.outcomes} >= {"notified", "installed"}
        async with database.read() as connection:
            (row,) = (await connection.execute(sa.select(run_counts))).all()
            assert (row.task, row.version, row.outcome, row.runs) == ("ask", 1, "ok", 21)
            assert (await connection.execute(sa.select(replies))).all() == []
            assert (await connection.execute(sa.select(notices))).all() == []


async def test_the_kill_switch_and_a_revoked_device(database: Database, tmp_path: Path) -> None:
    async with running_cloud(database) as cloud:
        await cloud.publish("ask", 1, SOURCE)
        async with living(cloud, tmp_path / "home") as agent:
            await cloud.release("ask", 1)
            await agent.until(lambda: agent.version() == 1)
            await cloud.seed.kill("ask")
            await cloud.parts.follower.look()
            await agent.until(lambda: agent.core.store.held.killed() == {"ask"})
            await cloud.seed.revoke(agent.device_id)
            await cloud.parts.follower.look()
            await agent.until(lambda: agent.core.syncer.last_error == "LINK_REVOKED")


async def test_a_sync_rides_on_an_apps_request(database: Database, tmp_path: Path) -> None:
    async with running_cloud(database) as cloud:
        await cloud.publish("ask", 1, SOURCE)
        device = cloud.tls.enrol(NAMESPACE)
        await cloud.seed.device(device.peer.device_id)
        await cloud.parts.follower.look()
        agent = Agent(cloud, device, tmp_path / "home")
        await agent.until(lambda: agent.core.store.held.agent().document is not None)
        await agent.end_loop()
        identity = Namesake(NAMESPACE, device.key)
        syncer, clock = agent.core.syncer, agent.core.clock
        business = BusinessSync(syncer=syncer, identity=identity, clock=clock, random=Random(2))
        answerer = Answerer(cloud.parts.follower, cloud.bench.signer, GatewaySettings())
        face = ProfileFace(answerer, SystemClock(), GatewaySettings().business)
        assert face.answer(business.profile().encode()) is None
        await cloud.release("ask", 1)
        header = face.answer(business.profile().encode())
        assert header is not None
        assert (await business.take_changes(header)).status == "accepted"
        await agent.core.installer.install_wanted()
        assert agent.version() == 1
        assert (await business.take_changes(header)).status == "accepted"
        before = agent.core.store.held.agent()
        damaged = header[:-9] + "AAAAAAAAA"
        assert (await business.take_changes(damaged)).status == "refused"
        assert (await business.take_changes("?")).code == "PROFILE_INVALID"
        assert (await business.take_changes("sync-now")).status == "accepted"
        assert agent.core.store.held.agent() == before
        agent.core.close()
