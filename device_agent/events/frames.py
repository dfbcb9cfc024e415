"""The frames that programs on the device and the agent speak over the Unix socket.

Rules of this module:

- Standard library only: whoever feeds events carries nothing else.
- Little-endian, versioned, bounded; what is unknown or too long is refused before it is read into memory.
- A request is a batch of events in their one binary form; the answer has one row an event, in the same order.

Layout:

    frame    magic 4s "SHFD" | version u8 | kind u8 | count u16 | body length u32 | body
    1 batch    count times: length u32 | event bytes                       -> answers
    2 answers  count times: status u8 (0 accepted, 1 duplicate, 2 refused) | code length u8 | code (ASCII)
    3 profile  request: empty; answer: the value of a shoal-profile header (ASCII), empty when there is none
    4 changes  the value of a shoal-changes header (ASCII)                 -> answers, one row
"""

import enum
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from shoal_task.event import HEADER_BYTES, PAYLOAD_BYTES_MAX

from device_agent.events.errors import FrameInvalid

HEADER = struct.Struct("<4sBBHI")
BODY_BYTES_MAX = 1024 * 1024
EVENTS_A_FRAME_MAX = 256
TEXT_CHARS_MAX = 4096
EVENT_BYTES_MAX = HEADER_BYTES + PAYLOAD_BYTES_MAX
_MAGIC = b"SHFD"
_VERSION = 1
_LENGTH = struct.Struct("<I")
_ANSWER = struct.Struct("<BB")


class Kind(enum.IntEnum):
    """What a frame carries."""

    BATCH = 1
    ANSWERS = 2
    PROFILE = 3
    CHANGES = 4


class FeedStatus(enum.StrEnum):
    """What became of one event."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REFUSED = "refused"


_STATUSES = (FeedStatus.ACCEPTED, FeedStatus.DUPLICATE, FeedStatus.REFUSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedAnswer:
    """The agent's answer about one event, given after the durable commit.

    Attributes:
        status: Accepted and duplicate events are durable; refused ones are not stored.
        code: Why it was refused, e.g. "EVENT_LOG_FULL"; empty otherwise.
    """

    status: FeedStatus
    code: str = ""


def encode_frame(kind: Kind, count: int, body: bytes) -> bytes:
    """A whole frame around `body`."""
    assert count <= EVENTS_A_FRAME_MAX
    assert len(body) <= BODY_BYTES_MAX
    return HEADER.pack(_MAGIC, _VERSION, kind, count, len(body)) + body


def decode_header(data: bytes, *expected: Kind) -> tuple[Kind, int, int]:
    """Kind of the frame, count of its rows, and length of the body that follows.

    Raises:
        FrameInvalid: not a frame of this version and of an expected kind, or over a limit.
    """
    magic, version, kind, count, length = HEADER.unpack(data)
    if magic != _MAGIC or version != _VERSION or kind not in expected:
        names = " or ".join(one.name for one in expected)
        raise FrameInvalid(f"not a {names} frame of version {_VERSION}: {data!r}")
    if count > EVENTS_A_FRAME_MAX or length > BODY_BYTES_MAX:
        raise FrameInvalid(
            f"a frame of {count} events and {length} bytes is over the limit of "
            f"{EVENTS_A_FRAME_MAX} events and {BODY_BYTES_MAX} bytes; send smaller batches"
        )
    return Kind(kind), count, length


def encode_text(kind: Kind, text: str) -> bytes:
    """A frame around the value of a header.

    Raises:
        UnicodeEncodeError: the value is not ASCII.
    """
    return encode_frame(kind, 0, text.encode("ascii"))


def decode_text(body: bytes) -> str:
    """The value of a header.

    Raises:
        FrameInvalid: it is longer than a header may be, or not ASCII.
    """
    if len(body) > TEXT_CHARS_MAX or not body.isascii():
        raise FrameInvalid(
            f"{len(body)} bytes are no header of at most {TEXT_CHARS_MAX} characters"
        )
    return body.decode("ascii")


def encode_batch(events: Sequence[bytes]) -> bytes:
    """A request that carries `events`, which the caller has kept within the limits."""
    body = b"".join(_LENGTH.pack(len(event)) + event for event in events)
    return encode_frame(Kind.BATCH, len(events), body)


def decode_batch(count: int, body: bytes) -> list[bytes]:
    """The events' bytes of a batch's body; each may still be no event.

    Raises:
        FrameInvalid: rows and body do not fit each other.
    """
    events: list[bytes] = []
    place = 0
    for _ in range(count):
        if place + _LENGTH.size > len(body):
            raise FrameInvalid("the body ends inside a row")
        (length,) = _LENGTH.unpack_from(body, place)
        place += _LENGTH.size
        if length > EVENT_BYTES_MAX or place + length > len(body):
            raise FrameInvalid(f"a row of {length} bytes does not fit its frame")
        events.append(body[place : place + length])
        place += length
    if place != len(body):
        raise FrameInvalid(f"{len(body) - place} bytes are left over after {count} rows")
    return events


def encode_answers(answers: Sequence[FeedAnswer]) -> bytes:
    """The answer to a batch."""
    rows = []
    for answer in answers:
        code = answer.code.encode("ascii")
        rows.append(_ANSWER.pack(_STATUSES.index(answer.status), len(code)) + code)
    return encode_frame(Kind.ANSWERS, len(answers), b"".join(rows))


def decode_answers(count: int, body: bytes) -> list[FeedAnswer]:
    """The rows of an answer's body.

    Raises:
        FrameInvalid: rows and body do not fit each other.
    """
    answers: list[FeedAnswer] = []
    place = 0
    for _ in range(count):
        if place + _ANSWER.size > len(body):
            raise FrameInvalid("the body ends inside a row")
        status, length = _ANSWER.unpack_from(body, place)
        place += _ANSWER.size
        code = body[place : place + length]
        place += length
        if status >= len(_STATUSES) or len(code) != length or not code.isascii():
            raise FrameInvalid(f"row {len(answers)} is no answer")
        answers.append(FeedAnswer(status=_STATUSES[status], code=code.decode("ascii")))
    if place != len(body):
        raise FrameInvalid(f"{len(body) - place} bytes are left over after {count} rows")
    return answers
