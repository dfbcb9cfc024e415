"""Reports as a device's log holds them.

message(1, emit(topic="answer", payload=b"7"), run("ok"), notice("CLOCK_MENDED"))   # sequences 1, 2, 3
"""

from shoal.telemetry.v1 import telemetry_pb2

BOOT = bytes(range(16))
UID = b"u" * 16


def emit(
    topic: str = "answer", payload: bytes = b"7", task: str = "digits", version: int = 1
) -> telemetry_pb2.Report:
    return telemetry_pb2.Report(
        kind=telemetry_pb2.REPORT_KIND_EMIT,
        task=task,
        version=version,
        topic=topic,
        event_uid=UID,
        at_ms=1_000,
        payload=payload,
    )


def run(
    outcome: str = "ok", wall_us: int = 10, task: str = "digits", version: int = 1
) -> telemetry_pb2.Report:
    summary = telemetry_pb2.RunSummary(outcome=outcome, wall_us=wall_us)
    return telemetry_pb2.Report(
        kind=telemetry_pb2.REPORT_KIND_RUN,
        task=task,
        version=version,
        event_uid=UID,
        at_ms=1_000,
        payload=summary.SerializeToString(),
    )


def notice(code: str = "CLOCK_MENDED", text: str = "by 3 s") -> telemetry_pb2.Report:
    payload = telemetry_pb2.AgentNotice(code=code, message=text).SerializeToString()
    return telemetry_pb2.Report(kind=telemetry_pb2.REPORT_KIND_NOTICE, at_ms=1_000, payload=payload)


def message(
    first: int, *reports: telemetry_pb2.Report, boot: bytes = BOOT
) -> telemetry_pb2.TunnelRequest:
    for place, report in enumerate(reports):
        report.sequence = first + place
    return telemetry_pb2.TunnelRequest(boot=boot, reports=reports)
