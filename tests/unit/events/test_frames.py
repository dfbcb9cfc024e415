"""The feeder's frames: round trips, and every way in which bytes are no frame."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.events import frames
from device_agent.events.errors import FrameInvalid
from device_agent.events.frames import FeedAnswer, FeedStatus, Kind

CODES = st.text(alphabet="ABCDEFGHIJKLMNOPQRSTUVWXYZ_", max_size=40)
ANSWERS = st.builds(FeedAnswer, status=st.sampled_from(FeedStatus), code=CODES)


def split(frame: bytes, kind: Kind) -> tuple[int, bytes]:
    header, body = frame[: frames.HEADER.size], frame[frames.HEADER.size :]
    _, count, length = frames.decode_header(header, kind)
    assert length == len(body)
    return count, body


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_a_batch_comes_back(events: list[bytes]) -> None:
    assert frames.decode_batch(*split(frames.encode_batch(events), Kind.BATCH)) == events


@given(st.lists(ANSWERS, max_size=20))
def test_answers_come_back(answers: list[FeedAnswer]) -> None:
    assert frames.decode_answers(*split(frames.encode_answers(answers), Kind.ANSWERS)) == answers


def test_golden_bytes() -> None:
    assert frames.encode_batch([b"ab"]).hex() == "53484644010101000600000002000000" + b"ab".hex()
    answer = FeedAnswer(status=FeedStatus.REFUSED, code="X")
    assert frames.encode_answers([answer]).hex() == "534846440102010003000000020158"


@given(st.binary(max_size=64), st.integers(0, 300))
def test_any_body_is_read_or_refused(body: bytes, count: int) -> None:
    for decode in (frames.decode_batch, frames.decode_answers):
        with contextlib.suppress(FrameInvalid):
            assert len(decode(count, body)) == count


@pytest.mark.parametrize(
    "header",
    [
        b"XXXX" + frames.encode_batch([])[4:],
        frames.encode_batch([])[:4] + b"\x02" + frames.encode_batch([])[5:],
        frames.encode_answers([]),
        frames.HEADER.pack(b"SHFD", 1, 1, frames.EVENTS_A_FRAME_MAX + 1, 0),
        frames.HEADER.pack(b"SHFD", 1, 1, 1, frames.BODY_BYTES_MAX + 1),
    ],
)
def test_headers_that_are_refused(header: bytes) -> None:
    with pytest.raises(FrameInvalid):
        frames.decode_header(header, Kind.BATCH)


@pytest.mark.parametrize(
    ("count", "body"), [(1, b""), (1, b"\x05\0\0\0ab"), (0, b"left"), (1, b"\xff\xff\xff\xff")]
)
def test_batches_that_are_refused(count: int, body: bytes) -> None:
    with pytest.raises(FrameInvalid):
        frames.decode_batch(count, body)


@pytest.mark.parametrize(
    ("count", "body"), [(1, b"\x09\0"), (1, b"\x00\x05ab"), (1, b"\x00\x01\xff")]
)
def test_answers_that_are_refused(count: int, body: bytes) -> None:
    with pytest.raises(FrameInvalid):
        frames.decode_answers(count, body)
