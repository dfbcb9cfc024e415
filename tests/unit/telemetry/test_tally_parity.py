"""What reports come to, against a slow count of one after the other, for logs that are cut, repeated, out of order."""

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from shoal.telemetry.v1 import telemetry_pb2

from cloud.rpc.peer import DevicePeer
from cloud.telemetry.checks import check_message
from cloud.telemetry.errors import ReportGap, TunnelInvalid
from cloud.telemetry.records import decode_record, topic_of
from cloud.telemetry.settings import TelemetrySettings
from cloud.telemetry.tally import ReportBatch, Tally
from tests.helpers.release_sets import DEVICE, NAMESPACE
from tests.helpers.reports import BOOT, UID, emit, message, notice, run

PEER = DevicePeer(DEVICE, NAMESPACE)
SETTINGS = TelemetrySettings()
TASKS = ("digits", "other")
kinds = st.sampled_from(
    ["emit", "run ok", "run bad", "run odd", "notice", "unknown", "garbage run"]
)
logs = st.lists(st.tuples(kinds, st.sampled_from(TASKS), st.integers(1, 2)), max_size=12)
# Which part of the log a message carries: where it begins, and how many reports.
cuts = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 6)), max_size=8)


def made(kind: str, task: str, version: int, number: int) -> telemetry_pb2.Report:
    if kind == "emit":
        return emit(payload=str(number).encode(), task=task, version=version)
    if kind == "notice":
        return notice(text=str(number))
    if kind == "unknown":
        return telemetry_pb2.Report(kind=99, payload=b"x")  # type: ignore[arg-type]  # of a newer device
    report = run(
        {"run ok": "ok", "run bad": "WALL_LIMIT"}.get(kind, "odd outcome"),
        task=task,
        version=version,
    )
    if kind == "garbage run":
        report.payload = b"\xff\xff\xff"
    return report


@dataclass
class SlowCount:
    """One report after the other, each once, in order; what is out of order does not count."""

    mark: int = 0
    emits: dict[str, list[str]] = field(default_factory=dict)
    runs: Counter[tuple[str, int, str]] = field(default_factory=Counter)
    notices: list[str] = field(default_factory=list)
    counted: int = 0
    duplicates: int = 0
    gaps: int = 0
    unknown: int = 0

    def message(self, first: int, reports: list[tuple[str, str, int]]) -> bool:
        last = first + len(reports) - 1
        if last > self.mark and first > self.mark + 1:
            self.gaps += 1
            return False
        for number, (kind, task, version) in enumerate(reports, first):
            if number <= self.mark:
                self.duplicates += 1
                continue
            self.mark = number
            self.counted += 1
            if kind == "emit":
                self.emits.setdefault(task, []).append(str(number))
            elif kind == "notice":
                self.notices.append(str(number))
            elif kind == "unknown":
                self.unknown += 1
            else:
                outcome = {"run ok": "ok", "run bad": "WALL_LIMIT"}.get(kind, "UNKNOWN_OUTCOME")
                self.runs[task, version, outcome] += 1
        return True


@hypothesis_settings(max_examples=60)
@given(logs, cuts)
def test_every_report_counts_once_however_the_log_is_cut(
    log: list[tuple[str, str, int]], messages: list[tuple[int, int]]
) -> None:
    tally, slow, mark = Tally(settings=SETTINGS), SlowCount(), 0
    for start, count in messages:
        part = log[start : start + count]
        if not part:
            continue
        told = message(
            start + 1, *(made(*one, number) for number, one in enumerate(part, start + 1))
        )
        check_message(told, SETTINGS)
        batch = ReportBatch(peer=PEER, boot=BOOT.hex(), reports=tuple(told.reports))
        try:
            mark = tally.add(batch, mark)
        except ReportGap as gap:
            expected: int | None = gap.expected
        else:
            expected = None
        before = slow.mark
        assert slow.message(start + 1, part) == (expected is None)
        assert expected in (None, before + 1)
        assert mark == slow.mark
    assert {
        topic: [decode_record(payload).payload.decode() for _, payload in rows]
        for topic, rows in tally.records.items()
    } == {topic_of(NAMESPACE, task, "answer"): emits for task, emits in slow.emits.items()}
    assert {key[1:]: runs for key, runs in tally.runs.items()} == dict(slow.runs)
    assert [one.message for one in tally.notices] == slow.notices
    assert (tally.counted, tally.duplicates) == (slow.counted, slow.duplicates)
    assert (tally.gaps, tally.unknown) == (slow.gaps, slow.unknown)


