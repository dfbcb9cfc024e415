"""The agent on real TUF metadata and the real file routes: installs, resumes, and refuses what was not published."""

import marshal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from device_agent.agent.core import AgentCore
from device_agent.agent.supply import TrustedSupply
from device_agent.tasks.bytecode import encode_bytecode, running_magic
from device_agent.tasks.director import Scope
from device_agent.tasks.download import Downloader
from device_agent.tasks.manifest import Manifest, Resource, Trigger
from device_agent.tasks.trust import TrustStore
from tests.helpers.devices import event
from tests.helpers.fake_cloud import FakeCloud, FakeDevice, Published, facts, sha256
from tests.helpers.fake_pool import FakePool
from tests.helpers.fake_repository import NAMESPACE, NOW, FakeRepository
from tests.helpers.manual_clock import ManualClock


@dataclass
class World:
    """One agent, a cloud that decides and a repository that publishes."""

    cloud: FakeCloud
    repository: FakeRepository
    known: FakeDevice
    core: AgentCore
    clock: ManualClock

    async def publish(self, version: int, scope: Scope = Scope.SHARED) -> None:
        manifest = Manifest(
            name="echo",
            entry="main:on_event",
            triggers=(Trigger(event=1001),),
            emit=frozenset({"answer"}),
            resources=(Resource(path="models/a.bin", scope=scope.value),),
        )
        source = f"def on_event(event): emit('answer', b'{version}')"
        code = marshal.dumps(compile(source, "main.py", "exec"))
        files = {
            "manifest.json": manifest.to_json(),
            "code.bin": encode_bytecode({"main": code}, running_magic()),
            "models/a.bin": bytes([version]) * 100_000,
        }
        self.repository.publish("echo", version, files)
        await self.repository.store(scope)
        self.cloud.versions["echo", version] = Published(
            task="echo",
            version=version,
            digest=sha256(source.encode()),
            files=tuple(self.repository.bundle("echo", version, scope=scope)),
        )

    async def turns(self, count: int) -> None:
        for _ in range(count):
            await self.core.turn()
            self.clock.advance_ms(1_100)

    def version(self) -> int:
        row = self.core.store.held.tasks().get("echo")
        return row.version if row is not None else 0


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = ManualClock(wall_ms=NOW)
    cloud, repository = FakeCloud(clock, namespace=NAMESPACE), FakeRepository()
    cloud.signer = repository.director
    known = cloud.enrol()
    fetcher = repository.fetcher()
    supply = TrustedSupply(
        trust=TrustStore(tmp_path / "tuf", repository.first_root, fetcher, clock=clock),
        downloader=Downloader(fetcher, clock, Random(1)),
        device_id=known.device_id,
        namespace=NAMESPACE,
        quota_bytes=10**9,
    )
    core = AgentCore(
        home=tmp_path / "home",
        link=known.link,
        supply=supply,
        pool=FakePool(),
        clock=clock,
        random=Random(1),
        facts=facts(),
    )
    yield World(cloud, repository, known, core, clock)
    core.close()


async def test_it_installs_and_runs_what_was_published(world: World) -> None:
    await world.publish(1)
    world.cloud.release("echo", 1)
    await world.turns(2)
    world.core.feed([event(1)])
    await world.turns(2)
    assert [report.payload for report in world.known.emits] == [b"1"]


async def test_what_the_director_names_must_have_been_published(world: World) -> None:
    await world.publish(1)
    world.cloud.release("echo", 1)
    await world.turns(2)
    await world.publish(2)
    version = world.cloud.versions["echo", 2]
    stolen = world.cloud.versions["echo", 1].files
    world.cloud.versions["echo", 2] = Published(
        task="echo", version=2, digest=version.digest, files=stolen
    )
    world.cloud.release("echo", 2)
    await world.turns(3)
    assert world.version() == 1
    assert world.known.acks[-1].error_code == "TARGET_MISMATCH"


async def test_a_repository_that_is_down_is_asked_again(world: World) -> None:
    await world.publish(1)
    world.repository.down = True
    world.cloud.release("echo", 1)
    await world.turns(2)
    assert world.version() == 0
    world.repository.down = False
    await world.turns(6)
    assert world.version() == 1
    assert {ack.error_code for ack in world.known.acks} == {""}
