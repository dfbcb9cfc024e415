"""Reads handwritten digits; asks the cloud where it is not sure."""

import threshold
import wire
from shoal_task import Event, emit, model, tensor

digits = model.load("digits.shoalmodel")


def on_event(event: Event) -> None:
    if event.event_id == wire.REPLY_EVENT:
        uid, label, confidence = wire.decode_reply(event.payload)
        emit("answer", wire.encode_answer(uid, label, wire.FROM_CLOUD, confidence))
        return
    pixels = tensor.frombuffer(event.payload, "uint8", (1, wire.PIXELS))
    probabilities = digits.run(pixels)[0][0]
    label = tensor.argmax(probabilities).item()
    confidence = tensor.max(probabilities).item()
    if confidence >= threshold.CONFIDENCE_MIN:
        emit("answer", wire.encode_answer(event.uid, label, wire.FROM_DEVICE, confidence))
    else:
        emit("escalate", wire.encode_escalation(event.uid, label, confidence, event.payload))
