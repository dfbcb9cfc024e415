"""Fields of a protobuf message, encoded alone: encoded messages that are joined are one message with all their fields.

Rules of this module:

- Only what the gateway puts together by hand: unsigned varints and byte strings. tests/unit compare with upb.
"""

_VARINT, _BYTES = 0, 2


def varint_field(number: int, value: int) -> bytes:
    """An unsigned integer or boolean field."""
    assert value >= 0
    return _varint(number << 3 | _VARINT) + _varint(value)


def bytes_field(number: int, value: bytes) -> bytes:
    """A bytes, string or message field."""
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
