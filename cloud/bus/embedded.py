"""The bus inside the control plane's own database: no server to run.

Rules of this module, beyond those of interface.py:

- Handing out is a transaction: the group's row says up to which record all were handed out, bus_pending has those that
  were not acknowledged. Both are durable before the consumer sees a record, so that `deliveries` never lies.
- Ids of a topic become visible in their order. SQLite has one writer; in PostgreSQL two transactions could commit in
  another order than that of their ids, and a reader past the higher id would never see the lower one. So publishing
  holds the namespace's lock until it commits.
- Consumers of this process are woken after a commit; those of another find out by polling.
"""

import asyncio
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.bus.embedded_trim import trim_log
from cloud.bus.interface import (
    Backlog,
    Bus,
    Record,
    Records,
    check_names,
    check_records,
    full,
    wait_for,
)
from cloud.bus.settings import SETTINGS, BusSettings
from cloud.store.database import Database
from cloud.store.locks import lock_namespace
from cloud.store.tables import bus_groups, bus_log, bus_pending
from cloud.store.upsert import insert_or_ignore
from device_agent.clock import Clock
from device_agent.failpoint import failpoint


class EmbeddedBus(Bus):
    """Topics as rows of bus_log."""

    def __init__(self, database: Database, clock: Clock, settings: BusSettings = SETTINGS) -> None:
        super().__init__(settings)
        self._database = database
        self._clock = clock
        # Topic to the event that its waiting consumers wait on.
        self._waiting: dict[str, asyncio.Event] = {}

    async def publish(self, topic: str, records: Records) -> None:
        """See Bus."""
        await self._database.run(lambda connection: self.publish_in(connection, topic, records))
        failpoint("bus.publish.committed")
        self.wake(topic)

    async def publish_in(self, connection: AsyncConnection, topic: str, records: Records) -> None:
        """Appends records in the caller's transaction, durable when it commits. Call `wake` then.

        A transaction that publishes to topics of several namespaces does so in order of topic.
        """
        check_records(topic, records, self.settings)
        if (length := self.lengths.get(topic, 0)) >= self.settings.topic_records_max:
            self.counts.refused += len(records)
            raise full(topic, length)
        if not records:
            return
        await lock_namespace(connection, "/".join(topic.split("/")[:2]))
        now_ms = self._clock.wall_ms()
        rows = [
            {"topic": topic, "key": key, "payload": payload, "at_ms": now_ms}
            for key, payload in records
        ]
        await connection.execute(sa.insert(bus_log), rows)
        self.counts.published += len(rows)
        failpoint("bus.publish.before_commit")

    def wake(self, topic: str) -> None:
        """Wakes this process's consumers of a topic, after the commit."""
        event = self._waiting.pop(topic, None)
        if event is not None:
            event.set()

    async def take(
        self, topic: str, group: str, consumer: str, *, limit: int, wait_ms: int
    ) -> list[Record]:
        """See Bus."""
        check_names(topic, group, consumer)
        limit = min(limit, self.settings.take_records_max)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_ms / 1000
        while True:
            # Taken before looking: a wake-up between look and wait is not lost.
            event = self._waiting.setdefault(topic, asyncio.Event())
            if await self._has_any(topic, group):
                records = await self._hand_out(topic, group, consumer, limit)
                if records:
                    self.counts.note_taken(records)
                    return records
            left_ms = (deadline - loop.time()) * 1000
            if left_ms <= 0:
                return []
            await wait_for(event, min(left_ms, self.settings.poll_ms))

    async def ack(self, *records: Record) -> None:
        """See Bus."""
        if not records:
            return

        async def step(connection: AsyncConnection) -> None:
            for topic, group in {(record.topic, record.group) for record in records}:
                ids = [int(r.id) for r in records if (r.topic, r.group) == (topic, group)]
                await connection.execute(
                    sa.delete(bus_pending).where(
                        *_of_group(topic, group), bus_pending.c.record_id.in_(ids)
                    )
                )
            failpoint("bus.ack.before_commit")

        await self._database.run(step)
        self.counts.acknowledged += len(records)
        failpoint("bus.ack.committed")

    async def trim(self) -> int:
        """See Bus."""
        trimmed = await trim_log(self._database, self._clock.wall_ms(), self.settings)
        self.lengths = dict(trimmed.lengths)
        self.counts.trimmed += trimmed.removed
        return trimmed.removed

    async def backlog(self, topic: str, group: str) -> Backlog:
        """See Bus."""
        delivered = _delivered(topic, group).scalar_subquery()
        unread = sa.select(sa.func.count()).where(
            bus_log.c.topic == topic, bus_log.c.id > sa.func.coalesce(delivered, 0)
        )
        pending = sa.select(sa.func.count()).where(*_of_group(topic, group))
        async with self._database.read() as connection:
            return Backlog(
                unread=int(await connection.scalar(unread) or 0),
                unacknowledged=int(await connection.scalar(pending) or 0),
            )

    async def ready(self) -> None:
        """See Bus."""
        await self._database.ready()

    async def close(self) -> None:
        """See Bus; the database is its owner's to close."""
        for topic in list(self._waiting):
            self.wake(topic)

    async def _has_any(self, topic: str, group: str) -> bool:
        """A look that takes no lock, so that waiting consumers cost writers nothing."""
        delivered = sa.func.coalesce(_delivered(topic, group).scalar_subquery(), 0)
        new = sa.exists().where(bus_log.c.topic == topic, bus_log.c.id > delivered)
        due = sa.exists().where(*_of_group(topic, group), self._is_due())
        async with self._database.read() as connection:
            return bool(await connection.scalar(sa.select(sa.or_(new, due))))

    async def _hand_out(self, topic: str, group: str, consumer: str, limit: int) -> list[Record]:
        async def step(connection: AsyncConnection) -> list[Record]:
            delivered_id = await _lock_group(connection, topic, group)
            again = await self._hand_out_again(connection, topic, group, consumer, limit)
            if len(again) == limit:
                return again
            new = await self._hand_out_new(
                connection, topic, group, consumer, delivered_id, limit - len(again)
            )
            failpoint("bus.take.before_commit")
            return [*again, *new]

        return await self._database.run(step)

    async def _hand_out_again(
        self, connection: AsyncConnection, topic: str, group: str, consumer: str, limit: int
    ) -> list[Record]:
        rows = await connection.execute(
            sa.select(bus_log, bus_pending.c.deliveries)
            .join(bus_pending, bus_pending.c.record_id == bus_log.c.id)
            .where(*_of_group(topic, group), self._is_due())
            .order_by(bus_log.c.id)
            .limit(limit)
        )
        records = [_record(row, group, row.deliveries + 1) for row in rows]
        if records:
            await connection.execute(
                sa.update(bus_pending)
                .where(
                    *_of_group(topic, group),
                    bus_pending.c.record_id.in_([int(record.id) for record in records]),
                )
                .values(
                    consumer=consumer,
                    delivered_at_ms=self._clock.wall_ms(),
                    deliveries=bus_pending.c.deliveries + 1,
                )
            )
        return records

    async def _hand_out_new(
        self,
        connection: AsyncConnection,
        topic: str,
        group: str,
        consumer: str,
        delivered_id: int,
        limit: int,
    ) -> list[Record]:
        rows = await connection.execute(
            sa.select(bus_log)
            .where(bus_log.c.topic == topic, bus_log.c.id > delivered_id)
            .order_by(bus_log.c.id)
            .limit(limit)
        )
        records = [_record(row, group, 1) for row in rows]
        if records:
            now_ms = self._clock.wall_ms()
            pending = [_pending_row(record, consumer, now_ms) for record in records]
            await connection.execute(sa.insert(bus_pending), pending)
            await connection.execute(
                sa.update(bus_groups)
                .where(bus_groups.c.topic == topic, bus_groups.c.consumer_group == group)
                .values(delivered_id=int(records[-1].id))
            )
        return records

    def _is_due(self) -> sa.ColumnElement[bool]:
        # A wall clock that was set back must not make records wait for it to catch up.
        now_ms = self._clock.wall_ms()
        at_ms = bus_pending.c.delivered_at_ms
        return sa.or_(at_ms <= now_ms - self.settings.visibility_ms, at_ms > now_ms + 1000)


