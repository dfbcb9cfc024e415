"""Keeps the release sets of all namespaces up with the database, and keeps serving when it is away.

Rules of this module:

- One look reads what is newer than what is in memory; a change notified in this process is looked at once, others
  within the poll interval.
- A snapshot is swapped in whole: a Sync sees the old one or the new one.
- A database that cannot be read changes nothing: answers go on from the last snapshot, and health says how old it is.
- A namespace that cannot be read stays as it is; the others are followed.
- An epoch that went back (a database restored from a backup) loads the namespace anew.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.gateway.change_log import ChangeLog
from cloud.gateway.known_devices import Key, KnownDevices
from cloud.gateway.load import (
    load_devices,
    load_kill,
    load_named,
    load_plans,
    load_revoked,
    revoked_of,
)
from cloud.gateway.release_set import ReleaseSet
from cloud.gateway.settings import FollowerSettings
from cloud.store.database import Database
from cloud.store.epochs import Change, changes_since
from cloud.store.errors import StoreError
from cloud.store.tables import changes, namespaces
from device_agent.clock import Clock
from device_agent.errors import ShoalError

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowerHealth:
    """How well the follower follows.

    Attributes:
        ready: The first look succeeded: answers can be given.
        stale: The database could not be read for longer than the settings allow; answers go on.
        age_ms: Since the last successful look; -1 before the first.
        epochs: Epoch served, by namespace.
        devices: Enrolled devices in memory.
        unreadable: Namespaces that hold what this version cannot read; served as they were before.
    """

    ready: bool
    stale: bool
    age_ms: int
    epochs: Mapping[str, int]
    devices: int
    unreadable: frozenset[str]


class Follower:
    """Release sets and enrolled devices, as the database has them."""

    def __init__(self, database: Database, clock: Clock, settings: FollowerSettings) -> None:
        self._database = database
        self._clock = clock
        self._settings = settings
        self._sets: dict[str, ReleaseSet] = {}
        self._devices = KnownDevices(settings)
        self._unreadable: set[str] = set()
        self._wake = asyncio.Event()
        self._looked_at_ns: int | None = None

    def set_for(self, namespace: str) -> ReleaseSet | None:
        """The newest release set of a namespace; None when there is no such namespace."""
        return self._sets.get(namespace)

    def enrolled(self, namespace: str, device_id: str) -> Mapping[str, str] | None:
        """Attributes given at enrolment; None when the device is not in memory: `meet` it."""
        return self._devices.attributes(namespace, device_id)

    async def meet(self, namespace: str, device_id: str) -> bool | None:
        """Reads a device that is not in memory, within a bound.

        Returns:
            Whether it is enrolled; None when that could not be found out in time.
        """
        key = (namespace, device_id)
        if self._devices.is_stranger(key, self._clock.wall_ms()):
            return False
        looked = self._devices.want(key)
        self._wake.set()
        try:
            async with asyncio.timeout(self._settings.meet_ms_max / 1000):
                await looked.wait()
        except TimeoutError:
            return None
        return self.enrolled(namespace, device_id) is not None

    def on_epoch(self, namespace: str, epoch: int) -> None:
        """A change was committed in this process."""
        current = self._sets.get(namespace)
        if current is None or current.epoch < epoch:
            self._wake.set()

    def health(self) -> FollowerHealth:
        """For readiness and metrics."""
        age_ms = -1
        if self._looked_at_ns is not None:
            age_ms = (self._clock.monotonic_ns() - self._looked_at_ns) // 1_000_000
        return FollowerHealth(
            ready=age_ms >= 0,
            stale=age_ms < 0 or age_ms > self._settings.stale_after_ms,
            age_ms=age_ms,
            epochs={name: one.epoch for name, one in self._sets.items()},
            devices=len(self._devices),
            unreadable=frozenset(self._unreadable),
        )

    async def start(self) -> None:
        """The first look.

        Raises:
            DatabaseBusy, DatabaseUnavailable: there is nothing to answer from yet.
        """
        await self.look()

    async def run(self) -> None:
        """Follows until it is cancelled."""
        failing = False
        while True:
            try:
                async with asyncio.timeout(self._settings.poll_ms / 1000):
                    await self._wake.wait()
            except TimeoutError:
                pass  # nobody notified: look anyway
            self._wake.clear()
            try:
                await self.look()
            except StoreError as error:
                if not failing:
                    _log.warning("gateway.follower_failing", code=error.code, reason=str(error))
                failing = True
            except Exception as error:  # answers go on from what is there; health says stale
                if not failing:
                    _log.error("gateway.follower_failed", exc_info=error)
                failing = True
            else:
                failing = False

    async def look(self) -> None:
        """Brings every namespace up to date."""
        wanted = self._devices.wanted()
        try:
            async with self._database.read() as connection:
                for namespace, epoch in await self._epochs(connection):
                    await self._follow_alone(connection, namespace, epoch)
                await self._meet_all(connection, list(wanted))
        finally:
            for looked in wanted.values():
                looked.set()
        self._looked_at_ns = self._clock.monotonic_ns()

    async def _epochs(self, connection: AsyncConnection) -> Sequence[tuple[str, int]]:
        rows = await connection.execute(
            sa.select(namespaces.c.namespace, namespaces.c.epoch)
            .order_by(namespaces.c.created_at_ms, namespaces.c.namespace)
            .limit(self._settings.namespaces_max)
        )
        return [(row.namespace, row.epoch) for row in rows]

    async def _follow_alone(self, connection: AsyncConnection, namespace: str, epoch: int) -> None:
        """A row that this version cannot read stops its own namespace, not the others."""
        try:
            await self._follow(connection, namespace, epoch)
            self._unreadable.discard(namespace)
        except StoreError:
            raise
        except ShoalError as error:
            if namespace not in self._unreadable:
                _log.error("gateway.namespace_unreadable", namespace=namespace, exc_info=error)
            self._unreadable.add(namespace)

    async def _follow(self, connection: AsyncConnection, namespace: str, epoch: int) -> None:
        current = self._sets.get(namespace)
        if current is not None and current.epoch == epoch:
            return
        limit = self._settings.changes_per_look_max
        new: list[Change] = []
        if current is not None and current.epoch < epoch:
            new = await changes_since(connection, namespace, current.epoch, limit + 1)
        if current is None or not 0 < len(new) <= limit:
            release_set = await self._load(connection, namespace, epoch)
        else:
            release_set = await self._advance(connection, current, new)
        self._sets[namespace] = release_set
        _log.info("gateway.release_set", namespace=namespace, epoch=release_set.epoch)

    async def _load(self, connection: AsyncConnection, namespace: str, epoch: int) -> ReleaseSet:
        if namespace not in self._sets:
            await self._load_devices(connection, namespace)
        known = await self._newest_changes(connection, namespace)
        # The oldest one that was read may be the oldest one there is or not: it only marks the floor.
        floor = known[0].epoch if known else epoch
        kills = [change.epoch for change in known[1:] if change.kind == "kill"]
        return ReleaseSet.build(
            namespace=namespace,
            epoch=epoch,
            tasks=await load_plans(connection, namespace, None),
            kill=await load_kill(connection, namespace),
            kill_epoch=max(kills, default=floor),
            revoked=await load_revoked(connection, namespace, known),
            log=ChangeLog(floor=floor).extended(_released(known[1:])),
        )

    async def _load_devices(self, connection: AsyncConnection, namespace: str) -> None:
        after = ""
        while page := await load_devices(connection, namespace, after, self._settings.devices_page):
            for device in page:
                self._devices.add(namespace, device)
            after = page[-1].device_id
            if len(self._devices) >= self._settings.devices_max:
                _log.warning("gateway.devices_full", devices=len(self._devices))
                return

    async def _newest_changes(self, connection: AsyncConnection, namespace: str) -> list[Change]:
        rows = await connection.execute(
            sa.select(changes.c.epoch, changes.c.kind, changes.c.subject)
            .where(changes.c.namespace == namespace)
            .order_by(changes.c.epoch.desc())
            .limit(self._settings.changes_max + 1)
        )
        newest_first = [Change(epoch=row.epoch, kind=row.kind, subject=row.subject) for row in rows]
        return newest_first[::-1]

    async def _advance(
        self, connection: AsyncConnection, current: ReleaseSet, new: Sequence[Change]
    ) -> ReleaseSet:
        namespace = current.namespace
        released = _released(new)
        tasks = sorted({task for _, task in released})
        told = sorted({change.subject for change in new if change.kind == "revocation"})
        killed = any(change.kind == "kill" for change in new)
        return current.advanced(
            epoch=new[-1].epoch,
            changes=released,
            tasks=await load_plans(connection, namespace, tasks) if tasks else (),
            kill=await load_kill(connection, namespace) if killed else None,
            revoked=await self._revoke(connection, current, told) if told else None,
            changes_max=self._settings.changes_max,
        )

    async def _revoke(
        self, connection: AsyncConnection, current: ReleaseSet, told: Sequence[str]
    ) -> frozenset[str]:
        revoked = await revoked_of(connection, current.namespace, told)
        for device_id in revoked:
            self._devices.drop(current.namespace, device_id)
        return (current.revoked - frozenset(told)) | revoked

    async def _meet_all(self, connection: AsyncConnection, wanted: Sequence[Key]) -> None:
        by_namespace: dict[str, list[str]] = defaultdict(list)
        for namespace, device_id in wanted:
            by_namespace[namespace].append(device_id)
        for namespace, device_ids in by_namespace.items():
            found = await load_named(connection, namespace, device_ids)
            for device in found:
                self._devices.add(namespace, device)
            missing = set(device_ids) - {device.device_id for device in found}
            for device_id in missing:
                self._devices.add_stranger((namespace, device_id), self._clock.wall_ms())


def _released(new: Sequence[Change]) -> list[tuple[int, str]]:
    return [(change.epoch, change.subject) for change in new if change.kind == "release"]
