"""An event in its one binary form: the same bytes in memory, on disk, in a VM and in the tunnel.

Rules of this module:

- It imports `struct` and `binascii` only, because it loads in every VM.
- An event that is read from bytes keeps its payload where it lies: `view` shows it there, `payload` is a copy that is
  made when it is first asked for. From a buffer that others may write into, it is copied at once.
- Little-endian, fixed header, versioned, checksummed, bounded; unknown versions and flags are refused.

Layout (64 bytes, then the payload):

    magic 4s "SHEV" | version u8 | flags u8 | reserved u16 | event_id u32 | page_id u32 | sequence u64
    | monotonic_ns u64 | wall_ms i64 | uid 16s | payload length u32 | crc32 of header (crc field 0) and payload u32
"""

import binascii
import struct

HEADER = struct.Struct("<4sBBHIIQQq16sII")
HEADER_BYTES = 64
PAYLOAD_BYTES_MAX = 64 * 1024
UID_BYTES = 16
_MAGIC = b"SHEV"
_VERSION = 1
assert HEADER.size == HEADER_BYTES


class EventInvalid(ValueError):
    """The bytes are not an event of a known version; the message says which check failed."""


class Event:
    """One behaviour event.

    Attributes:
        event_id: What happened; the schema of the payload goes by it.
        page_id: Page on which it happened; 0 when there is none.
        sequence: Place in the device's event log; 0 until it was logged.
        monotonic_ns: Monotonic clock when it happened, for order and distances.
        wall_ms: Trusted wall clock when it happened, milliseconds since 1970.
        uid: 16 bytes that name this event for ever; the same uid twice is the same event.
    """

    __slots__ = ("_payload", "event_id", "monotonic_ns", "page_id", "sequence", "uid", "wall_ms")

    def __init__(
        self,
        event_id: int,
        payload: bytes | memoryview,
        *,
        uid: bytes,
        page_id: int = 0,
        sequence: int = 0,
        monotonic_ns: int = 0,
        wall_ms: int = 0,
    ) -> None:
        self.event_id = event_id
        self._payload = payload
        self.uid = uid
        self.page_id = page_id
        self.sequence = sequence
        self.monotonic_ns = monotonic_ns
        self.wall_ms = wall_ms

    @property
    def payload(self) -> bytes:
        """The event's own bytes, at most 64 KiB."""
        if not isinstance(self._payload, bytes):
            self._payload = bytes(self._payload)
        return self._payload

    @property
    def view(self) -> memoryview:
        """The payload where it lies, read-only: `tensor.frombuffer(event.view, "uint8")` copies nothing."""
        return memoryview(self._payload).toreadonly()

    def __repr__(self) -> str:
        return f"Event(event_id={self.event_id}, uid={self.uid.hex()}, sequence={self.sequence})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Event) and self.to_bytes() == other.to_bytes()

    def __hash__(self) -> int:
        return hash(self.uid)

    def to_bytes(self) -> bytes:
        """The event's binary form.

        Raises:
            EventInvalid: a field is out of its range.
        """
        if len(self.uid) != UID_BYTES:
            raise EventInvalid(f"uid has {len(self.uid)} bytes; it must have {UID_BYTES}")
        if len(self._payload) > PAYLOAD_BYTES_MAX:
            raise EventInvalid(
                f"payload has {len(self._payload)} bytes; the limit is {PAYLOAD_BYTES_MAX}"
            )
        try:
            header = self._header(0)
        except struct.error as error:
            raise EventInvalid(f"a header field is out of range: {error}") from None
        return self._header(_checksum(header, self.payload)) + self.payload

    def _header(self, checksum: int) -> bytes:
        return HEADER.pack(
            _MAGIC,
            _VERSION,
            0,
            0,
            self.event_id,
            self.page_id,
            self.sequence,
            self.monotonic_ns,
            self.wall_ms,
            self.uid,
            len(self._payload),
            checksum,
        )

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> "Event":
        """Reads one event.

        Raises:
            EventInvalid: the bytes are cut, damaged, too long or of an unknown version.
        """
        if len(data) < HEADER_BYTES:
            raise EventInvalid(f"{len(data)} bytes are fewer than the {HEADER_BYTES} of a header")
        fields = HEADER.unpack_from(data)
        magic, version, flags, reserved, event_id, page_id, sequence, mono, wall, uid, size, crc = (
            fields
        )
        if magic != _MAGIC or version != _VERSION or flags or reserved:
            raise EventInvalid(
                f"not an event of version {_VERSION}: magic {magic!r}, version {version}"
            )
        if size > PAYLOAD_BYTES_MAX or len(data) != HEADER_BYTES + size:
            raise EventInvalid(f"payload of {size} bytes does not fit {len(data)} bytes in all")
        payload = memoryview(data)[HEADER_BYTES:]
        event = cls(
            event_id,
            payload if payload.readonly else bytes(payload),
            uid=uid,
            page_id=page_id,
            sequence=sequence,
            monotonic_ns=mono,
            wall_ms=wall,
        )
        if crc != _checksum(event._header(0), event._payload):
            raise EventInvalid("checksum does not match: the bytes were damaged")
        return event


def _checksum(header: bytes, payload: bytes | memoryview) -> int:
    return binascii.crc32(payload, binascii.crc32(header))
