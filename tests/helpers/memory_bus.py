"""Buses in memory for tests: one that shares the transaction (embedded), one that does not (like Redis).

Both hand every record out until it is acknowledged, again and again with `redeliver`.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class MemoryRecord:
    id: int
    topic: str
    key: str
    payload: bytes


class StreamBus:
    """Durable at once, outside every transaction."""

    def __init__(self) -> None:
        self.records: dict[str, list[MemoryRecord]] = defaultdict(list)
        self.acknowledged: set[int] = set()
        self._arrived = asyncio.Event()
        self._next_id = 0
        self.fails = 0

    async def publish(self, topic: str, records: Sequence[tuple[str, bytes]]) -> None:
        if self.fails:
            self.fails -= 1
            raise ConnectionError("the bus is away")
        self.append(topic, records)

    def append(self, topic: str, records: Sequence[tuple[str, bytes]]) -> None:
        for key, payload in records:
            self._next_id += 1
            self.records[topic].append(MemoryRecord(self._next_id, topic, key, payload))
        self._arrived.set()

    async def subscribe(
        self, topic: str, _group: str, _consumer: str
    ) -> AsyncIterator[MemoryRecord]:
        given: set[int] = set()
        while True:
            self._arrived.clear()
            for record in list(self.records[topic]):
                if record.id not in given and record.id not in self.acknowledged:
                    given.add(record.id)
                    yield record
            await self._arrived.wait()

    async def ack(self, *records: MemoryRecord) -> None:
        self.acknowledged.update(record.id for record in records)

    def keys(self, topic: str) -> list[str]:
        return [record.key for record in self.records[topic]]


class SharedBus(StreamBus):
    """Keeps what was published in a transaction until it is told of the commit."""

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[str, list[tuple[str, bytes]]] = defaultdict(list)

    async def publish_in(
        self, _connection: AsyncConnection, topic: str, records: Sequence[tuple[str, bytes]]
    ) -> None:
        self.held[topic].extend(records)

    def wake(self, topic: str) -> None:
        self.append(topic, self.held.pop(topic, []))
