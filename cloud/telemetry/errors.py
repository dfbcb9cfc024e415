"""Errors of telemetry.

ShoalError
├── TelemetryError
│   ├── TunnelInvalid     the device's fault: a message that breaks a limit
│   ├── TelemetryBusy     ours: too many tunnels, or too many messages wait for the database
│   ├── ReplyInvalid      the consumer's fault: a reply that no device could take
│   ├── RepliesFull       the device's or the consumer's: too many replies wait for it
│   └── RecordInvalid     the bus's: bytes that are no record of a known version
└── TrailedError
    └── ReportGap         the device's: reports before these were never received
"""

from typing import ClassVar

from cloud.rpc.errors import TrailedError
from device_agent.errors import ShoalError

EXPECTED_SEQUENCE_KEY = "shoal-expected-sequence"


class TelemetryError(ShoalError):
    """The root of telemetry's errors."""

    code: ClassVar[str] = "TELEMETRY_ERROR"


class TunnelInvalid(TelemetryError):
    """A message of the tunnel breaks a limit; the message says which."""

    code: ClassVar[str] = "TUNNEL_INVALID"
    status: ClassVar[str] = "INVALID_ARGUMENT"


class TelemetryBusy(TelemetryError):
    """The server has as many tunnels or waiting messages as it takes."""

    code: ClassVar[str] = "TELEMETRY_BUSY"
    status: ClassVar[str] = "RESOURCE_EXHAUSTED"


class ReplyInvalid(TelemetryError):
    """A reply that no device could take."""

    code: ClassVar[str] = "REPLY_INVALID"
    status: ClassVar[str] = "INVALID_ARGUMENT"


class RepliesFull(TelemetryError):
    """As many replies wait for the device as may."""

    code: ClassVar[str] = "REPLIES_FULL"
    status: ClassVar[str] = "RESOURCE_EXHAUSTED"


class RecordInvalid(TelemetryError):
    """Bytes on the bus that are no record of a known version."""

    code: ClassVar[str] = "RECORD_INVALID"
    status: ClassVar[str] = "DATA_LOSS"


class ReportGap(TrailedError):
    """Reports before these were never received."""

    code: ClassVar[str] = "REPORT_GAP"
    status: ClassVar[str] = "FAILED_PRECONDITION"

    def __init__(self, expected: int) -> None:
        super().__init__(
            f"the next report of this boot must be number {expected}: send it again from there, "
            "or begin a new boot if it is gone",
            trailing=((EXPECTED_SEQUENCE_KEY, str(expected)),),
        )
        self.expected = expected