async def _lock_group(connection: AsyncConnection, topic: str, group: str) -> int:
    """Lets one consumer of the group take at a time; gives the id up to which all were handed out."""
    row = {"topic": topic, "consumer_group": group, "delivered_id": 0}
    await insert_or_ignore(connection, bus_groups, row)
    return (await connection.scalars(_delivered(topic, group).with_for_update())).one()


def _delivered(topic: str, group: str) -> sa.Select[int]:
    return sa.select(bus_groups.c.delivered_id).where(
        bus_groups.c.topic == topic, bus_groups.c.consumer_group == group
    )


def _of_group(topic: str, group: str) -> Sequence[sa.ColumnElement[bool]]:
    return (bus_pending.c.topic == topic, bus_pending.c.consumer_group == group)


def _record(row: sa.Row[tuple[object, ...]], group: str, deliveries: int) -> Record:
    return Record(
        id=str(row.id),
        topic=row.topic,
        group=group,
        key=row.key,
        payload=row.payload,
        deliveries=deliveries,
    )


def _pending_row(record: Record, consumer: str, now_ms: int) -> dict[str, object]:
    return {
        "topic": record.topic,
        "consumer_group": record.group,
        "record_id": int(record.id),
        "consumer": consumer,
        "delivered_at_ms": now_ms,
        "deliveries": 1,
    }
