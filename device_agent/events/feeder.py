"""How a program on the device hands events to the agent, and lets a Sync ride on its own requests.

Rules of this module:

- Standard library and shoal_task only, and blocking: it fits into any program.
- An answer means that the event is durable (accepted, duplicate) or was not stored (refused, with a code).
- When the connection breaks, events without an answer may be fed again with the same uid: duplicates are dropped.
"""

import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from shoal_task.event import Event

from device_agent.events import frames
from device_agent.events.errors import FeederUnreachable, FrameInvalid, SocketPathTooLong
from device_agent.events.frames import FeedAnswer, FeedStatus, Kind

__all__ = ["FeedAnswer", "FeedStatus", "FeederClient", "check_socket_path"]

SOCKET_PATH_BYTES_MAX = 107


def check_socket_path(path: str | Path) -> str:
    """The path as text.

    Raises:
        SocketPathTooLong: the operating system would cut it.
    """
    text = str(path)
    if len(text.encode()) > SOCKET_PATH_BYTES_MAX:
        raise SocketPathTooLong(
            f"{text} is longer than {SOCKET_PATH_BYTES_MAX} bytes; use a home folder with a shorter path"
        )
    return text


class FeederClient:
    """A connection to one agent's feeder socket.

    Example:
        with FeederClient(home / "agent.sock") as feeder:
            answers = feeder.feed([Event(1001, pixels, uid=os.urandom(16))])
    """

    def __init__(self, path: str | Path, *, timeout_s: float = 10.0) -> None:
        self._path = check_socket_path(path)
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        self._connected()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; the next feed opens a new one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def feed(self, events: Sequence[Event]) -> list[FeedAnswer]:
        """Hands over events, in order, and waits until the agent has answered for each.

        Raises:
            EventInvalid: an event has a field out of range; nothing after it was sent.
            FeederUnreachable: no agent answered; what had no answer may be fed again.
        """
        answers: list[FeedAnswer] = []
        for batch in _batches([event.to_bytes() for event in events]):
            answers.extend(self._exchange(batch))
        return answers

    def profile(self) -> str:
        """The value of a `shoal-profile` header for the app's next request to its own cloud; empty: send none.

        Raises:
            FeederUnreachable: no agent answered.
        """
        _, body = self._ask(frames.encode_text(Kind.PROFILE, ""), Kind.PROFILE)
        return frames.decode_text(body)

    def take_changes(self, header: str) -> FeedAnswer:
        """Hands over the `shoal-changes` header of a response; the agent verifies what it says.

        Raises:
            FeederUnreachable: no agent answered.
            FrameInvalid: it is no header of ours.
        """
        if not header.isascii() or len(header) > frames.TEXT_CHARS_MAX:
            raise FrameInvalid(f"a header has at most {frames.TEXT_CHARS_MAX} ASCII characters")
        (answer,) = self._answers(frames.encode_text(Kind.CHANGES, header), 1)
        return answer

    def _exchange(self, batch: Sequence[bytes]) -> list[FeedAnswer]:
        return self._answers(frames.encode_batch(batch), len(batch))

    def _answers(self, frame: bytes, expected: int) -> list[FeedAnswer]:
        count, body = self._ask(frame, Kind.ANSWERS)
        answers = frames.decode_answers(count, body)
        if len(answers) != expected:
            self.close()
            raise FeederUnreachable(f"{len(answers)} answers came to {expected} questions")
        return answers

    def _ask(self, frame: bytes, kind: Kind) -> tuple[int, bytes]:
        kept = self._socket is not None
        try:
            try:
                return self._say(frame, kind)
            except ConnectionError:
                self.close()
                if not kept:
                    raise
            # The agent was started again since, or needed the room. What it took before is a duplicate now.
            return self._say(frame, kind)
        except (OSError, FrameInvalid) as error:
            self.close()
            raise FeederUnreachable(
                f"{self._path}: {error}; start the agent with `shoal-agent run`, then ask again"
            ) from error

    def _say(self, frame: bytes, kind: Kind) -> tuple[int, bytes]:
        connection = self._connected()
        connection.sendall(frame)
        header = _read(connection, frames.HEADER.size)
        _, count, length = frames.decode_header(header, kind)
        return count, _read(connection, length)

    def _connected(self) -> socket.socket:
        if self._socket is None:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(self._timeout_s)
            try:
                connection.connect(self._path)
            except OSError as error:
                connection.close()
                raise FeederUnreachable(
                    f"{self._path}: {error}; start the agent with `shoal-agent run`"
                ) from error
            self._socket = connection
        return self._socket


def _read(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise ConnectionResetError("the agent closed the connection")
        data += part
    return bytes(data)


def _batches(events: Sequence[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for event in events:
        row = len(event) + 4
        full = len(batch) == frames.EVENTS_A_FRAME_MAX or size + row > frames.BODY_BYTES_MAX
        if batch and full:
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += row
    if batch:
        yield batch
