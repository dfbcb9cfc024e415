"""How records reach the bus from an ingest transaction, whether the bus shares the database or not.

Rules of this module:

- A bus in the same database takes part in the transaction: record and high-water mark commit together, exactly once.
- Another bus is published to before the transaction commits: a crash between the two publishes again, never loses.
  Its consumers see a key twice then and drop it (cloud/telemetry/exactly_once.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from sqlalchemy.ext.asyncio import AsyncConnection

# Records of one publish; a batch of many tunnels may hold more for one topic.
PUBLISH_RECORDS_MAX = 500

type Records = Sequence[tuple[str, bytes]]


class Publisher(Protocol):
    """A bus: cloud.bus.Bus."""

    async def publish(self, topic: str, records: Records) -> None:
        """Durable when it returns."""
        ...


@runtime_checkable
class TransactionalPublisher(Protocol):
    """A bus in the same database: cloud.bus.EmbeddedBus."""

    async def publish_in(self, connection: AsyncConnection, topic: str, records: Records) -> None:
        """Durable with the transaction."""
        ...

    def wake(self, topic: str) -> None:
        """Tells subscribers, after the commit."""
        ...


class Outlet:
    """The way to one bus."""

    def __init__(self, bus: Publisher) -> None:
        self._bus = bus
        self._together = bus if isinstance(bus, TransactionalPublisher) else None

    async def put(self, connection: AsyncConnection, records: Mapping[str, Records]) -> None:
        """Publishes, in order of topic."""
        for topic in sorted(records):
            for start in range(0, len(records[topic]), PUBLISH_RECORDS_MAX):
                part = records[topic][start : start + PUBLISH_RECORDS_MAX]
                if self._together is not None:
                    await self._together.publish_in(connection, topic, part)
                else:
                    await self._bus.publish(topic, part)

    def committed(self, topics: Iterable[str]) -> None:
        """The transaction that `put` was part of has committed."""
        if self._together is not None:
            for topic in topics:
                self._together.wake(topic)
