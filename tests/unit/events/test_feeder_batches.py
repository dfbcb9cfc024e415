"""How events are cut into frames: every frame is one that the agent takes, and nothing is lost or changes its place."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from shoal_task.event import HEADER_BYTES, PAYLOAD_BYTES_MAX, Event

from device_agent.events import frames
from device_agent.events.feeder import _batches
from device_agent.events.frames import FeedAnswer, FeedStatus, Kind
from device_agent.events.server import feed_rows
from tests.helpers.devices import event

sizes = st.lists(
    st.sampled_from([HEADER_BYTES, HEADER_BYTES + 1, 4_096, HEADER_BYTES + PAYLOAD_BYTES_MAX]),
    max_size=40,
)


class Sink:
    """Refuses events whose payload says so; keeps the rest."""

    def __init__(self) -> None:
        self.kept: list[Event] = []

    def feed(self, events: Sequence[Event]) -> list[FeedAnswer]:
        answers = []
        for one in events:
            refused = one.payload == b"no"
            status = FeedStatus.REFUSED if refused else FeedStatus.ACCEPTED
            answers.append(FeedAnswer(status=status, code="EVENT_LOG_FULL" if refused else ""))
            if not refused:
                self.kept.append(one)
        return answers


@hypothesis_settings(max_examples=20)
@given(sizes, st.integers(0, 600))
def test_every_batch_is_a_frame_and_together_they_are_the_events(
    lengths: list[int], small: int
) -> None:
    events = [bytes([number % 256]) * length for number, length in enumerate(lengths)]
    events += [bytes(HEADER_BYTES)] * small
    batches = list(_batches(events))
    assert [one for batch in batches for one in batch] == events
    for batch in batches:
        assert batch
        frame = frames.encode_batch(batch)
        _, count, length = frames.decode_header(frame[: frames.HEADER.size], Kind.BATCH)
        assert length == len(frame) - frames.HEADER.size
        assert frames.decode_batch(count, frame[frames.HEADER.size :]) == batch
    for before, after in pairwise(batches):
        rows = [*before, after[0]]
        size = sum(4 + len(row) for row in rows)
        full = len(rows) > frames.EVENTS_A_FRAME_MAX or size > frames.BODY_BYTES_MAX
        assert full, "no frame is sent half-empty"


@hypothesis_settings(max_examples=30)
@given(st.lists(st.sampled_from(["good", "no", "garbage", "cut", "empty"]), max_size=12))
def test_each_row_has_its_answer_in_its_place(kinds: list[str]) -> None:
    rows = []
    for number, kind in enumerate(kinds):
        whole = event(number, payload=b"no" if kind == "no" else b"x").to_bytes()
        rows.append(
            {"garbage": b"g" * len(whole), "cut": whole[:-1], "empty": b""}.get(kind, whole)
        )
    sink = Sink()
    answers = feed_rows(sink, rows)
    expected = {"good": "", "no": "EVENT_LOG_FULL"}
    assert [one.code for one in answers] == [expected.get(kind, "EVENT_INVALID") for kind in kinds]
    good = [number for number, kind in enumerate(kinds) if kind == "good"]
    assert [one.uid for one in sink.kept] == [event(number).uid for number in good]
