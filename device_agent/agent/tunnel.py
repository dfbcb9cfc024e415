"""One conversation with the cloud: reports up, acknowledgements and answers down.

Rules of this module:

- A stream starts with the oldest report that was not acknowledged and sends each once; what the stream's end left
  unacknowledged goes out again with the next stream.
- An answer (reply) becomes an event whose uid is the reply's id, so an answer that comes twice is one event. The cloud
  is told that it was received after the commit; an answer that does not fit the event log is not confirmed and comes
  again. The cloud answers reports, not confirmations: these count as read when a later report is acknowledged or the
  stream ends well.
- The stream closes when nothing was left to say for `idle_ms`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from shoal.telemetry.v1.telemetry_pb2 import Reply, TunnelRequest, TunnelResponse
from shoal_task.event import UID_BYTES, Event, EventInvalid

from device_agent.agent.errors import PeerUnreachable
from device_agent.agent.ground import Ground
from device_agent.agent.link import Link
from device_agent.agent.messages import notice, tunnel_message
from device_agent.events.frames import FeedStatus
from device_agent.failpoint import failpoint

RECEIVED_A_MESSAGE_MAX = 256


class Tunnel:
    """Talks over one stream at a time."""

    def __init__(
        self, ground: Ground, link: Link, *, on_events: Callable[[], None] = lambda: None
    ) -> None:
        self._store = ground.store
        self._clock = ground.clock
        self._settings = ground.settings
        self._link = link
        self._on_events = on_events
        self._more = asyncio.Event()
        self._spoke = asyncio.Event()
        self._closing = False
        self._sent = 0
        self._told: dict[bytes, int] = {}

    def wake(self) -> None:
        """There may be something to say."""
        self._more.set()

    def has_something_to_say(self) -> bool:
        """Whether a conversation is worth a connection."""
        return bool(self._store.held.agent().reports_open or self._store.outbox.received(1))

    async def talk(self, idle_ms: int) -> None:
        """One stream: says everything, and listens until `idle_ms` went by with nothing left to say.

        Raises:
            PeerUnreachable: the stream broke, or the cloud was silent about what it was told.
            PeerRefused: the cloud ended it with an error.
        """
        self._closing, self._sent, self._told = False, 0, {}
        self._more.set()
        self._spoke.clear()
        responses = self._link.tunnel(self._requests())
        try:
            while (response := await self._next(responses, idle_ms)) is not None:
                self._take(response)
        finally:
            self._closing = True
            self._more.set()
        self._confirm(list(self._told))  # the stream ended well: the cloud has read all of it

    async def _next(
        self, responses: AsyncIterator[TunnelResponse], idle_ms: int
    ) -> TunnelResponse | None:
        pending = asyncio.ensure_future(anext(responses, None))
        try:
            while not pending.done():
                silent_ms = await self._listen(pending, idle_ms)
                if pending.done() or silent_ms == 0:
                    continue
                if self._closing or self._is_unsaid():
                    raise PeerUnreachable(f"no answer on the tunnel for {silent_ms} ms")
                self._closing = True  # the requests end, and with them the stream
                self._more.set()
            return await pending
        finally:
            pending.cancel()

    async def _listen(
        self, pending: asyncio.Future[TunnelResponse | None], idle_ms: int
    ) -> int | None:
        """Waits for an answer; gives how long it was silent, None for an answer, 0 when this side spoke meanwhile."""
        waits = self._closing or self._is_unsaid()
        patience_ms = self._settings.answer_ms_max if waits else max(idle_ms, 1)
        spoke = asyncio.ensure_future(self._spoke.wait())
        try:
            both = (pending, spoke)
            await asyncio.wait(
                both, timeout=patience_ms / 1000, return_when=asyncio.FIRST_COMPLETED
            )
            if pending.done():
                return None
            if spoke.done():
                self._spoke.clear()
                return 0
            return patience_ms
        finally:
            spoke.cancel()

    def _is_unsaid(self) -> bool:
        """Whether a report has no acknowledgement yet, or a reply was not named as received."""
        waiting = set(self._store.outbox.received(RECEIVED_A_MESSAGE_MAX))
        return bool(self._store.held.agent().reports_open or waiting - self._told.keys())

    async def _requests(self) -> AsyncIterator[TunnelRequest]:
        boot = self._store.held.agent().boot
        first = True
        while first or not self._closing:
            self._more.clear()
            reports = self._store.outbox.reports(self._sent)
            waiting = self._store.outbox.received(len(self._told) + RECEIVED_A_MESSAGE_MAX)
            received = [reply_id for reply_id in waiting if reply_id not in self._told]
            received = received[:RECEIVED_A_MESSAGE_MAX]
            if not (reports or received or first):
                await self._more.wait()
                continue
            first = False
            # Once a report of this message or a later one is acknowledged, the cloud has read these ids, too.
            self._told |= dict.fromkeys(received, self._sent + 1)
            if reports:
                self._sent = reports[-1].sequence
            self._spoke.set()
            yield tunnel_message(boot, reports, received)

    def _take(self, response: TunnelResponse) -> None:
        acknowledged = response.acknowledged_sequence
        read = [reply_id for reply_id, sequence in self._told.items() if sequence <= acknowledged]
        with self._store.transaction():
            self._store.outbox.acknowledge_reports(acknowledged)
            fresh = [self._receive(reply) for reply in response.replies]
        failpoint("agent.tunnel.taken")
        self._confirm(read)
        if any(fresh):
            self._on_events()
        self._more.set()

    def _confirm(self, reply_ids: Sequence[bytes]) -> None:
        """The cloud forgets these replies; should it have missed that, it sends them again and is told again."""
        if not reply_ids:
            return
        for reply_id in reply_ids:
            del self._told[reply_id]
        with self._store.transaction():
            self._store.outbox.delete_received(reply_ids)
        failpoint("agent.tunnel.confirmed")

    def _receive(self, reply: Reply) -> bool:
        problem = self._problem(reply)
        if problem:
            text = notice("REPLY_UNDECLARED", f"{reply.task}: {problem}", self._clock.wall_ms())
            self._store.outbox.append_report(text)
            if len(reply.reply_id) == UID_BYTES:
                self._store.outbox.put_received(reply.reply_id)
            return False
        event = Event(
            reply.event_id,
            reply.payload,
            uid=reply.reply_id,
            monotonic_ns=self._clock.monotonic_ns(),
            wall_ms=self._clock.wall_ms(),
        )
        answer = self._store.log.append(event, [reply.task])
        if answer.status is not FeedStatus.REFUSED:
            self._store.outbox.put_received(reply.reply_id)
        return answer.status is FeedStatus.ACCEPTED

    def _problem(self, reply: Reply) -> str:
        row = self._store.held.tasks().get(reply.task)
        if row is None or not row.digest:
            return "is not installed"
        bundle = self._store.held.bundle(row.task, row.digest, row.python_tag)
        declared: Sequence[int] = list(bundle.manifest.replies.values()) if bundle else []
        if bundle is not None and reply.event_id not in declared:
            return f"its manifest declares no reply as event {reply.event_id}"
        try:
            Event(reply.event_id, reply.payload, uid=reply.reply_id).to_bytes()
        except EventInvalid as error:
            return f"the reply is no event: {error}"
        return "" if len(reply.reply_id) == UID_BYTES else "the reply has no id"
