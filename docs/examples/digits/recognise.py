"""The cloud's half of the example: reads the digits that devices were not sure of, and answers each.

Rules of this module:

- The same engine as on the devices, with a bigger model.
- At least once and once in effect: a record that comes again gets the same reply id, and a reply is stored once.
- An escalation that cannot be read is answered by nobody: it is logged, counted and acknowledged.
"""

import struct
from pathlib import Path

import structlog

from cloud.telemetry.consumer import Consumer, Delivery
from cloud.telemetry.replies import ReplyService, reply_id_for
from device_agent.engine import _core
from device_agent.engine.model import load_model
from docs.examples.digits.v1 import wire

TASK = "digits"
TOPIC = "escalate"
GROUP = "digits-recogniser"
_log = structlog.get_logger(__name__)


class Recogniser:
    """The bigger model."""

    def __init__(self, model: Path) -> None:
        self._model = load_model(str(model))

    def read(self, pixels: bytes) -> tuple[int, float]:
        """The label of a digit of 64 pixel bytes, and how sure the model is.

        Raises:
            ValueError: these are not 64 bytes.
        """
        tensor = _core.frombuffer(pixels, "uint8", (1, wire.PIXELS))
        probabilities = self._model.run(tensor)[0][0]
        return int(_core.argmax(probabilities).item()), float(_core.max(probabilities).item())


class Answerer:
    """Reads escalations of one namespace and stores the replies.

    Attributes:
        answered: Escalations that were read and answered.
        unreadable: Escalations that were no digit.
    """

    def __init__(self, recogniser: Recogniser, replies: ReplyService, namespace: str) -> None:
        self._recogniser = recogniser
        self._replies = replies
        self._namespace = namespace
        self.answered = 0
        self.unreadable = 0

    async def run(self, consumer: Consumer) -> None:
        """Answers for as long as the consumer gives deliveries."""
        async for delivery in consumer:
            await self.answer(delivery)
            await delivery.done()

    async def answer(self, delivery: Delivery) -> None:
        """Answers one escalation."""
        record = delivery.record
        try:
            uid, _, _, pixels = wire.decode_escalation(record.payload)
        except struct.error:
            self.unreadable += 1
            _log.warning("digits.escalation_unreadable", key=delivery.key)
            return
        label, confidence = self._recogniser.read(pixels)
        await self._replies.reply(
            self._namespace,
            record.device,
            TASK,
            wire.REPLY_EVENT,
            record.event_uid,
            wire.encode_reply(uid, label, confidence),
            reply_id_for(GROUP, delivery.key),
        )
        self.answered += 1