@given(st.binary(max_size=60))
def test_a_notice_of_any_bytes_is_counted_and_can_be_stored(payload: bytes) -> None:
    report = telemetry_pb2.Report(
        kind=telemetry_pb2.REPORT_KIND_NOTICE, payload=payload, sequence=1
    )
    tally = Tally(settings=SETTINGS)
    assert tally.add(ReportBatch(peer=PEER, boot=BOOT.hex(), reports=(report,)), 0) == 1
    (one,) = tally.notices
    assert len(one.message) <= SETTINGS.notice_chars_max
    assert "\0" not in one.message + one.code
    assert one.code.isascii()
    assert 1 <= len(one.code) <= 64


numbers = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2, 2**63 - 2, 2**63 - 1, 2**63])
texts = st.sampled_from(["digits", "", "UP", "a/b", "x" * 64, "ok-1"])
reports = st.builds(
    telemetry_pb2.Report,
    sequence=numbers,
    kind=st.integers(0, 5),
    task=texts,
    topic=texts,
    version=st.sampled_from([0, 1, 2**31 - 1, 2**31, 2**32 - 1]),
    event_uid=st.sampled_from([UID, b"", b"short"]),
    payload=st.sampled_from([b"", b"x", bytes(64 * 1024), bytes(64 * 1024 + 1)]),
)
requests = st.builds(
    telemetry_pb2.TunnelRequest,
    boot=st.sampled_from([BOOT, b"", b"short"]),
    reports=st.lists(reports, max_size=3) | st.lists(reports, min_size=1, max_size=1),
    received_reply_ids=st.lists(st.sampled_from([UID, b"", b"short"]), max_size=2),
)


def is_name(text: str) -> bool:
    return 0 < len(text) <= 63 and text.replace("-", "a").isalnum() and text.islower()


def may_pass(request: telemetry_pb2.TunnelRequest) -> bool:
    """The limits of protos/shoal/telemetry, one by one."""
    if any(len(one) != 16 for one in request.received_reply_ids):
        return False
    if not request.reports:
        return True
    sequences = [report.sequence for report in request.reports]
    if len(request.boot) != 16 or min(sequences) < 1 or max(sequences) >= 2**63 - 1:
        return False
    if sequences != list(range(sequences[0], sequences[0] + len(sequences))):
        return False
    if sum(len(report.payload) for report in request.reports) > 256 * 1024:
        return False
    for report in request.reports:
        if len(report.payload) > 64 * 1024:
            return False
        if report.kind in (telemetry_pb2.REPORT_KIND_EMIT, telemetry_pb2.REPORT_KIND_RUN):
            topic = report.kind == telemetry_pb2.REPORT_KIND_RUN or is_name(report.topic)
            whole = 0 < report.version < 2**31 and len(report.event_uid) == 16
            if not (is_name(report.task) and topic and whole):
                return False
    return True


@hypothesis_settings(max_examples=40)
@given(requests)
def test_a_message_is_taken_when_each_of_its_limits_holds(
    request: telemetry_pb2.TunnelRequest,
) -> None:
    try:
        check_message(request, SETTINGS)
    except TunnelInvalid:
        assert not may_pass(request)
    else:
        assert may_pass(request)
