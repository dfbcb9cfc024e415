"""Removes from the embedded log what may go.

Rules of this module:

- A record goes when every group of its topic has acknowledged it and it has been there `acknowledged_keep_ms`.
- It goes unread after `unread_keep_ms`, with the groups' claims on it: a group that was left must not fill the disk.
- A step removes a bounded number of rows, oldest first, so that it holds the write lock for a moment only.
"""

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
        full: Topics that still hold more than they may.
    """

    removed: int
    full: frozenset[str]


async def trim_log(database: Database, now_ms: int, settings: BusSettings) -> Trimmed:
    """One step of trimming."""
    ids = await _removable(database, now_ms, settings)
    if ids:

        async def step(connection: AsyncConnection) -> None:
            await connection.execute(sa.delete(bus_pending).where(bus_pending.c.record_id.in_(ids)))
            await connection.execute(sa.delete(bus_log).where(bus_log.c.id.in_(ids)))
            failpoint("bus.trim.before_commit")

        await database.run(step)
    return Trimmed(removed=len(ids), full=await _full_topics(database, settings))


async def _removable(database: Database, now_ms: int, settings: BusSettings) -> list[int]:
    done = sa.and_(
        bus_log.c.at_ms <= now_ms - settings.acknowledged_keep_ms,
        sa.exists().where(bus_groups.c.topic == bus_log.c.topic),
        ~sa.exists().where(
            bus_groups.c.topic == bus_log.c.topic, bus_groups.c.delivered_id < bus_log.c.id
        ),
        ~sa.exists().where(
            bus_pending.c.topic == bus_log.c.topic, bus_pending.c.record_id == bus_log.c.id
        ),
    )
    old = bus_log.c.at_ms <= now_ms - settings.unread_keep_ms
    query = (
        sa.select(bus_log.c.id)
        .where(
            bus_log.c.at_ms <= now_ms - min(settings.acknowledged_keep_ms, settings.unread_keep_ms)
        )
        .where(sa.or_(done, old))
        .order_by(bus_log.c.id)
        .limit(settings.trim_records_max)
    )
    async with database.read() as connection:
        return list((await connection.scalars(query)).all())


async def _full_topics(database: Database, settings: BusSettings) -> frozenset[str]:
    query = (
        sa.select(bus_log.c.topic)
        .group_by(bus_log.c.topic)
        .having(sa.func.count() >= settings.topic_records_max)
    )
    async with database.read() as connection:
        return frozenset((await connection.scalars(query)).all())
