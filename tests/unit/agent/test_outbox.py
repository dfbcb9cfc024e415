"""What waits for the cloud: numbered without gaps, cut into messages, forgotten when told, renumbered whole."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from device_agent.agent.errors import PeerRefused
from device_agent.agent.messages import cut, notice, report_message, tunnel_message
from device_agent.agent.settings import AgentSettings
from device_agent.agent.store.outbox import Ack, Outcome, Report, ReportKind
from device_agent.agent.store.store import Store

SETTINGS = AgentSettings(reports_per_message_max=4, message_bytes_max=2_000, acks_per_sync_max=3)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "agent.db", random=Random(1), settings=SETTINGS)
    yield store
    store.close()


def report(payload: bytes = b"x", at_ms: int = 1) -> Report:
    return Report(
        kind=ReportKind.EMIT,
        task="echo",
        version=1,
        topic="answer",
        event_uid=bytes(16),
        at_ms=at_ms,
        payload=payload,
    )


def ack(number: int) -> Ack:
    return Ack(
        task="echo",
        version=number,
        digest="d",
        release_id="r",
        outcome=Outcome.INSTALLED,
        error_code="",
        at_ms=1,
        traceparent="",
    )


def append(store: Store, *reports: Report) -> None:
    with store.transaction():
        store.append_all(list(reports))


@pytest.mark.slow
@hypothesis_settings(max_examples=12)
@given(st.lists(st.integers(0, 3_000), max_size=12), st.integers(0, 12))
def test_messages_carry_every_report_once_in_order_and_within_their_limits(
    sizes: list[int], acknowledged: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "agent.db", random=Random(1), settings=SETTINGS)
        append(store, *(report(bytes(size), at_ms) for at_ms, size in enumerate(sizes, 1)))
        known = min(acknowledged, len(sizes))
        with store.transaction():
            store.outbox.acknowledge_reports(known)
        messages, after = [], 0
        while batch := store.outbox.reports(after):
            messages.append(batch)
            after = batch[-1].sequence
        store.close()
    said = [one for message in messages for one in message]
    assert [one.sequence for one in said] == list(range(known + 1, len(sizes) + 1))
    assert [(one.at_ms, len(one.payload)) for one in said] == [
        (at_ms, size) for at_ms, size in enumerate(sizes, 1) if at_ms > known
    ]
    for message in messages:
        assert len(message) <= SETTINGS.reports_per_message_max
        # One report may pass the limit by itself: it must be said, too.
        payloads = sum(len(one.payload) for one in message)
        assert payloads <= SETTINGS.message_bytes_max or len(message) == 1


def test_a_message_of_reports_fits_what_the_cloud_takes() -> None:
    """The frame that a report is counted with is no smaller than its frame on the wire."""
    longest = report(b"", at_ms=2**63 - 1)
    framed = report_message(longest).ByteSize() + len("e" * 63) * 2
    assert framed <= 256
    assert tunnel_message(bytes(16), [], [bytes(16)] * 2).ByteSize() < 100


@pytest.mark.parametrize("up_to", [3, 2**63, 2**64 - 1])
def test_a_cloud_that_knows_more_than_was_said_is_refused_and_nothing_goes(
    store: Store, up_to: int
) -> None:
    append(store, report(), report())
    with store.transaction():
        store.outbox.append_ack(ack(1))
    with pytest.raises(PeerRefused, match="copy"), store.transaction():
        store.outbox.acknowledge_reports(up_to)
    with pytest.raises(PeerRefused, match="copy"), store.transaction():
        store.outbox.acknowledge_acks(up_to)
    assert len(store.outbox.reports(0)) == 2
    assert store.outbox.ack_count() == 1


def test_an_acknowledgement_that_comes_again_or_late_changes_nothing(store: Store) -> None:
    append(store, *(report(bytes(number)) for number in range(5)))
    for up_to in (3, 3, 1, 0):
        with store.transaction():
            store.outbox.acknowledge_reports(up_to)
        assert [one.sequence for one in store.outbox.reports(0)] == [4, 5]
    agent = store.held.agent()
    assert (agent.reports_open, agent.reports_bytes) == (2, 3 + 4)


@pytest.mark.slow
@hypothesis_settings(max_examples=12)
@given(
    reports=st.integers(0, 7),
    acks=st.integers(0, 7),
    reports_known=st.integers(0, 7),
    acks_known=st.integers(0, 7),
)
def test_a_new_log_has_what_waited_in_its_order_from_1(
    reports: int, acks: int, reports_known: int, acks_known: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "agent.db", random=Random(1), settings=SETTINGS)
        append(store, *(report(at_ms=at_ms) for at_ms in range(1, reports + 1)))
        with store.transaction():
            for number in range(1, acks + 1):
                store.outbox.append_ack(ack(number))
            store.outbox.acknowledge_reports(min(reports_known, reports))
            store.outbox.acknowledge_acks(min(acks_known, acks))
        with store.transaction():
            store.outbox.renumber(b"n" * 16)
        waited = list(range(min(reports_known, reports) + 1, reports + 1))
        left = [one for after in (0, 4) for one in store.outbox.reports(after)]
        assert [one.at_ms for one in left] == waited
        assert [one.sequence for one in left] == list(range(1, len(waited) + 1))
        first = list(range(min(acks_known, acks) + 1, acks + 1))[: SETTINGS.acks_per_sync_max]
        assert [one.version for one in store.outbox.acks()] == first
        assert [one.sequence for one in store.outbox.acks()] == list(range(1, len(first) + 1))
        assert store.held.agent().boot == b"n" * 16
        append(store, report(at_ms=99))
        with store.transaction():
            number = store.outbox.append_ack(ack(99))
        assert store.outbox.reports(len(waited))[0].sequence == len(waited) + 1
        assert number == store.outbox.last_ack() == max(acks - min(acks_known, acks), 0) + 1
        store.close()


def test_a_reply_is_named_once_and_until_the_cloud_was_told(store: Store) -> None:
    ids = [bytes([number]) * 16 for number in (3, 1, 2)]
    for reply_id in [*ids, ids[0]]:
        with store.transaction():
            store.outbox.put_received(reply_id)
    assert store.outbox.received(10) == sorted(ids)
    assert store.outbox.received(2) == sorted(ids)[:2]
    with store.transaction():
        store.outbox.delete_received([ids[0], b"unknown"])
    assert store.outbox.received(10) == sorted(ids[1:])


@given(st.text(max_size=600) | st.text(alphabet="ä☃😀\ud800", max_size=600))
def test_a_text_is_cut_between_characters_and_fits(text: str) -> None:
    said = cut(text)
    whole = text.encode("utf-8", "replace").decode()
    assert whole.startswith(said)
    assert len(said.encode()) <= 512
    assert said == whole or len(said.encode()) > 512 - 4
    assert notice("CODE", text, 1).payload
