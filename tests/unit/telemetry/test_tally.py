from collections.abc import Callable

import pytest
from shoal.telemetry.v1 import telemetry_pb2

from cloud.rpc.peer import DevicePeer
from cloud.telemetry.checks import check_message
from cloud.telemetry.errors import RecordInvalid, ReportGap, TunnelInvalid
from cloud.telemetry.records import EmitRecord, decode_record, encode_record, topic_of
from cloud.telemetry.settings import TelemetrySettings
from cloud.telemetry.tally import UNKNOWN_CODE, UNKNOWN_OUTCOME, ReportBatch, Tally
from device_agent.tasks.errors import NameInvalid
from tests.helpers.release_sets import DEVICE, NAMESPACE
from tests.helpers.reports import BOOT, UID, emit, message, notice, run

PEER = DevicePeer(DEVICE, NAMESPACE)
SETTINGS = TelemetrySettings()


def batch(first: int, *reports: telemetry_pb2.Report) -> ReportBatch:
    told = message(first, *reports)
    return ReportBatch(peer=PEER, boot=told.boot.hex(), reports=tuple(told.reports))


def tally() -> Tally:
    return Tally(settings=SETTINGS)


def test_an_emit_becomes_a_record_under_its_topic_and_key() -> None:
    sums = tally()
    assert sums.add(batch(5, emit(payload=b"seven")), 4) == 5
    ((topic, ((key, payload),)),) = sums.records.items()
    assert topic == topic_of(NAMESPACE, "digits", "answer") == f"{NAMESPACE}/digits/answer"
    assert key == f"{DEVICE}:{BOOT.hex()}:5"
    assert decode_record(payload) == EmitRecord(
        device=DEVICE,
        boot=BOOT.hex(),
        sequence=5,
        version=1,
        event_uid=UID,
        at_ms=1_000,
        payload=b"seven",
    )


def test_runs_are_summed_by_outcome_and_version() -> None:
    sums = tally()
    sums.add(batch(1, run(), run(wall_us=5), run("WALL_LIMIT"), run(version=2)), 0)
    key = (NAMESPACE, "digits", 1, "ok")
    assert (sums.runs[key], sums.wall_us[key]) == (2, 15)
    assert sums.runs[NAMESPACE, "digits", 1, "WALL_LIMIT"] == 1
    assert sums.runs[NAMESPACE, "digits", 2, "ok"] == 1


@pytest.mark.parametrize("outcome", ["", "lower", "X" * 80, "ÄRGER", "A B"])
def test_an_outcome_that_is_no_code_is_counted_as_unknown(outcome: str) -> None:
    sums = tally()
    sums.add(batch(1, run(outcome)), 0)
    assert sums.runs[NAMESPACE, "digits", 1, UNKNOWN_OUTCOME] == 1


def test_payloads_that_cannot_be_read_still_count() -> None:
    sums, broken_run, broken_notice = tally(), run(), notice()
    broken_run.payload = broken_notice.payload = b"\xff"
    assert sums.add(batch(1, broken_run, broken_notice), 0) == 2
    assert sums.runs[NAMESPACE, "digits", 1, UNKNOWN_OUTCOME] == 1
    assert [one.code for one in sums.notices] == [UNKNOWN_CODE]


def test_a_notice_holds_nothing_that_a_database_refuses() -> None:
    tally = Tally(settings=TelemetrySettings())
    tally.add(batch(1, notice(text="a\0b")), 0)
    assert [kept.message for kept in tally.notices] == ["ab"]


def test_a_notice_is_kept_and_cut() -> None:
    sums = tally()
    sums.add(batch(1, notice(text="x" * 600)), 0)
    (kept,) = sums.notices
    assert (kept.code, len(kept.message), kept.device_id) == ("CLOCK_MENDED", 512, DEVICE)


def test_duplicates_are_dropped_and_what_follows_counts() -> None:
    sums = tally()
    assert sums.add(batch(3, emit(), emit(), emit()), 4) == 5
    assert (sums.counted, sums.duplicates) == (1, 2)
    assert sums.add(batch(1, emit()), 5) == 5
    assert sums.duplicates == 3


def test_a_gap_is_refused_whole_and_says_what_is_expected() -> None:
    sums = tally()
    with pytest.raises(ReportGap) as gap:
        sums.add(batch(7, emit(), run()), 4)
    assert gap.value.expected == 5
    assert gap.value.trailing == (("shoal-expected-sequence", "5"),)
    assert (sums.records, sums.runs, sums.gaps) == ({}, {}, 1)


def test_a_kind_of_tomorrow_is_acknowledged_and_not_kept() -> None:
    strange = emit()
    strange.kind = 77  # type: ignore[assignment]  # proto3 enums are open
    sums = tally()
    assert sums.add(batch(1, strange), 0) == 1
    assert (sums.unknown, sums.records) == (1, {})


def test_a_record_of_another_format_or_damaged_is_refused() -> None:
    record = EmitRecord(
        format=2, device="", boot="", sequence=1, version=1, event_uid=b"", at_ms=0, payload=b""
    )
    for data in (encode_record(record), b"", b"\x93\x01", encode_record(record)[:-1]):
        with pytest.raises(RecordInvalid):
            decode_record(data)


def test_a_topic_starts_with_a_namespace() -> None:
    with pytest.raises(NameInvalid):
        topic_of("nowhere", "digits", "answer")


def long_message() -> telemetry_pb2.TunnelRequest:
    return message(1, *(emit(payload=bytes(60_000)) for _ in range(5)))


def holed() -> telemetry_pb2.TunnelRequest:
    told = message(1, emit(), emit())
    told.reports[1].sequence = 3
    return told


BAD: dict[str, Callable[[], telemetry_pb2.TunnelRequest]] = {
    "reports": lambda: message(1, *(emit() for _ in range(257))),
    "bytes": long_message,
    "payload": lambda: message(1, emit(payload=bytes(65_537))),
    "boot": lambda: message(1, emit(), boot=b"short"),
    "hole": holed,
    "zero": lambda: message(0, emit()),
    "task": lambda: message(1, emit(task="../x")),
    "topic": lambda: message(1, emit(topic="a/b")),
    "version": lambda: message(1, emit(version=0)),
    "received": lambda: telemetry_pb2.TunnelRequest(received_reply_ids=[b"x" * 16] * 257),
    "reply": lambda: telemetry_pb2.TunnelRequest(received_reply_ids=[b"x"]),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_message_that_breaks_a_limit_is_refused(name: str) -> None:
    with pytest.raises(TunnelInvalid):
        check_message(BAD[name](), SETTINGS)


def test_a_good_message_passes() -> None:
    check_message(message(1, emit(), run(), notice()), SETTINGS)
    check_message(telemetry_pb2.TunnelRequest(), SETTINGS)
