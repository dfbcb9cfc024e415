"""From release to installed: a fleet of real agents in one process, each with its own SQLite and TUF metadata.

Real are the agent's sync, verification, downloads and store, the TUF client and metadata, the file routes, and the
gateway's decision and signature. Replaced are the VM (nothing runs) and TLS (calls and files pass in memory).

What the rows leave out: the wait for a device's next Sync (every agent asks as soon as its turn comes), the network,
and the cloud's record of acknowledgements. Every agent has synced before, and so holds the director's keys and the
metadata of then; the task is published after that, so each fetches and verifies the new metadata and all files. Agents
take turns, IN_FLIGHT at a time; waiting for the turn counts.
"""

import asyncio
import marshal
import os
import resource
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from shoal.device.v1.device_pb2 import GetTicketResponse, SyncRequest, SyncResponse
from shoal.telemetry.v1.telemetry_pb2 import TunnelRequest, TunnelResponse

from cloud.gateway.answer import Answerer
from cloud.gateway.release_set import Version
from cloud.gateway.settings import GatewaySettings
from cloud.rpc.peer import DevicePeer
from device_agent.agent.core import AgentCore
from device_agent.agent.errors import PeerRefused, PeerUnreachable
from device_agent.agent.supply import TrustedSupply
from device_agent.tasks.bytecode import encode_bytecode, python_tag, running_magic
from device_agent.tasks.download import Downloader
from device_agent.tasks.manifest import Manifest, Requires, Resource, Trigger
from device_agent.tasks.trust import TrustStore
from tests.bench.rows import BenchRow, at_least, ratio_to
from tests.helpers.fake_cloud import facts
from tests.helpers.fake_pool import FakePool
from tests.helpers.fake_repository import NAMESPACE, NOW, FakeRepository
from tests.helpers.manual_clock import ManualClock
from tests.helpers.memory_fetcher import LoopFetcher
from tests.helpers.release_sets import digest, release, release_set
from tests.helpers.sync_fleet import MemorySets

AGENTS = int(os.environ.get("SHOAL_BENCH_AGENTS", "1000"))
IN_FLIGHT = 16
TURNS_MAX = 3
TASK = "echo"
MODEL_BYTES = 100_000
FILES_AN_AGENT = 4  # database, its WAL and shared memory, and one that is being fetched
FILES_BESIDE = 256
HOUR_MS = 3_600_000
DEVICES_A_SECOND = 25.0
AWS_A_SECOND = 1_000 / 60
AWS = "AWS IoT Jobs, documented limit: 1,000 devices notified a minute"


class MemoryLink:
    """One device's calls into the gateway, as bytes; there is nothing to report and no exclusive file."""

    def __init__(self, answerer: Answerer, peer: DevicePeer, clock: ManualClock) -> None:
        self._answerer = answerer
        self._peer = peer
        self._clock = clock

    async def sync(self, request: SyncRequest) -> SyncResponse:
        data = request.SerializeToString()
        said = self._answerer.read(data)
        answer = self._answerer.answer(self._peer, data, said, self._clock.wall_ms())
        return SyncResponse.FromString(answer)

    def tunnel(self, requests: AsyncIterator[TunnelRequest]) -> AsyncIterator[TunnelResponse]:
        raise PeerUnreachable(f"this cloud has no tunnel to read {requests!r}")

    async def get_ticket(self, digest: str) -> GetTicketResponse:
        raise PeerRefused(f"this cloud has no exclusive files such as {digest}")

    async def close(self) -> None:
        """Nothing to close."""


