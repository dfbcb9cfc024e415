"""What a batch of reports comes to: records for the bus, counts of runs, notices. Pure.

Rules of this module:

- Only reports above the mark count; a first one that does not follow it is a gap, and the whole message is refused.
- Outcomes of runs are "ok" or a code of the catalogue's form; others are counted as UNKNOWN_OUTCOME.
"""

import re
from collections import Counter
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError
from shoal.telemetry.v1 import telemetry_pb2

from cloud.rpc.peer import DevicePeer
from cloud.telemetry.checks import EMIT, NOTICE, RUN
from cloud.telemetry.errors import ReportGap
from cloud.telemetry.records import EmitRecord, encode_record, topic_of
from cloud.telemetry.settings import TelemetrySettings

UNKNOWN_OUTCOME = "UNKNOWN_OUTCOME"
UNKNOWN_CODE = "UNKNOWN_CODE"
_CODE = re.compile(r"[A-Z][A-Z0-9_]{1,63}")
# A run is limited to minutes; more is a broken clock.
_WALL_US_MAX = 3_600_000_000

type RunKey = tuple[str, str, int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportBatch:
    """The reports of one message."""

    peer: DevicePeer
    boot: str
    reports: tuple[telemetry_pb2.Report, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        """What sequences are counted by."""
        return (self.peer.namespace, self.peer.device_id, self.boot)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What an agent says of itself."""

    namespace: str
    device_id: str
    at_ms: int
    code: str
    message: str


@dataclass(slots=True, kw_only=True)
class Tally:
    """Sums over several batches.

    Attributes:
        records: By topic, in the order of arrival: (key, payload).
        runs: How often and how long (µs), by (namespace, task, version, outcome).
        unknown: Reports of kinds that this version does not know.
    """

    settings: TelemetrySettings
    records: dict[str, list[tuple[str, bytes]]] = field(default_factory=dict)
    runs: Counter[RunKey] = field(default_factory=Counter)
    wall_us: Counter[RunKey] = field(default_factory=Counter)
    notices: list[Notice] = field(default_factory=list)
    counted: int = 0
    duplicates: int = 0
    gaps: int = 0
    unknown: int = 0

    def add(self, batch: ReportBatch, mark: int) -> int:
        """Counts a message whose log was counted up to `mark`; gives the new mark.

        Raises:
            ReportGap: reports between the mark and the message are missing.
        """
        new = [report for report in batch.reports if report.sequence > mark]
        if new and new[0].sequence != mark + 1:
            self.gaps += 1
            raise ReportGap(mark + 1)
        for report in new:
            self._add(batch, report)
        self.counted += len(new)
        self.duplicates += len(batch.reports) - len(new)
        return new[-1].sequence if new else mark

    def _add(self, batch: ReportBatch, report: telemetry_pb2.Report) -> None:
        if report.kind == EMIT:
            self._add_emit(batch, report)
        elif report.kind == RUN:
            self._add_run(batch, report)
        elif report.kind == NOTICE:
            self._add_notice(batch, report)
        else:
            self.unknown += 1

    def _add_emit(self, batch: ReportBatch, report: telemetry_pb2.Report) -> None:
        record = EmitRecord(
            device=batch.peer.device_id,
            boot=batch.boot,
            sequence=report.sequence,
            version=report.version,
            event_uid=report.event_uid,
            at_ms=report.at_ms,
            payload=report.payload,
        )
        topic = topic_of(batch.peer.namespace, report.task, report.topic)
        self.records.setdefault(topic, []).append((record.key, encode_record(record)))

    def _add_run(self, batch: ReportBatch, report: telemetry_pb2.Report) -> None:
        summary = telemetry_pb2.RunSummary()
        outcome = summary.outcome if _read(summary, report.payload) else UNKNOWN_OUTCOME
        if outcome != "ok" and not _CODE.fullmatch(outcome):
            outcome = UNKNOWN_OUTCOME
        key = (batch.peer.namespace, report.task, report.version, outcome)
        self.runs[key] += 1
        self.wall_us[key] += min(summary.wall_us, _WALL_US_MAX)

    def _add_notice(self, batch: ReportBatch, report: telemetry_pb2.Report) -> None:
        notice = telemetry_pb2.AgentNotice()
        readable = _read(notice, report.payload) and _CODE.fullmatch(notice.code)
        self.notices.append(
            Notice(
                namespace=batch.peer.namespace,
                device_id=batch.peer.device_id,
                at_ms=report.at_ms,
                code=notice.code if readable else UNKNOWN_CODE,
                # PostgreSQL takes no NUL in a text; one report must not stop those behind it.
                message=notice.message[: self.settings.notice_chars_max].replace("\0", ""),
            )
        )


def _read(message: telemetry_pb2.RunSummary | telemetry_pb2.AgentNotice, payload: bytes) -> bool:
    """Fills the message; False when the payload is none. The report counts either way: it is in the log."""
    try:
        message.ParseFromString(payload)
    except DecodeError:
        return False
    return True
