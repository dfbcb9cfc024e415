"""Exactly once, for results that live in the database: the record's key and what came of it commit together.

    once = ExactlyOnce(database, clock, topic=consumer.topic, group=consumer.group)
    async for delivery in consumer:
        await once.apply([delivery], count)     # count(connection, records): only those never counted before

Rules of this module:

- A key is remembered in the transaction that used it; the same key again, from whatever bus, is left out.
- The bus is told after the commit: a crash between the two brings the record again, and it is left out.
- Keys are forgotten after a time that must be longer than any bus redelivers.
"""

from collections.abc import Awaitable, Callable, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.store.database import Database
from cloud.store.tables import consumed_records
from cloud.store.upsert import ROWS_MAX
from cloud.telemetry.consumer import Delivery
from cloud.telemetry.records import EmitRecord
from cloud.telemetry.settings import TelemetrySettings
from device_agent.clock import Clock
from device_agent.failpoint import failpoint

type Work = Callable[[AsyncConnection, Sequence[EmitRecord]], Awaitable[None]]


class ExactlyOnce:
    """Folds the records of one topic into the database, once each for a group."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        topic: str,
        group: str,
        settings: TelemetrySettings | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._topic = topic
        self._group = group
        self._settings = settings or TelemetrySettings()

    async def apply(self, deliveries: Sequence[Delivery], work: Work) -> int:
        """Runs `work` on the records that are new, in their order, and acknowledges all; gives how many were new.

        Args:
            work: Writes with the connection it is given, and nowhere else; may be called again after a rollback.
        """

        async def step(connection: AsyncConnection) -> int:
            fresh = await self._remember(connection, [one.key for one in deliveries])
            records = {one.key: one.record for one in deliveries if one.key in fresh}
            if records:
                await work(connection, list(records.values()))
            failpoint("telemetry.consume.before_commit")
            return len(records)

        new = await self._database.run(step)
        failpoint("telemetry.consume.committed")
        for delivery in deliveries:
            await delivery.done()
        return new

    async def forget(self) -> int:
        """Forgets keys that no bus hands out again; gives how many."""
        before_ms = self._clock.wall_ms() - self._settings.consumed_valid_ms
        columns = consumed_records.c
        async with self._database.begin() as connection:
            result = await connection.execute(
                sa.delete(consumed_records).where(
                    columns.topic == self._topic,
                    columns.consumer_group == self._group,
                    columns.at_ms < before_ms,
                )
            )
            return result.rowcount

    async def _remember(self, connection: AsyncConnection, keys: Sequence[str]) -> set[str]:
        """Those of the keys that were not known."""
        make = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
        unique = sorted(set(keys))
        now_ms = self._clock.wall_ms()
        fresh: set[str] = set()
        for start in range(0, len(unique), ROWS_MAX):
            rows = [
                {
                    "topic": self._topic,
                    "consumer_group": self._group,
                    "key": key,
                    "at_ms": now_ms,
                }
                for key in unique[start : start + ROWS_MAX]
            ]
            result = await connection.execute(
                make(consumed_records)
                .values(rows)
                .on_conflict_do_nothing(
                    index_elements=[c.name for c in consumed_records.primary_key.columns]
                )
                .returning(consumed_records.c.key)
            )
            fresh.update(row.key for row in result)
        return fresh
