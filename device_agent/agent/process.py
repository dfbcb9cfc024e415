"""One agent process: the core with everything real around it.

Rules of this module:

- Wiring only: what is decided, is decided in the parts.
- The identity is looked up for each connection, so a renewed certificate is used at once.
- Trouble in the upkeep (renewal, metadata) is logged and tried again with the next round; it never stops the agent.
"""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random, SystemRandom

from device_agent.agent.business import BusinessSync
from device_agent.agent.conditions import FileConditions
from device_agent.agent.config import AgentConfig
from device_agent.agent.core import AgentCore
from device_agent.agent.errors import NotEnrolled
from device_agent.agent.facts import gather_facts
from device_agent.agent.grpc_link import GrpcLink, LinkIdentity
from device_agent.agent.home import SOCKET
from device_agent.agent.loop import AgentLoop
from device_agent.agent.process_observer import ProcessObserver
from device_agent.agent.supply import TrustedSupply
from device_agent.clock import SystemClock
from device_agent.errors import ShoalError
from device_agent.events.server import FeederServer
from device_agent.tasks.download import Downloader
from device_agent.tasks.enrol import renew
from device_agent.tasks.fetch import Headers, HttpFetcher
from device_agent.tasks.identity import Identity
from device_agent.tasks.proof import PURPOSE_EXCLUSIVE
from device_agent.tasks.trust import TrustStore
from device_agent.vm.interface import VmPool

IDENTITY = "identity"
METADATA = "tuf"
CONDITIONS = "conditions.json"
COSTS = "costs.json"  # of the engine's kernels on this machine
METRICS_EVERY_S = 1.0


class AgentProcess:
    """Builds an agent on a home folder and runs it until a signal."""

    def __init__(self, home: Path, config: AgentConfig, pool: VmPool) -> None:
        """Opens the home folder.

        Raises:
            NotEnrolled: it holds no identity.
            StoreUnknown: a newer agent wrote it.
        """
        self._home = home
        self._pool = pool
        self._identity = load_identity(home)
        self._observer = ProcessObserver()
        self._link = GrpcLink(self._link_identity)
        self._fetcher = HttpFetcher(self._identity.url, self._identity.ca_pem)
        self._trust = TrustStore(home / METADATA, self._identity.root, self._fetcher)
        conditions = FileConditions(home / CONDITIONS, on_invalid=self._observer.warn)
        random: Random = SystemRandom()
        downloader = Downloader(self._fetcher, SystemClock(), random, credentials=self._credentials)
        self.core = AgentCore(
            home=home,
            link=self._link,
            supply=TrustedSupply(
                trust=self._trust,
                downloader=downloader,
                device_id=self._identity.device_id,
                namespace=self._identity.namespace,
                quota_bytes=config.settings.bundle_bytes_max,
            ),
            pool=pool,
            clock=SystemClock(),
            random=random,
            facts=gather_facts(config),
            conditions=conditions,
            policy=config.policy,
            settings=config.settings,
            observer=self._observer,
        )
        self._metrics_port = config.metrics_port
        business = BusinessSync(
            syncer=self.core.syncer, identity=self._identity, clock=self.core.clock, random=random
        )
        server = FeederServer(
            home / SOCKET, self.core, business=business, on_invalid=self._observer.warn
        )
        self._loop = AgentLoop(
            self.core,
            server=server,
            conditions=conditions,
            upkeep=self._keep_up,
            on_listening=lambda: self._observer.log.info("listening"),
        )

    async def run(self) -> str:
        """Works until SIGTERM or SIGINT, then drains; why the process is to begin anew, or nothing."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        self._observer.log.info(
            "started", device=self._identity.device_id, namespace=self._identity.namespace
        )
        try:
            with self._metrics():
                await self._loop.run(stop)
        finally:
            await self._pool.close()
            await self._link.close()
            self._fetcher.close()
            self.core.close()
        self._observer.log.info("stopped", device=self._identity.device_id)
        return self._loop.worn

    @contextmanager
    def _metrics(self) -> Iterator[None]:
        if not self._metrics_port:
            yield
            return
        self._observer.watch(self.core.store.held)
        with self._observer.serve(self._metrics_port):
            watching = asyncio.create_task(self._watch())
            try:
                yield
            finally:
                watching.cancel()

    async def _watch(self) -> None:
        while True:
            self._observer.watch(self.core.store.held)
            self._observer.wear(self._pool.wear())
            await asyncio.sleep(METRICS_EVERY_S)

    def _link_identity(self) -> LinkIdentity:
        identity = self._identity
        return LinkIdentity(
            address=identity.sync_address,
            ca_pem=identity.ca_pem,
            key_pem=identity.key_pem,
            certificate_pem=identity.certificate_pem,
        )

    async def _credentials(self, digest: str) -> Headers:
        answer = await self._link.get_ticket(digest)
        now_ms = self.core.clock.wall_ms()
        proof = self._identity.proof(PURPOSE_EXCLUSIVE, answer.ticket.encode(), now_ms)
        return {"shoal-ticket": answer.ticket, "shoal-proof": proof}

    async def _keep_up(self) -> None:
        now_ms = self.core.clock.wall_ms()
        try:
            if self._identity.needs_renewal(now_ms):
                self._identity = await asyncio.to_thread(
                    renew, self._fetcher, self._identity, self._home / IDENTITY
                )
                self._observer.log.info("certificate renewed")
            await self._trust.refresh(now_ms)
        except ShoalError as error:
            self._observer.warn(f"{error.code}: {error}")
        except OSError as error:
            self._observer.warn(f"DEVICE_STORAGE_FAILED: {error}; the disk is tried again later")


def load_identity(home: Path) -> Identity:
    """The home folder's identity.

    Raises:
        NotEnrolled: there is none.
        IdentityInvalid: there is one, but it is damaged.
    """
    identity = Identity.load(home / IDENTITY)
    if identity is None:
        raise NotEnrolled(
            f"{home} holds no identity; run `shoal-agent enrol --home {home} --code CODE` first"
        )
    return identity
