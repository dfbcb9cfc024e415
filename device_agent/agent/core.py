"""The agent without a process around it: everything it decides and keeps, on what is handed in.

Rules of this module:

- Link, supply, VM pool, clock, random and home folder are passed in, so that a thousand agents run in one process.
- `turn` does what is due once and never waits for time: simulations drive it. `AgentLoop` (loop.py) drives the same
  parts in a real process.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import Random

from shoal_task.event import Event

from device_agent.agent.conditions import DeviceConditions, FixedConditions
from device_agent.agent.errors import (
    AgentWorn,
    PeerRefused,
    PeerUnreachable,
    ReportGap,
    StoreDamaged,
    StoreFailed,
)
from device_agent.agent.ground import Ground
from device_agent.agent.install import Installer, Supply
from device_agent.agent.link import Link
from device_agent.agent.messages import Facts, notice
from device_agent.agent.observer import Observer
from device_agent.agent.recording import Recorder
from device_agent.agent.runner import Runner
from device_agent.agent.settings import AgentSettings, LocalPolicy
from device_agent.agent.store.database import set_aside
from device_agent.agent.store.store import BOOT_BYTES, Store
from device_agent.agent.sync import Syncer
from device_agent.agent.trusted_clock import TrustedClock
from device_agent.agent.tunnel import Tunnel
from device_agent.agent.wear import why_worn
from device_agent.clock import Clock
from device_agent.events.frames import FeedAnswer, FeedStatus
from device_agent.failpoint import failpoint
from device_agent.vm.interface import VmPool

DATABASE = "agent.db"
STORAGE_FAILED = "DEVICE_STORAGE_FAILED"


class AgentCore:
    """One agent.

    Attributes:
        store: What is durable.
        clock: The clock as the cloud mended it.
        syncer: Speaks with the cloud.
        installer: Carries out documents.
        runner: Runs events.
        tunnel: Sends reports.
        documents: Set when a document was accepted.
        reports: Set when there may be something to report.
    """

    def __init__(
        self,
        *,
        home: Path,
        link: Link,
        supply: Supply,
        pool: VmPool,
        clock: Clock,
        random: Random,
        facts: Facts,
        conditions: DeviceConditions | None = None,
        policy: LocalPolicy | None = None,
        settings: AgentSettings | None = None,
        observer: Observer | None = None,
    ) -> None:
        """Opens the store, blames what was running at the last death, and cleans up.

        Raises:
            StoreUnknown: a newer agent wrote the home folder.
        """
        home.mkdir(parents=True, exist_ok=True)
        self.settings = settings or AgentSettings()
        self.documents = asyncio.Event()
        self.reports = asyncio.Event()
        self._damage = ""
        self.store = self._opened(home / DATABASE, random)
        try:
            self.clock = TrustedClock(clock, self.store.held.agent().clock_offset_ms)
            ground = Ground(
                store=self.store,
                home=home,
                clock=self.clock,
                random=random,
                facts=facts,
                settings=self.settings,
                observer=observer or Observer(),
            )
            self._ground = ground
            self._recorder = Recorder(home, bytes_max=self.settings.recording_bytes_max)
            self._recover()
            self._pool = pool
            self.runner = Runner(ground, pool, on_reports=self._reported)
            self.installer = Installer(
                ground,
                supply=supply,
                conditions=conditions or FixedConditions(),
                policy=policy or LocalPolicy(),
                in_use=self.runner.in_use,
            )
            self.syncer = Syncer(ground, link=link, supply=supply, on_document=self._documented)
            self.tunnel = Tunnel(ground, link, on_events=self.runner.wake)
            self.installer.clean_up()
        except BaseException:
            self.store.close()
            raise

    def _opened(self, path: Path, random: Random) -> Store:
        """The store; a damaged one is set aside: nobody comes to a device to mend it, and the cloud has the rest."""
        try:
            return Store(path, random=random, settings=self.settings)
        except StoreDamaged as error:
            self._damage = str(error)
            set_aside(path)
            return Store(path, random=random, settings=self.settings)

    def close(self) -> None:
        """Closes the store."""
        self.store.close()

    def feed(self, events: Sequence[Event]) -> list[FeedAnswer]:
        """Logs events, all in one durable transaction, and answers for each; on a full disk refuses them all."""
        try:
            answers = self._log(events)
        except StoreFailed as error:
            self._ground.observer.storage_failed(error.code, str(error))
            return [FeedAnswer(status=FeedStatus.REFUSED, code=STORAGE_FAILED) for _ in events]
        failpoint("agent.feed.stored")
        logged = FeedStatus.ACCEPTED
        self._recorder.take(
            [one for one, answer in zip(events, answers, strict=True) if answer.status is logged]
        )
        self._ground.observer.fed(answers)
        self.runner.wake()
        return answers

    def _log(self, events: Sequence[Event]) -> list[FeedAnswer]:
        answers: list[FeedAnswer] = []
        with self.store.transaction():
            tasks = self._listening()
            for event in events:
                event.wall_ms = event.wall_ms or self.clock.wall_ms()
                event.monotonic_ns = event.monotonic_ns or self.clock.monotonic_ns()
                wanted = self.store.log.listeners(event.event_id) & tasks
                answers.append(self.store.log.append(event, wanted))
        return answers

    def why_worn(self) -> str:
        """Why this process is to begin anew; empty while it need not."""
        return why_worn(self._pool.wear(), self.settings)

    def note_worn(self, why: str) -> None:
        """Writes down for the cloud why this process is about to begin anew."""
        self._ground.observer.worn(AgentWorn.code, why)
        with self.store.transaction():
            self.store.outbox.append_report(notice(AgentWorn.code, why, self.clock.wall_ms()))
        failpoint("agent.worn.noted")

    async def turn(self) -> None:
        """Does once whatever is due: sync, install, run, report."""
        await self.syncer.sync_if_due()
        await self.installer.install_wanted()
        await self.runner.run_pending()
        self.syncer.hurry_for_acks()
        if self.tunnel.has_something_to_say():
            await self.talk(0)

    async def talk(self, idle_ms: int) -> bool:
        """One conversation on the tunnel; False when it broke, which costs nothing but time."""
        try:
            await self.tunnel.talk(idle_ms)
        except ReportGap as error:
            self._ground.observer.tunnel_failed(error.code, str(error))
            self._renumber(error)
            return False
        except (PeerUnreachable, PeerRefused) as error:
            self._ground.observer.tunnel_failed(error.code, str(error))
            return False
        return True

    def _documented(self) -> None:
        self.installer.forget_pauses()
        self.documents.set()
        self.runner.wake()

    def _reported(self) -> None:
        self.tunnel.wake()
        self.reports.set()

    def _listening(self) -> frozenset[str]:
        agent = self.store.held.agent()
        if agent.kill_all:
            return frozenset()
        stopped = self.store.held.killed() | self.store.held.opted_out()
        rows = self.store.held.tasks().values()
        return frozenset(
            row.task
            for row in rows
            if row.digest and not row.quarantined and row.task not in stopped
        )

    def _renumber(self, gap: ReportGap) -> None:
        """The cloud forgot reports that it had: what is left goes out as a new log, counted from 1."""
        oldest = next(iter(self.store.outbox.reports(0)), None)
        if oldest is None or gap.expected >= oldest.sequence:
            return  # the next stream starts at the oldest, which the cloud waits for
        with self.store.transaction():
            self.store.outbox.renumber(self._ground.random.randbytes(BOOT_BYTES))
        failpoint("agent.tunnel.renumbered")
        self.syncer.forget_sent()

    def _recover(self) -> None:
        if self._damage:
            self._ground.observer.storage_failed(StoreDamaged.code, self._damage)
            with self.store.transaction():
                report = notice(StoreDamaged.code, self._damage, self.clock.wall_ms())
                self.store.outbox.append_report(report)
        for task in self.store.recover(self.clock.wall_ms()):
            self._ground.observer.broken(
                task, "TASK_QUARANTINED", "the agent died inside it too often"
            )
        failpoint("agent.start.recovered")
