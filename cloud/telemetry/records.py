"""A task's emit as it lies on the bus: the same bytes in the embedded log, in Redis and in a consumer's hands.

Rules of this module:

- MessagePack array, its first element the version; another version is refused, never guessed at.
- The key names the report for ever: whoever sees a key twice has seen one report twice.
- Golden bytes: tests/unit/telemetry/test_records.py.
"""

from typing import Final

import msgspec

from cloud.telemetry.errors import RecordInvalid
from device_agent.tasks.names import Namespace

VERSION: Final = 1


class EmitRecord(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """One emit.

    Attributes:
        format: VERSION.
        device: Device id.
        boot: Identity of the device's report log, hex.
        sequence: Its place in that log.
        version: Version of the task that emitted.
        event_uid: 16 bytes: the event that caused it.
        at_ms: The device's trusted wall clock.
        payload: The task's bytes.
    """

    format: int = VERSION
    device: str
    boot: str
    sequence: int
    version: int
    event_uid: bytes
    at_ms: int
    payload: bytes

    @property
    def key(self) -> str:
        """Its name on the bus."""
        return f"{self.device}:{self.boot}:{self.sequence}"


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(EmitRecord)


def encode_record(record: EmitRecord) -> bytes:
    """The record's bytes."""
    return _encoder.encode(record)


def decode_record(data: bytes) -> EmitRecord:
    """Reads a record.

    Raises:
        RecordInvalid: it is damaged or of another version.
    """
    try:
        record = _decoder.decode(data)
    except (ValueError, RecursionError) as error:  # DecodeError is a ValueError, and so is no UTF-8
        raise RecordInvalid(f"not a record: {error}") from error
    if record.format != VERSION:
        raise RecordInvalid(f"a record of format {record.format}; update this consumer")
    return record


def topic_of(namespace: str, task: str, topic: str) -> str:
    """Name on the bus of what a task emits to `topic`."""
    return f"{Namespace.parse(namespace)}/{task}/{topic}"
