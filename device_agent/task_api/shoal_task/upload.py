"""Hands data to the cloud that is longer than one emit may be: cut into parts, put together by whoever reads the topic.

    from shoal_task import upload

    upload.send("frames", jpeg)          # in the task
    whole = upload.Parts()               # in the consumer
    data = whole.add(emit.payload)       # None until the last part came

Rules of this module:

- A part is an emit: the topic needs its permission, the parts count against output_bytes and leave when the run ends
  well, all or none. The tunnel brings each at least once and consumers see it once, in any order.
- A part's head is little-endian, versioned and checksummed; what is damaged or unknown is refused.
"""

import binascii
import os
import struct

from shoal_task.border import emit

HEAD = struct.Struct("<4sB3x16sIIII")
PART_BYTES_MAX = 60_000
DATA_BYTES_MAX = 4 * 1024 * 1024
OPEN_MAX = 64  # uploads of which parts are missing, in one consumer
_MAGIC, _VERSION = b"SHUP", 1


class UploadInvalid(ValueError):
    """The bytes are no part of an upload of a known version; the message says which check failed."""


def send(topic: str, data: bytes) -> bytes:
    """Uploads `data`; returns the 16 bytes that name this upload.

    Raises:
        ValueError: it is longer than 4 MiB.
        PermissionError: the topic is not permitted.
    """
    if len(data) > DATA_BYTES_MAX:
        raise ValueError(f"{len(data)} bytes are more than the {DATA_BYTES_MAX} of an upload")
    name = os.urandom(16)
    for part in split(name, data):
        emit(topic, part)
    return name


def split(name: bytes, data: bytes) -> list[bytes]:
    """The parts of an upload; empty data has one, too."""
    count = max(-(-len(data) // PART_BYTES_MAX), 1)
    checksum = binascii.crc32(data)
    return [
        HEAD.pack(_MAGIC, _VERSION, name, number, count, len(data), checksum)
        + data[number * PART_BYTES_MAX : (number + 1) * PART_BYTES_MAX]
        for number in range(count)
    ]


class Parts:
    """Puts uploads together; the one begun longest ago is dropped when too many wait for parts."""

    def __init__(self) -> None:
        self._open: dict[bytes, dict[int, bytes]] = {}

    def add(self, part: bytes) -> bytes | None:
        """Takes one part, in any order, also twice; gives the data with the last that was missing.

        Raises:
            UploadInvalid: it is no part, or its upload was damaged.
        """
        if len(part) < HEAD.size:
            raise UploadInvalid(
                f"{len(part)} bytes are fewer than the {HEAD.size} of a part's head"
            )
        magic, version, name, number, count, size, checksum = HEAD.unpack_from(part)
        if magic != _MAGIC or version != _VERSION:
            raise UploadInvalid(
                f"no part of version {_VERSION}: magic {magic!r}, version {version}"
            )
        if size > DATA_BYTES_MAX or count != max(-(-size // PART_BYTES_MAX), 1) or number >= count:
            raise UploadInvalid(f"part {number} of {count} does not fit {size} bytes")
        if name not in self._open and len(self._open) >= OPEN_MAX:
            del self._open[next(iter(self._open))]
        parts = self._open.setdefault(name, {})
        parts[number] = part[HEAD.size :]
        if len(parts) < count:
            return None
        del self._open[name]
        data = b"".join(parts[at] for at in range(count))
        if len(data) != size or binascii.crc32(data) != checksum:
            raise UploadInvalid("the parts do not make what was sent: they were damaged")
        return data
