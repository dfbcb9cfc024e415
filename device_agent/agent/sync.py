"""The shell around the sync machine: one call to the cloud, and what its answer changes in the store.

Rules of this module:

- Decisions are state.py's and plan.py's; here is what they need and what they ask for.
- The held document is compared by (epoch, issued at); the epoch of a bare answer counts too.
- A document that is refused changes nothing, is reported once by its code, and counts as a failure.
"""

import asyncio
from collections.abc import Callable

from shoal.device.v1.device_pb2 import SyncRequest, SyncResponse

from device_agent.agent import documents, state
from device_agent.agent.errors import AgentError, PeerRefused, Revoked
from device_agent.agent.ground import Ground
from device_agent.agent.install import Supply
from device_agent.agent.link import Link
from device_agent.agent.messages import ack_message, installed_message, notice
from device_agent.agent.store.held import AgentRow
from device_agent.errors import ShoalError
from device_agent.failpoint import failpoint
from device_agent.tasks.director import TASKS_MAX

SESSION_BYTES = 16
EPOCH_MAX = 2**63 - 1  # SQLite's integers end here
WALL_MS_MAX = 253_402_300_799_999  # and calendars with the year 9999


class Syncer:
    """Speaks with the cloud when it is time.

    Attributes:
        changed: Set when the next Sync may be due earlier than before.
        answered: Set when the cloud has answered: it is there again for whoever waits after a failure.
        last_error: Code of the last failure; empty after an answer.
    """

    def __init__(
        self,
        ground: Ground,
        *,
        link: Link,
        supply: Supply,
        on_document: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = ground.store
        self._clock = ground.clock
        self._random = ground.random
        self._facts = ground.facts
        self._settings = ground.settings
        self._observer = ground.observer
        self._link = link
        self._supply = supply
        self._on_document = on_document
        self._state = state.SyncState(
            due_at_ms=self._clock.monotonic_ms(), epoch=self._store.held.agent().epoch
        )
        self._acks_sent = 0
        # Of this process alone: a restart, a crash or a restored home has another.
        self._session, self._syncs = ground.random.randbytes(SESSION_BYTES), 0
        self._accepting = asyncio.Lock()
        self.changed = asyncio.Event()
        self.answered = asyncio.Event()
        self.last_error = ""

    @property
    def due_at_ms(self) -> int:
        """When the next Sync goes out, monotonic."""
        return self._state.due_at_ms

    def hurry(self) -> None:
        """There is something to say or to ask."""
        self._step(state.Hurry(draw=self._random.random()))
        self.changed.set()

    def hurry_for_acks(self) -> bool:
        """Hurries when an acknowledgement was made that no Sync carried yet."""
        if self._store.outbox.last_ack() <= self._acks_sent:
            return False
        self.hurry()
        return True

    def forget_sent(self) -> None:
        """Acknowledgements have new numbers: none of them was sent."""
        self._acks_sent = 0

    def pause_after(self, failures: int) -> int:
        """How long to wait after so many failures in a row, in milliseconds."""
        return state.pause_ms(failures, self._random.random(), self._settings)

    async def sync_if_due(self) -> bool:
        """Makes a Sync when it is time; True when the cloud answered."""
        if not self._step(state.Tick()):
            return False
        try:
            await self._exchange()
        except ShoalError as error:
            self.last_error = error.code
            self._observer.sync_failed(error.code, str(error))
            revoked = isinstance(error, Revoked)
            self._step(state.Failed(revoked=revoked, draw=self._random.random()))
            return False
        self.last_error = ""
        self.answered.set()
        return True

    async def _exchange(self) -> None:
        facts_digest = self._facts.digest()
        boot = self._store.held.agent().boot
        before = self._clock.raw_wall_ms()
        response = await self._link.sync(self.request())
        if self._store.held.agent().boot != boot:
            response.acknowledged_sequence = 0  # it is of the log before this one
        self._check(response)
        effects = self._step(
            state.Answered(
                epoch=response.epoch,
                next_sync_after_ms=response.next_sync_after_ms,
                retry=response.retry,
                has_document=bool(response.director),
                acknowledged=response.acknowledged_sequence,
                server_time_ms=response.server_time_ms,
                device_time_ms=(before + self._clock.raw_wall_ms()) // 2,
                clock_offset_ms=self._clock.offset_ms,
            )
        )
        failpoint("agent.sync.answered")
        for effect in effects:
            await self._apply(effect, response, facts_digest)

    def request(self, *, with_acknowledgements: bool = True) -> SyncRequest:
        """What the cloud is told now."""
        agent = self._store.held.agent()
        acks = self._store.outbox.acks() if with_acknowledgements else []
        if acks:
            self._acks_sent = max(self._acks_sent, acks[-1].sequence)
        self._syncs += 1
        stopped = self._store.held.killed()
        rows = self._store.held.tasks().values()
        return SyncRequest(
            epoch=self._epoch(agent, self._facts.digest()),
            installed=[
                installed_message(
                    row,
                    killed=agent.kill_all or row.task in stopped,
                    python_tag=self._facts.python_tag,
                    tries_max=self._settings.install_tries_max,
                )
                for row in rows
            ],
            acknowledgements=[ack_message(ack, agent.boot) for ack in acks],
            facts=self._facts.message(),
            device_time_ms=self._clock.wall_ms(),
            session=self._session,
            session_sync=self._syncs,
        )

    def _epoch(self, agent: AgentRow, facts_digest: str) -> int:
        return state.epoch_to_send(
            self._state,
            facts_changed=agent.facts_digest != facts_digest,
            document=agent.document,
            expires_at_ms=agent.expires_at_ms,
            wall_ms=self._clock.wall_ms(),
        )

    def _check(self, response: SyncResponse) -> None:
        if response.epoch > EPOCH_MAX or not 0 <= response.server_time_ms <= WALL_MS_MAX:
            raise PeerRefused(
                f"the cloud answered epoch {response.epoch} at {response.server_time_ms} ms, which cannot be; "
                "look at its clock"
            )
        if response.acknowledged_sequence > self._store.outbox.last_ack():
            raise PeerRefused(
                f"the cloud holds acknowledgement {response.acknowledged_sequence}, which this device never made; "
                "is this home folder a copy? Enrol in a fresh one"
            )

    async def _apply(
        self, effect: state.SyncEffect, response: SyncResponse, facts_digest: str
    ) -> None:
        match effect:
            case state.DropAcks(up_to=up_to):
                with self._store.transaction():
                    self._store.outbox.acknowledge_acks(up_to)
                failpoint("agent.sync.acks_dropped")
            case state.MendClock(offset_ms=offset_ms):
                self._mend(offset_ms)
            case state.AdoptEpoch(epoch=epoch):
                with self._store.transaction():
                    self._store.held.put_epoch(epoch, facts_digest)
                failpoint("agent.sync.epoch_adopted")
            case state.CheckDocument():
                await self._accept(response.director, facts_digest)
            case state.Send():
                raise AssertionError("an answer never asks for a call")

    def _mend(self, offset_ms: int) -> None:
        text = f"the device's clock is {-offset_ms} ms ahead of the cloud's"
        self._clock.offset_ms = offset_ms
        with self._store.transaction():
            self._store.held.put_clock_offset(offset_ms)
            report = notice("CLOCK_MENDED", text, self._clock.wall_ms())
            self._store.outbox.append_report(report)
        failpoint("agent.sync.clock_mended")

    async def take_document(self, envelope: bytes) -> None:
        """Takes in a document that came another way than by a Sync.

        Raises:
            ShoalError: it was refused; nothing changed.
        """
        await self._accept(envelope, self._facts.digest())

    async def _accept(self, envelope: bytes, facts_digest: str) -> None:
        async with (
            self._accepting
        ):  # two documents at once must not pass each other while they are verified
            await self._accept_alone(envelope, facts_digest)

    async def _accept_alone(self, envelope: bytes, facts_digest: str) -> None:
        if self._store.outbox.ack_count() + 2 * TASKS_MAX > self._settings.acks_max:
            raise AgentError(
                "too many acknowledgements wait for the cloud; the document is taken after they are durable there"
            )
        agent = self._store.held.agent()
        held = agent.document
        if held is not None and agent.epoch > held[0]:
            held = (agent.epoch, 0)
        document = await self._supply.verify(envelope, held=held, now_ms=self._clock.wall_ms())
        failpoint("agent.sync.verified")
        documents.accept(
            self._store,
            document,
            envelope,
            facts_digest=facts_digest,
            python_tag=self._facts.python_tag,
            now_ms=self._clock.wall_ms(),
        )
        failpoint("agent.sync.accepted")
        self._step(state.DocumentAccepted(epoch=document.epoch))
        self._on_document()

    def _step(self, event: state.SyncEvent) -> list[state.SyncEffect]:
        self._state, effects = state.step(
            self._state, self._clock.monotonic_ms(), event, self._settings
        )
        return list(effects)
