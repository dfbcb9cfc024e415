"""Reads handwritten digits; asks the cloud where it is not sure.

New in version 2: a better model, and each digit is read five times, as it is and moved by one pixel each way. The mean
of the five is more often right than one reading.
"""

import threshold
import wire
from shoal_task import Event, emit, model, tensor

SIDE = 8
BLANK = bytes(SIDE)

digits = model.load("digits.shoalmodel")


def neighbours(pixels: bytes) -> bytes:
    """The digit, then moved down, up, right and left by one pixel."""
    rows = [pixels[at : at + SIDE] for at in range(0, len(pixels), SIDE)]
    down = BLANK + pixels[:-SIDE]
    up = pixels[SIDE:] + BLANK
    right = b"".join(b"\0" + row[:-1] for row in rows)
    left = b"".join(row[1:] + b"\0" for row in rows)
    return pixels + down + up + right + left


def on_event(event: Event) -> None:
    if event.event_id == wire.REPLY_EVENT:
        uid, label, confidence = wire.decode_reply(event.payload)
        emit("answer", wire.encode_answer(uid, label, wire.FROM_CLOUD, confidence))
        return
    five = tensor.frombuffer(neighbours(event.payload), "uint8", (5, wire.PIXELS))
    probabilities = tensor.mean(digits.run(five)[0], 0)
    label = tensor.argmax(probabilities).item()
    confidence = tensor.max(probabilities).item()
    if confidence >= threshold.CONFIDENCE_MIN:
        emit("answer", wire.encode_answer(event.uid, label, wire.FROM_DEVICE, confidence))
    else:
        emit("escalate", wire.encode_escalation(event.uid, label, confidence, event.payload))
