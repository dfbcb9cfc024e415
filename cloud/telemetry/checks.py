"""What a tunnel's message may hold: every limit of protos/shoal/telemetry, checked where it enters.

Rules of this module:

- Sequences of a message are gapless: a hole inside one is a broken device, refused before the database is asked.
- A kind of report that this version does not know passes: it is counted and acknowledged, not kept.
"""

from shoal.telemetry.v1 import telemetry_pb2

from cloud.telemetry.errors import TunnelInvalid
from cloud.telemetry.settings import TelemetrySettings
from device_agent.tasks.errors import NameInvalid
from device_agent.tasks.names import check_task_name, check_topic

BOOT_BYTES = 16
UID_BYTES = 16
_VERSION_MAX = 2**31 - 1
_INT64_MAX = 2**63 - 1
# What frames a report in a message, at most: field headers and the short texts.
_FRAME_BYTES = 256

EMIT = telemetry_pb2.REPORT_KIND_EMIT
RUN = telemetry_pb2.REPORT_KIND_RUN
NOTICE = telemetry_pb2.REPORT_KIND_NOTICE


def check_message(message: telemetry_pb2.TunnelRequest, settings: TelemetrySettings) -> None:
    """Checks a message of a device.

    Raises:
        TunnelInvalid: it breaks a limit.
    """
    reports = message.reports
    if len(reports) > settings.reports_max:
        raise TunnelInvalid(f"more than {settings.reports_max} reports in a message")
    if len(message.received_reply_ids) > settings.received_max:
        raise TunnelInvalid(f"more than {settings.received_max} reply ids in a message")
    if any(len(reply_id) != UID_BYTES for reply_id in message.received_reply_ids):
        raise TunnelInvalid(f"a reply id has {UID_BYTES} bytes")
    if not reports:
        return
    if len(message.boot) != BOOT_BYTES:
        raise TunnelInvalid(f"boot has {BOOT_BYTES} bytes")
    if message.ByteSize() > settings.message_bytes_max + len(reports) * _FRAME_BYTES:
        raise TunnelInvalid(
            f"a message holds at most {settings.message_bytes_max} bytes of reports"
        )
    first = reports[0].sequence
    for place, report in enumerate(reports):
        if report.sequence != first + place or not 0 < report.sequence < _INT64_MAX:
            raise TunnelInvalid("the reports of a message must follow each other, from 1")
        _check_report(report, settings)


def _check_report(report: telemetry_pb2.Report, settings: TelemetrySettings) -> None:
    if len(report.payload) > settings.payload_bytes_max:
        raise TunnelInvalid(f"a payload has at most {settings.payload_bytes_max} bytes")
    if report.kind not in (EMIT, RUN):
        return
    try:
        check_task_name(report.task)
        if report.kind == EMIT:
            check_topic(report.topic)
    except NameInvalid as error:
        raise TunnelInvalid(str(error)) from error
    if not 0 < report.version <= _VERSION_MAX:
        raise TunnelInvalid(f"a version is a number from 1 to {_VERSION_MAX}")
    if len(report.event_uid) != UID_BYTES:
        raise TunnelInvalid(f"event_uid has {UID_BYTES} bytes")
