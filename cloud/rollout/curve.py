"""The coverage curve and the times of a release, read from what devices acknowledged.

Rules of this module:

- The database groups by steps of time, so that a curve of a million devices is a few hundred rows.
- Every point says how many devices stood there at that time: who was sent back counts as installed until then.
- Times are the cloud's: from the start of the release until the cloud knew of it.
"""

import dataclasses
from collections import Counter

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.store.tables import release_devices

_LEFT = ("removed", "rolled_back")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """How many devices stood where, at a time."""

    at_ms: int
    notified: int
    installed: int
    failed: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseTimes:
    """How long it took from the start until a device had it installed.

    Attributes:
        devices: Devices that these figures are of; with none, both are None.
    """

    devices: int
    p50_ms: int | None
    p99_ms: int | None


async def read_curve(
    connection: AsyncConnection, namespace: str, release_id: str, points_max: int
) -> tuple[CurvePoint, ...]:
    """The curve, oldest first, at most `points_max` points; empty before the first acknowledgement."""
    table = release_devices.c
    mine = sa.and_(table.namespace == namespace, table.release_id == release_id)
    first, last = (
        await connection.execute(
            sa.select(sa.func.min(table.notified_at_ms), sa.func.max(table.updated_at_ms)).where(
                mine
            )
        )
    ).one()
    if first is None:
        return ()
    width_ms = max(1, -(-(last - first + 1) // points_max))

    async def steps(column: sa.ColumnElement[int], *wheres: sa.ColumnElement[bool]) -> Counter[int]:
        # Whole numbers in both dialects: an offset is never negative, so floor and truncation agree.
        slot = ((column - first) // width_ms).label("slot")
        rows = await connection.execute(
            sa.select(slot, sa.func.count())
            .where(mine, column.is_not(None), *wheres)
            .group_by(slot)
        )
        return Counter({int(number): count for number, count in rows})

    notified = await steps(table.notified_at_ms)
    installed = await steps(table.installed_at_ms)
    installed.subtract(
        await steps(
            table.updated_at_ms, table.outcome.in_(_LEFT), table.installed_at_ms.is_not(None)
        )
    )
    failed = await steps(table.updated_at_ms, table.outcome == "failed")
    return _sum(first, width_ms, last, notified, installed, failed)


def _sum(
    first: int,
    width_ms: int,
    last: int,
    notified: Counter[int],
    installed: Counter[int],
    failed: Counter[int],
) -> tuple[CurvePoint, ...]:
    points: list[CurvePoint] = []
    n = i = f = 0
    for slot in sorted(notified.keys() | installed.keys() | failed.keys()):
        n, i, f = n + notified[slot], i + installed[slot], f + failed[slot]
        # The end of the slot: everything counted had happened by then.
        at_ms = min(first + (slot + 1) * width_ms - 1, last)
        points.append(CurvePoint(at_ms=at_ms, notified=n, installed=i, failed=f))
    return tuple(points)


async def read_times(
    connection: AsyncConnection, namespace: str, release_id: str, started_at_ms: int
) -> ReleaseTimes:
    """Median and 99th percentile (nearest rank) over the devices that installed it."""
    table = release_devices.c
    mine = sa.and_(
        table.namespace == namespace,
        table.release_id == release_id,
        table.installed_at_ms.is_not(None),
    )
    devices = await connection.scalar(sa.select(sa.func.count()).where(mine)) or 0
    if not devices:
        return ReleaseTimes(devices=0, p50_ms=None, p99_ms=None)

    async def rank(percent: int) -> int:
        at_ms = await connection.scalar(
            sa.select(table.installed_at_ms)
            .where(mine)
            .order_by(table.installed_at_ms)
            .offset(-(-devices * percent // 100) - 1)
            .limit(1)
        )
        assert at_ms is not None
        return max(0, int(at_ms) - started_at_ms)

    return ReleaseTimes(devices=devices, p50_ms=await rank(50), p99_ms=await rank(99))
