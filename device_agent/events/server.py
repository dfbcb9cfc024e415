"""The agent's end of the feeder socket.

Rules of this module:

- The socket belongs to the agent's user alone (mode 0600); who may open it may feed.
- One batch at a time a connection: the answer goes out after the sink's durable commit, and is the back-pressure.
- Connections, frames and the time of a frame are bounded. A frame that is none, or that does not come to its end,
  closes its connection. An app may keep its connection while it has nothing to feed; when there are too many, the one
  that was idle longest makes room for the new one.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from shoal_task.event import Event, EventInvalid

from device_agent.events import frames
from device_agent.events.errors import FrameInvalid
from device_agent.events.feeder import check_socket_path
from device_agent.events.frames import FeedAnswer, FeedStatus, Kind

CONNECTIONS_MAX = 16
# From the first byte of a frame to its last.
FRAME_SECONDS_MAX = 10.0
NO_BUSINESS = FeedAnswer(status=FeedStatus.REFUSED, code="BUSINESS_FACE_OFF")


class EventSink(Protocol):
    """Whoever makes events durable."""

    def feed(self, events: Sequence[Event]) -> list[FeedAnswer]:
        """Stores what can be stored and answers for each, in order."""
        ...


class BusinessFace(Protocol):
    """Whoever lets a Sync ride on an app's own requests."""

    def profile(self) -> str:
        """The value of the next `shoal-profile` header; empty when there is none."""
        ...

    async def take_changes(self, header: str) -> FeedAnswer:
        """Takes a `shoal-changes` header in."""
        ...


class FeederServer:
    """Listens on a Unix socket, hands batches to the sink and headers to the business face."""

    def __init__(
        self,
        path: Path,
        sink: EventSink,
        *,
        business: BusinessFace | None = None,
        on_invalid: Callable[[str], None] = lambda _: None,
        frame_seconds_max: float = FRAME_SECONDS_MAX,
    ) -> None:
        self._frame_seconds_max = frame_seconds_max
        self._path = path
        self._sink = sink
        self._business = business
        self._on_invalid = on_invalid
        self._server: asyncio.Server | None = None
        # Connections, that which spoke last at the end; and those that wait for a frame.
        self._connections: dict[asyncio.Task[None], None] = {}
        self._idle: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listens; a socket that a killed agent left behind is replaced (the home's lock guards it)."""
        check_socket_path(self._path)
        self._path.unlink(missing_ok=True)
        previous = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, path=str(self._path))
        finally:
            os.umask(previous)

    async def close(self) -> None:
        """Stops listening and ends the connections; a batch in the sink's hands is done first."""
        if self._server is None:
            return
        self._server.close()
        open_now = list(self._connections)
        for task in open_now:
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)
        await self._server.wait_closed()
        self._path.unlink(missing_ok=True)
        self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if not self._has_room():
            writer.close()
            return
        self._connections[task] = None
        try:
            while True:
                writer.write(await self._answer(reader, task))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the feeder hung up, or the agent stops: what was answered is durable
        except FrameInvalid as error:
            self._on_invalid(str(error))
        except TimeoutError:
            self._on_invalid(f"a frame did not end within {self._frame_seconds_max:g} s")
        finally:
            self._connections.pop(task, None)
            self._idle.discard(task)
            writer.close()

    def _has_room(self) -> bool:
        """Whether one more may come; ends the longest idle connection when there are too many."""
        if len(self._connections) < CONNECTIONS_MAX:
            return True
        longest = next((task for task in self._connections if task in self._idle), None)
        if longest is None:
            return False
        del self._connections[longest]
        longest.cancel()
        return True

    async def _frame(
        self, reader: asyncio.StreamReader, task: asyncio.Task[None]
    ) -> tuple[Kind, int, bytes]:
        """The next frame, whenever it begins."""
        self._idle.add(task)
        first = await reader.readexactly(1)
        self._idle.discard(task)
        if task in self._connections:
            self._connections[task] = self._connections.pop(task)
        async with asyncio.timeout(self._frame_seconds_max):
            header = first + await reader.readexactly(frames.HEADER.size - 1)
            kinds = (Kind.BATCH, Kind.PROFILE, Kind.CHANGES)
            kind, count, length = frames.decode_header(header, *kinds)
            return kind, count, await reader.readexactly(length)

    async def _answer(self, reader: asyncio.StreamReader, task: asyncio.Task[None]) -> bytes:
        kind, count, body = await self._frame(reader, task)
        if kind is Kind.BATCH:
            rows = frames.decode_batch(count, body)
            return frames.encode_answers(feed_rows(self._sink, rows))
        text = frames.decode_text(body)
        if kind is Kind.PROFILE:
            profile = self._business.profile() if self._business is not None else ""
            return frames.encode_text(Kind.PROFILE, profile)
        answer = NO_BUSINESS
        if self._business is not None:
            answer = await self._business.take_changes(text)
        return frames.encode_answers([answer])


def feed_rows(sink: EventSink, rows: Sequence[bytes]) -> list[FeedAnswer]:
    """Feeds the rows that are events; the others are refused as EVENT_INVALID."""
    events: list[Event | None] = []
    for row in rows:
        try:
            events.append(Event.from_bytes(row))
        except EventInvalid:
            events.append(None)
    answers = iter(sink.feed([event for event in events if event is not None]))
    refused = FeedAnswer(status=FeedStatus.REFUSED, code="EVENT_INVALID")
    return [refused if event is None else next(answers) for event in events]
