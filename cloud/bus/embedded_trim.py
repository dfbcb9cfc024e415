"""Removes from the embedded log what may go.

Rules of this module:

- Each topic is trimmed from its oldest record on, like a Redis stream: up to the oldest record that a group has not
  acknowledged, and only what has been there `acknowledged_keep_ms`.
- What is older than `unread_keep_ms` goes even so, with the groups' claims on it: a group that was left must not fill
  the disk.
- A step removes a bounded number of rows, so that it holds the write lock for a moment only, and finds them by index.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.bus.settings import BusSettings
from cloud.store.database import Database
from cloud.store.tables import bus_groups, bus_log, bus_pending
from device_agent.failpoint import failpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Trimmed:
    """What one step did.

    Attributes:
        removed: Records removed.
        lengths: Topic to how many records it still holds.
    """

    removed: int
    lengths: Mapping[str, int]


async def trim_log(database: Database, now_ms: int, settings: BusSettings) -> Trimmed:
    """One step of trimming."""
    left = settings.trim_records_max
    lengths = await _lengths(database)
    for topic in sorted(lengths):
        removed = await _trim_topic(database, topic, now_ms, settings, left)
        lengths[topic] -= removed
        left -= removed
        if not left:
            break
    return Trimmed(removed=settings.trim_records_max - left, lengths=lengths)


async def _trim_topic(
    database: Database, topic: str, now_ms: int, settings: BusSettings, limit: int
) -> int:
    async with database.read() as connection:
        needed = await _oldest_needed(connection, topic)
        oldest = await connection.execute(
            sa.select(bus_log.c.id, bus_log.c.at_ms)
            .where(bus_log.c.topic == topic)
            .order_by(bus_log.c.id)
            .limit(limit)
        )
        ids = [row.id for row in oldest if _may_go(row.id, row.at_ms, needed, now_ms, settings)]
    if not ids:
        return 0

    async def step(connection: AsyncConnection) -> int:
        await connection.execute(
            sa.delete(bus_pending).where(
                bus_pending.c.topic == topic, bus_pending.c.record_id.in_(ids)
            )
        )
        result = await connection.execute(sa.delete(bus_log).where(bus_log.c.id.in_(ids)))
        failpoint("bus.trim.before_commit")
        return int(result.rowcount)

    return await database.run(step)


def _may_go(
    record_id: int, at_ms: int, needed: int | None, now_ms: int, settings: BusSettings
) -> bool:
    if at_ms <= now_ms - settings.unread_keep_ms:
        return True
    done = needed is not None and record_id < needed
    return done and at_ms <= now_ms - settings.acknowledged_keep_ms


async def _oldest_needed(connection: AsyncConnection, topic: str) -> int | None:
    """Id of the oldest record that a group has not acknowledged; None when the topic has no group."""
    delivered: int | None = await connection.scalar(
        sa.select(sa.func.min(bus_groups.c.delivered_id)).where(bus_groups.c.topic == topic)
    )
    pending: int | None = await connection.scalar(
        sa.select(sa.func.min(bus_pending.c.record_id)).where(bus_pending.c.topic == topic)
    )
    if delivered is None:
        return None
    return delivered + 1 if pending is None else min(delivered + 1, pending)


async def _lengths(database: Database) -> dict[str, int]:
    query = sa.select(bus_log.c.topic, sa.func.count()).group_by(bus_log.c.topic)
    async with database.read() as connection:
        return {row[0]: row[1] for row in await connection.execute(query)}