class Fleet:
    """Agents that were enrolled, and the cloud they ask.

    Attributes:
        repository: Publishes version 1 of TASK.
        agents: All agents.
    """

    def __init__(self, folder: Path, agents: int) -> None:
        self.clock = ManualClock(wall_ms=NOW)
        self.repository = FakeRepository()
        self._serve_metadata()
        self._sets = MemorySets(release_set(epoch=100))
        self._answerer = Answerer(self._sets, self.repository.director, GatewaySettings())
        self._random = Random(1)
        self.agents: list[AgentCore] = []
        fetcher = self.repository.fetcher()
        for place in range(agents):
            self.agents.append(self._agent(folder / str(place), fetcher))

    def close(self) -> None:
        """Closes every store."""
        for agent in self.agents:
            agent.close()

    async def publish(self) -> None:
        """Makes the version fetchable; metadata is signed once and served from then on as a file would be."""
        manifest = Manifest(
            name=TASK,
            entry="main:on_event",
            triggers=(Trigger(event=1001),),
            resources=(Resource(path="model.bin", scope="shared"),),
        )
        code = compile("def on_event(event): pass", "main.py", "exec")
        self.repository.publish(
            TASK,
            1,
            {
                "manifest.json": manifest.to_json(),
                "code.bin": encode_bytecode({"main": marshal.dumps(code)}, running_magic()),
                "model.bin": self._random.randbytes(MODEL_BYTES),
            },
        )
        await self.repository.store()
        self._serve_metadata()

    def _serve_metadata(self) -> None:
        self.repository.replayed = {}
        self.repository.replayed = self.repository.record()

    def release(self) -> None:
        """The next Sync of every agent is due, and will find a release to all."""
        version = Version(
            task=TASK,
            number=1,
            digest=digest(f"{TASK}/1"),
            requires=Requires(),
            bundles={python_tag(): self.repository.bundle(TASK, 1)},
        )
        self.clock.advance_ms(HOUR_MS)
        released = release_set([release(TASK, 1)], [version], epoch=101, changes=[(101, TASK)])
        self._sets.sets[NAMESPACE] = released

    def _agent(self, home: Path, fetcher: LoopFetcher) -> AgentCore:
        peer = DevicePeer(self._random.randbytes(16).hex(), NAMESPACE)
        return AgentCore(
            home=home,
            link=MemoryLink(self._answerer, peer, self.clock),
            supply=TrustedSupply(
                trust=TrustStore(
                    home / "tuf", self.repository.first_root, fetcher, clock=self.clock
                ),
                downloader=Downloader(fetcher, self.clock, self._random),
                device_id=peer.device_id,
                namespace=NAMESPACE,
                quota_bytes=10**9,
            ),
            pool=FakePool(),
            clock=self.clock,
            random=self._random,
            facts=facts(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How a release spread.

    Attributes:
        agents: How many there were.
        seconds: From the release to installed, for each that got there, ascending.
    """

    agents: int
    seconds: list[float]


def rows() -> list[BenchRow]:
    """All rows of this module."""
    spread = measure(AGENTS)
    fleet = f"{AGENTS:,} agents in one process"
    told = [at_least(f"installed, of {fleet}", len(spread.seconds), "agents", AGENTS)]
    if len(spread.seconds) < 2:
        return told
    whole = spread.seconds[-1]
    rate = len(spread.seconds) / whole
    cuts = statistics.quantiles(spread.seconds, n=100, method="inclusive")
    return [
        *told,
        BenchRow(name=f"release to the last installed, {fleet}", value=whole, unit="s"),
        BenchRow(name="release to installed, p50", value=cuts[49], unit="s"),
        BenchRow(name="release to installed, p99", value=cuts[98], unit="s"),
        at_least("agents installed a second", rate, "1/s", DEVICES_A_SECOND),
        ratio_to(AWS, "agents installed a second / notified a second", rate / AWS_A_SECOND, 1.0),
    ]


def measure(agents: int) -> Spread:
    """Releases to so many new agents and waits until each is done."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = agents * FILES_AN_AGENT + FILES_BESIDE
    if most != resource.RLIM_INFINITY and needed > most:
        raise SystemExit(f"{agents} agents need {needed} open files, this shell allows {most}")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], needed), most))
    try:
        with tempfile.TemporaryDirectory() as made:
            return asyncio.run(_spread(Path(made), agents))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def _spread(folder: Path, agents: int) -> Spread:
    fleet = Fleet(folder, agents)
    try:
        for agent in fleet.agents:
            await agent.turn()
        assert not any(agent.syncer.last_error for agent in fleet.agents), "a first Sync failed"
        await fleet.publish()
        fleet.release()
        return await install_all(fleet)
    finally:
        fleet.close()


async def install_all(fleet: Fleet) -> Spread:
    """Gives every agent its turns after a release."""
    gate = asyncio.Semaphore(IN_FLIGHT)
    seconds: list[float] = []
    begin = time.perf_counter()

    async def one(agent: AgentCore) -> None:
        async with gate:
            for _ in range(TURNS_MAX):
                await agent.turn()
                if _installed(agent):
                    seconds.append(time.perf_counter() - begin)
                    return

    async with asyncio.TaskGroup() as group:
        for agent in fleet.agents:
            group.create_task(one(agent))
    return Spread(agents=len(fleet.agents), seconds=seconds)


def _installed(agent: AgentCore) -> bool:
    held = agent.store.held.tasks().get(TASK)
    return held is not None and held.version == 1 and bool(held.digest)


def main() -> None:
    """Prints this module's rows alone."""
    from rich.console import Console

    from tests.bench.run import render

    Console(width=140).print(render("fleet", rows()))


if __name__ == "__main__":
    main()
