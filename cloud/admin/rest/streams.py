"""Server-sent events: what a console shows, sent when it changes.

Rules of this module:

- State, not a log: every stream begins with all there is to show, and then sends what differs from what it sent
  before; a reconnect begins again, so nothing is lost and nothing is kept for absent readers.
- Readers of one namespace share one look at the database per poll interval.
- A silent stream sends a comment at each heartbeat, and checks there that its token still holds.
- Streams are counted and bounded; they end when the process drains. One that fails says why in its last event, "error".
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass

import msgspec

from cloud.admin.errors import NotReady
from cloud.admin.operations.overview import FleetCounts
from cloud.admin.settings import AdminSettings
from cloud.observability.metrics import EVENT_STREAMS
from cloud.rollout.rest import Rest
from device_agent.clock import Clock
from device_agent.errors import ShoalError

HEARTBEAT = b": heartbeat\n\n"
RETRY = b"retry: 2000\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One thing that a stream shows.

    Attributes:
        event: Its kind, e.g. "release".
        key: Which one, e.g. the release's id.
        data: As JSON.
    """

    event: str
    key: str
    data: bytes


type Look = Callable[[], Awaitable[Iterable[Shown]]]
type SharedLook = Shared[tuple[Shown, ...]]


def encode_event(shown: Shown, number: int) -> bytes:
    """An event on the wire; JSON has no line breaks."""
    return b"event: %s\nid: %d\ndata: %s\n\n" % (shown.event.encode(), number, shown.data)


class Shared[T]:
    """One look at the database for all who ask within an interval; after a dear one it rests longer."""

    def __init__(
        self, look: Callable[[], Awaitable[T]], interval_ms: int, rest_factor: int, clock: Clock
    ) -> None:
        """Keeps what it is given.

        Args:
            look: Looks.
            interval_ms: Age at which what was seen is old.
            rest_factor: It is not old, either, before this many times as long as a look takes.
            clock: Monotonic clock.
        """
        self._look = look
        self._rest = Rest(rest_factor, interval_ms)
        self._clock = clock
        self._lock = asyncio.Lock()
        self._seen: tuple[T] | None = None
        self._old_at_ns = 0

    async def __call__(self) -> T:
        """What was seen last, or what is to be seen now."""
        async with self._lock:
            started_ns = self._clock.monotonic_ns()
            if self._seen is None or started_ns >= self._old_at_ns:
                self._seen = (await self._look(),)
                ended_ns = self._clock.monotonic_ns()
                self._old_at_ns = ended_ns + self._rest.after_ns(ended_ns - started_ns)
            return self._seen[0]


class EventStreams:
    """The open streams of one process."""

    def __init__(self, settings: AdminSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._looks: dict[str, SharedLook] = {}
        self._counts: dict[str, Shared[FleetCounts]] = {}
        self._open = 0
        self._closing = asyncio.Event()

    def close(self) -> None:
        """Ends every stream at its next turn."""
        self._closing.set()

    def shared(self, namespace: str, look: Look) -> SharedLook:
        """The look that readers of a namespace share."""
        found = self._looks.get(namespace)
        if found is None:

            async def seen() -> tuple[Shown, ...]:
                return tuple(await look())

            found = self._looks[namespace] = self._share(seen)
        return found

    def counts(
        self, namespace: str, count: Callable[[], Awaitable[FleetCounts]]
    ) -> Shared[FleetCounts]:
        """The counts of a namespace's fleet that its readers share."""
        found = self._counts.get(namespace)
        if found is None:
            found = self._counts[namespace] = self._share(count)
        return found

    def _share[T](self, look: Callable[[], Awaitable[T]]) -> Shared[T]:
        settings = self._settings
        return Shared(look, settings.sse_poll_ms // 2, settings.sse_rest_factor, self._clock)

    def admit(self) -> None:
        """Counts a new stream in.

        Raises:
            NotReady: There are too many, or the process drains.
        """
        if self._open >= self._settings.sse_streams_max or self._closing.is_set():
            raise NotReady("too many event streams are open: close one, or try again in a moment")

    async def stream(
        self, look: SharedLook, recheck: Callable[[], Awaitable[None]]
    ) -> AsyncIterator[bytes]:
        """Sends what `look` shows, as it changes; ends when `recheck` raises."""
        self._open += 1
        EVENT_STREAMS.inc()
        try:
            async for chunk in self._chunks(look, recheck):
                yield chunk
        except ShoalError as error:
            said = {"code": error.code, "message": str(error)}
            yield encode_event(shown_of("error", "", said), 0)
        finally:
            self._open -= 1
            EVENT_STREAMS.dec()

    async def _chunks(
        self, look: SharedLook, recheck: Callable[[], Awaitable[None]]
    ) -> AsyncIterator[bytes]:
        sent: dict[tuple[str, str], bytes] = {}
        number, quiet_ms = 0, 0
        yield RETRY
        while not self._closing.is_set():
            for shown in await look():
                if sent.get((shown.event, shown.key)) != shown.data:
                    sent[shown.event, shown.key] = shown.data
                    number, quiet_ms = number + 1, 0
                    yield encode_event(shown, number)
            await self._pause()
            quiet_ms += self._settings.sse_poll_ms
            if quiet_ms >= self._settings.sse_heartbeat_ms:
                await recheck()
                quiet_ms = 0
                yield HEARTBEAT

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._settings.sse_poll_ms / 1000):
                await self._closing.wait()
        except TimeoutError:
            return


def shown_of(event: str, key: str, value: object) -> Shown:
    """Encodes a view to be shown."""
    return Shown(event=event, key=key, data=msgspec.json.encode(value))
