"""The fleet on one page, counted by the database.

Rules of this module:

- Counting happens in SQL: nothing here grows with the number of devices. What it costs does: `count` is apart, so that
  an event stream can count rarely and still show at once which releases and kill switches there are.
- A version's devices are those whose last acknowledgement of a release of it was "installed".
"""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.admin.caller import Caller, Scope
from cloud.admin.operations.lists import list_rows
from cloud.admin.operations.releases import release_view
from cloud.admin.operations.views import (
    DeviceCounts,
    KillView,
    NamespaceView,
    OverviewView,
    ReleaseView,
    RunCount,
    VersionCount,
)
from cloud.admin.paging import Page, PageRequest
from cloud.admin.settings import AdminSettings
from cloud.rollout.service import ReleaseService
from cloud.store.database import Database
from cloud.store.namespaces import require_namespace
from cloud.store.tables import (
    devices,
    kill_switches,
    namespaces,
    notices,
    release_devices,
    releases,
    run_counts,
)
from device_agent.clock import Clock

ACTIVE_STATES = ("running", "paused")


async def count_devices(
    conn: AsyncConnection, namespace: str, now_ms: int, settings: AdminSettings
) -> DeviceCounts:
    """Counts devices by status."""
    seen, revoked = devices.c.last_seen_at_ms, devices.c.revoked_at_ms
    online = sa.and_(revoked.is_(None), seen > now_ms - settings.online_ms_max)
    stale = sa.and_(
        revoked.is_(None),
        seen <= now_ms - settings.online_ms_max,
        seen > now_ms - settings.stale_ms_max,
    )
    query = sa.select(
        sa.func.count().label("total"),
        sa.func.count(sa.case((online, 1))).label("online"),
        sa.func.count(sa.case((stale, 1))).label("stale"),
        sa.func.count(revoked).label("revoked"),
    ).where(devices.c.namespace == namespace)
    row = (await conn.execute(query)).one()
    offline = row.total - row.online - row.stale - row.revoked
    return DeviceCounts(
        total=row.total, online=row.online, stale=row.stale, offline=offline, revoked=row.revoked
    )


async def count_versions(conn: AsyncConnection, namespace: str) -> tuple[VersionCount, ...]:
    """Counts devices by the version that they last acknowledged as installed."""
    latest = (
        sa.select(
            releases.c.task,
            releases.c.version,
            release_devices.c.outcome,
            sa.func.row_number()
            .over(
                partition_by=(release_devices.c.device_id, releases.c.task),
                order_by=(
                    release_devices.c.updated_at_ms.desc(),
                    release_devices.c.release_id.desc(),
                ),
            )
            .label("place"),
        )
        .join_from(
            release_devices,
            releases,
            sa.and_(
                releases.c.namespace == release_devices.c.namespace,
                releases.c.release_id == release_devices.c.release_id,
            ),
        )
        .where(
            release_devices.c.namespace == namespace,
            release_devices.c.outcome.in_(("installed", "removed", "rolled_back")),
        )
        .subquery()
    )
    query = (
        sa.select(latest.c.task, latest.c.version, sa.func.count().label("devices"))
        .where(latest.c.place == 1, latest.c.outcome == "installed")
        .group_by(latest.c.task, latest.c.version)
        .order_by(latest.c.task, latest.c.version)
    )
    return tuple(VersionCount(**row) for row in (await conn.execute(query)).mappings())


async def count_runs(conn: AsyncConnection, namespace: str) -> tuple[RunCount, ...]:
    """Runs by task, version and outcome."""
    query = (
        sa.select(
            run_counts.c.task,
            run_counts.c.version,
            run_counts.c.outcome,
            run_counts.c.runs,
            run_counts.c.wall_us,
        )
        .where(run_counts.c.namespace == namespace)
        .order_by(run_counts.c.task, run_counts.c.version, run_counts.c.outcome)
    )
    return tuple(RunCount(**row) for row in (await conn.execute(query)).mappings())


async def read_kill(conn: AsyncConnection, namespace: str) -> KillView:
    """What is stopped."""
    query = (
        sa.select(kill_switches.c.task)
        .where(kill_switches.c.namespace == namespace)
        .order_by(kill_switches.c.task)
    )
    tasks = tuple((await conn.execute(query)).scalars())
    return KillView(all="" in tasks, tasks=tuple(task for task in tasks if task))


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetCounts:
    """What takes longer the bigger the fleet is."""

    devices: DeviceCounts
    versions: tuple[VersionCount, ...]
    runs: tuple[RunCount, ...]
    notices: int


class OverviewOperations:
    """What the console shows first."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        settings: AdminSettings,
        release_service: ReleaseService,
    ) -> None:
        self._database = database
        self._clock = clock
        self._settings = settings
        self._releases = release_service

    async def count(self, caller: Caller, namespace: str) -> FleetCounts:
        """Counts the fleet."""
        caller.require(Scope.DEVICE_READ, namespace)
        caller.require(Scope.RELEASE_READ, namespace)
        said = sa.select(sa.func.count()).where(notices.c.namespace == namespace)
        async with self._database.read() as conn:
            return FleetCounts(
                devices=await count_devices(conn, namespace, self._clock.wall_ms(), self._settings),
                versions=await count_versions(conn, namespace),
                runs=await count_runs(conn, namespace),
                notices=await conn.scalar(said) or 0,
            )

    async def overview(
        self, caller: Caller, namespace: str, counted: FleetCounts | None = None
    ) -> OverviewView:
        """Shows the fleet on one page, with these counts when there are some.

        Raises:
            NamespaceUnknown: there is no such namespace.
        """
        caller.require(Scope.DEVICE_READ, namespace)
        caller.require(Scope.RELEASE_READ, namespace)
        counts = counted or await self.count(caller, namespace)
        active = await self._active(namespace)
        async with self._database.read() as conn:
            epoch = await conn.scalar(
                sa.select(namespaces.c.epoch).where(namespaces.c.namespace == namespace)
            )
            if epoch is None:
                await require_namespace(conn, namespace)
            return OverviewView(
                namespace=namespace,
                epoch=epoch or 0,
                now_ms=self._clock.wall_ms(),
                devices=counts.devices,
                versions=counts.versions,
                releases=active,
                runs=counts.runs,
                kill=await read_kill(conn, namespace),
                notices=counts.notices,
            )

    async def _active(self, namespace: str) -> tuple[ReleaseView, ...]:
        newest = await self._releases.list(namespace, page_size=self._settings.sse_releases_max)
        return tuple(
            release_view(release)
            for release in newest.releases
            if release.state.value in ACTIVE_STATES
        )

    async def namespaces(self, caller: Caller, page: PageRequest) -> Page[NamespaceView]:
        """Lists the namespaces that the caller's token is for."""
        query = sa.select(namespaces)
        if caller.namespace != "*":
            query = query.where(namespaces.c.namespace == caller.namespace)
        return await list_rows(
            self._database,
            "namespaces",
            query,
            (namespaces.c.namespace,),
            page,
            self._settings,
            lambda row: NamespaceView(
                namespace=row["namespace"],
                epoch=row["epoch"],
                created_at_ms=row["created_at_ms"],
            ),
        )
