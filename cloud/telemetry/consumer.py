"""The consumer's side of a topic: records as values, each acknowledged when its work is done.

    consumer = Consumer(bus, namespace="demo/app", task="digits", topic="escalate", group="labels", name="worker-1")
    async for delivery in consumer:
        answer(delivery.record)
        await delivery.done()

Rules of this module:

- At least once: what was not `done` comes again, to this consumer or to another of its group. `exactly_once` makes
  once of it for results that live in the database; `reply_id_for` does for replies.
- A record that cannot be read is logged, put aside and acknowledged: one bad record does not stop a topic.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from cloud.telemetry.errors import RecordInvalid
from cloud.telemetry.records import EmitRecord, decode_record, topic_of

_log = structlog.get_logger(__name__)


class BusRecord(Protocol):
    """A record as a bus hands it out: cloud.bus.Record."""

    @property
    def key(self) -> str:
        """Its name."""
        ...

    @property
    def payload(self) -> bytes:
        """Its bytes."""
        ...


class Subscribable(Protocol):
    """The part of cloud.bus.Bus that a consumer uses."""

    def subscribe(self, topic: str, group: str, consumer: str) -> AsyncIterator[Any]:
        """Records, as they come."""
        ...

    async def ack(self, *records: Any) -> None:  # noqa: ANN401 - a bus acknowledges its own records
        """They need not come again."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One record, handed out once or more.

    Attributes:
        key: Name of the report; the same for every time it is handed out.
        record: What the task emitted.
        done: Acknowledges it.
    """

    key: str
    record: EmitRecord
    done: Callable[[], Awaitable[None]]


class Consumer:
    """One member of a consumer group, on one topic of one task."""

    def __init__(
        self, bus: Subscribable, *, namespace: str, task: str, topic: str, group: str, name: str
    ) -> None:
        self.topic = topic_of(namespace, task, topic)
        self.group = group
        self._bus = bus
        self._name = name
        # Records that could not be read.
        self.unreadable = 0

    async def __aiter__(self) -> AsyncIterator[Delivery]:
        """Deliveries, for as long as the caller takes them."""
        async for record in self._bus.subscribe(self.topic, self.group, self._name):
            delivery = await self._delivery(record)
            if delivery is not None:
                yield delivery

    async def _delivery(self, record: BusRecord) -> Delivery | None:
        async def done() -> None:
            await self._bus.ack(record)

        try:
            return Delivery(key=record.key, record=decode_record(record.payload), done=done)
        except RecordInvalid as error:
            self.unreadable += 1
            _log.error(
                "telemetry.record_unreadable", topic=self.topic, key=record.key, reason=str(error)
            )
            await done()
            return None
