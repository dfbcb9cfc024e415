"""What the digits task and the cloud say to each other: small fixed structs, little-endian.

The task imports this module in its VM, the cloud's side imports it from here: one definition. A new field means a new
version of the task and a new struct, since devices of the old version keep sending the old one.
"""

import struct

DIGIT_EVENT = 1001  # a digit was written: 64 pixel bytes, 0 to 16, row by row
REPLY_EVENT = 1002  # the cloud has read a digit that this device was not sure of
PIXELS = 64

FROM_DEVICE = 0
FROM_CLOUD = 1

_ANSWER = struct.Struct("<16sBBf")
_ESCALATION = struct.Struct("<16sBf64s")
_REPLY = struct.Struct("<16sBf")


def encode_answer(uid: bytes, label: int, source: int, confidence: float) -> bytes:
    """The task's answer to the digit event `uid`."""
    return _ANSWER.pack(uid, label, source, confidence)


def decode_answer(data: bytes) -> tuple[bytes, int, int, float]:
    """uid of the digit event, label, source, confidence."""
    uid, label, source, confidence = _ANSWER.unpack(data)
    return uid, label, source, confidence


def encode_escalation(uid: bytes, label: int, confidence: float, pixels: bytes) -> bytes:
    """A digit that the device is not sure of, and what it would have said."""
    return _ESCALATION.pack(uid, label, confidence, pixels)


def decode_escalation(data: bytes) -> tuple[bytes, int, float, bytes]:
    """uid of the digit event, the device's label and confidence, pixels."""
    uid, label, confidence, pixels = _ESCALATION.unpack(data)
    return uid, label, confidence, pixels


def encode_reply(uid: bytes, label: int, confidence: float) -> bytes:
    """The cloud's reading of the digit event `uid`."""
    return _REPLY.pack(uid, label, confidence)


def decode_reply(data: bytes) -> tuple[bytes, int, float]:
    """uid of the digit event, label, confidence."""
    uid, label, confidence = _REPLY.unpack(data)
    return uid, label, confidence
