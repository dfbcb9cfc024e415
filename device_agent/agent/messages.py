"""The wire's messages from the agent's values, and back; nothing else in the agent builds or reads a message."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from shoal.device.v1 import device_pb2
from shoal.identity.v1 import identity_pb2
from shoal.telemetry.v1 import telemetry_pb2

from device_agent.agent.store.held import TaskRow
from device_agent.agent.store.outbox import Ack, Report, ReportKind

TEXT_BYTES_MAX = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the device says of itself."""

    agent_version: str
    guest_api: int
    op_set: int
    python_tag: str
    cpu_features: tuple[str, ...]
    os: str
    os_version: str
    app_version: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)

    def message(self) -> identity_pb2.DeviceFacts:
        """The facts on the wire."""
        return identity_pb2.DeviceFacts(
            agent_version=self.agent_version,
            guest_api=self.guest_api,
            op_set=self.op_set,
            python_tag=self.python_tag,
            cpu_features=sorted(self.cpu_features),
            os=self.os,
            os_version=self.os_version,
            app_version=self.app_version,
            attributes=dict(self.attributes),
        )

    def digest(self) -> str:
        """Names these facts, so that a change is seen."""
        return hashlib.sha256(self.message().SerializeToString(deterministic=True)).hexdigest()


def installed_message(
    row: TaskRow, *, killed: bool, python_tag: str, tries_max: int
) -> device_pb2.InstalledTask:
    """One row of the profile: what is wanted if that is open, else what runs."""
    wanted = row.wanted
    if wanted is not None:
        failed = row.tries >= tries_max or (row.told != "" and row.tries > 0)
        state = device_pb2.TASK_STATE_FAILED if failed else device_pb2.TASK_STATE_PENDING
        version = _version(wanted.task, wanted.version, wanted.digest)
    else:
        version = _version(row.task, row.version, row.digest)
        if row.python_tag != python_tag:
            state = device_pb2.TASK_STATE_FAILED
        elif row.quarantined:
            state = device_pb2.TASK_STATE_QUARANTINED
        else:
            state = device_pb2.TASK_STATE_KILLED if killed else device_pb2.TASK_STATE_INSTALLED
    return device_pb2.InstalledTask(version=version, state=state)


def ack_message(ack: Ack, boot: bytes) -> device_pb2.Acknowledgement:
    """An acknowledgement on the wire."""
    return device_pb2.Acknowledgement(
        boot=boot,
        sequence=ack.sequence,
        version=_version(ack.task, ack.version, ack.digest),
        release_id=ack.release_id,
        outcome=device_pb2.Outcome.Name(int(ack.outcome)),
        error_code=ack.error_code,
        at_ms=ack.at_ms,
        traceparent=ack.traceparent,
    )


def report_message(report: Report) -> telemetry_pb2.Report:
    """A report on the wire."""
    return telemetry_pb2.Report(
        sequence=report.sequence,
        kind=telemetry_pb2.ReportKind.Name(int(report.kind)),
        task=report.task,
        version=report.version,
        topic=report.topic,
        event_uid=report.event_uid,
        at_ms=report.at_ms,
        payload=report.payload,
    )


def tunnel_message(
    boot: bytes, reports: Iterable[Report], received: Iterable[bytes]
) -> telemetry_pb2.TunnelRequest:
    """One message of the tunnel."""
    return telemetry_pb2.TunnelRequest(
        boot=boot,
        reports=[report_message(report) for report in reports],
        received_reply_ids=list(received),
    )


def notice(code: str, message: str, now_ms: int) -> Report:
    """What the agent says of itself, as a report."""
    payload = telemetry_pb2.AgentNotice(code=code, message=cut(message)).SerializeToString()
    return Report(
        kind=ReportKind.NOTICE,
        task="",
        version=0,
        topic="",
        event_uid=b"",
        at_ms=now_ms,
        payload=payload,
    )


def run_report(
    task: str, version: int, uid: bytes, outcome: str, wall_us: int, message: str, now_ms: int
) -> Report:
    """How a run ended, as a report."""
    summary = telemetry_pb2.RunSummary(outcome=outcome, wall_us=wall_us, message=cut(message))
    return Report(
        kind=ReportKind.RUN,
        task=task,
        version=version,
        topic="",
        event_uid=uid,
        at_ms=now_ms,
        payload=summary.SerializeToString(),
    )


def cut(text: str) -> str:
    """The text within TEXT_BYTES_MAX bytes of UTF-8, never cut inside a character."""
    return text.encode("utf-8", "replace")[:TEXT_BYTES_MAX].decode("utf-8", "ignore")


def _version(task: str, version: int, digest: str) -> identity_pb2.TaskVersion:
    return identity_pb2.TaskVersion(task=task, version=version, digest=digest)
