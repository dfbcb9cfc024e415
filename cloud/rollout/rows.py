"""Releases in the store: rows read and written, nothing decided.

Rules of this module:

- The columns beside `machine` are for queries and for the gateway; they are always written from the machine's state.
- Every write of a release raises its revision by one and adds the log entry of that revision, in one transaction.
"""

import dataclasses
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.rollout import codec
from cloud.rollout.errors import ReleaseLogDamaged, ReleaseNotFound
from cloud.rollout.machine import Created, LogEntry, MachineState, ReleaseState, initial
from cloud.rollout.release import Coverage, Release
from cloud.store.tables import release_events, releases, task_versions
from cloud.targeting.errors import TargetingInvalid
from cloud.targeting.targeting import Targeting
from device_agent.errors import ShoalError

ACTIVE = (ReleaseState.RUNNING, ReleaseState.PAUSED)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StoredRelease:
    """A row of `releases`.

    Attributes:
        machine: The machine's state; columns follow from it.
    """

    namespace: str
    id: str
    task: str
    version: int
    machine: MachineState
    targeting: Targeting
    salt: str
    traceparent: str
    created_at_ms: int
    created_by: str
    started_at_ms: int | None
    revision: int

    @property
    def order(self) -> tuple[int, str]:
        """Newest is greatest, as the gateway orders them."""
        return (self.started_at_ms or 0, self.id)

    def shown(self, coverage: Coverage) -> Release:
        """As people see it."""
        return Release(
            id=self.id,
            namespace=self.namespace,
            task=self.task,
            version=self.version,
            state=self.machine.phase,
            targeting=self.targeting,
            stages=self.machine.stages,
            stage_index=self.machine.stage_index,
            coverage=coverage,
            rollback_version=self.machine.rollback_version,
            salt=self.salt,
            traceparent=self.traceparent,
            created_at_ms=self.created_at_ms,
            created_by=self.created_by,
            started_at_ms=self.started_at_ms,
            revision=self.revision,
        )


async def insert_release(connection: AsyncConnection, release: StoredRelease) -> None:
    """Writes a new release and the creation that its log begins with."""
    machine = release.machine
    created = Created(stages=machine.stages, rollback_version=machine.rollback_version)
    assert machine == initial(created.stages, created.rollback_version)
    await connection.execute(
        sa.insert(releases).values(
            namespace=release.namespace,
            release_id=release.id,
            task=release.task,
            version=release.version,
            targeting=release.targeting.to_json(),
            salt=release.salt,
            traceparent=release.traceparent,
            created_at_ms=release.created_at_ms,
            created_by=release.created_by,
            **_changing(release),
        )
    )
    await _log(connection, release, created, release.created_by, release.created_at_ms)


async def update_release(
    connection: AsyncConnection, release: StoredRelease, entry: LogEntry, actor: str, now_ms: int
) -> None:
    """Writes what changed and the entry that changed it; `release` is already of the new revision."""
    result = await connection.execute(
        sa.update(releases)
        .where(
            releases.c.namespace == release.namespace,
            releases.c.release_id == release.id,
            releases.c.revision == release.revision - 1,
        )
        .values(**_changing(release))
    )
    assert result.rowcount == 1, "the namespace's lock was not held"
    await _log(connection, release, entry, actor, now_ms)


async def read_release(
    connection: AsyncConnection, namespace: str, release_id: str
) -> StoredRelease:
    """One release.

    Raises:
        ReleaseNotFound: There is none of this id.
    """
    found = await connection.execute(
        sa.select(releases).where(
            releases.c.namespace == namespace, releases.c.release_id == release_id
        )
    )
    row = found.one_or_none()
    if row is None:
        raise ReleaseNotFound(
            f"{namespace} has no release {release_id[:40]!r}; `shoal release list` shows its releases"
        )
    return _stored(row)


async def read_page(
    connection: AsyncConnection, namespace: str, task: str, before: str, limit: int
) -> list[StoredRelease]:
    """Releases with ids below `before` ("" is all), newest first."""
    query = sa.select(releases).where(releases.c.namespace == namespace)
    if task:
        query = query.where(releases.c.task == task)
    if before:
        query = query.where(releases.c.release_id < before)
    found = await connection.execute(query.order_by(releases.c.release_id.desc()).limit(limit))
    return [_stored(row) for row in found]


async def read_in_states(
    connection: AsyncConnection,
    states: tuple[ReleaseState, ...],
    namespace: str = "",
    task: str = "",
) -> list[StoredRelease]:
    """Releases in these states: of a namespace and task, or of all."""
    query = sa.select(releases).where(releases.c.state.in_([str(state) for state in states]))
    if namespace:
        query = query.where(releases.c.namespace == namespace)
    if task:
        query = query.where(releases.c.task == task)
    found = await connection.execute(query.order_by(releases.c.release_id))
    return [_stored(row) for row in found]


async def read_running(
    connection: AsyncConnection,
) -> tuple[list[StoredRelease], dict[str, ShoalError]]:
    """Running releases of all namespaces, and why those that cannot be read cannot, by id."""
    query = sa.select(releases).where(releases.c.state == str(ReleaseState.RUNNING))
    read: list[StoredRelease] = []
    damaged: dict[str, ShoalError] = {}
    for row in await connection.execute(query.order_by(releases.c.release_id)):
        try:
            read.append(_stored(row))
        except (ReleaseLogDamaged, TargetingInvalid) as error:
            damaged[row.release_id] = error
    return read, damaged


async def newest_start_ms(connection: AsyncConnection, namespace: str, task: str) -> int:
    """When the task's newest release started; 0 when none has."""
    newest = await connection.scalar(
        sa.select(sa.func.max(releases.c.started_at_ms)).where(
            releases.c.namespace == namespace, releases.c.task == task
        )
    )
    return int(newest or 0)


async def read_log(
    connection: AsyncConnection, namespace: str, release_id: str
) -> list[tuple[int, int, str, LogEntry]]:
    """(revision, at_ms, actor, entry) of a release, oldest first."""
    table = release_events.c
    found = await connection.execute(
        sa.select(table.revision, table.at_ms, table.actor, table.event)
        .where(table.namespace == namespace, table.release_id == release_id)
        .order_by(table.revision)
    )
    return [(row.revision, row.at_ms, row.actor, codec.event_from_json(row.event)) for row in found]


async def is_published(
    connection: AsyncConnection, namespace: str, task: str, version: int
) -> bool:
    """Whether the registry has this version, signed and ready for devices."""
    table = task_versions.c
    state = await connection.scalar(
        sa.select(table.state).where(
            table.namespace == namespace, table.task == task, table.version == version
        )
    )
    return state == "published"


def _changing(release: StoredRelease) -> dict[str, Any]:
    machine = release.machine
    return {
        "state": str(machine.phase),
        "machine": codec.state_to_json(machine),
        "stages": [
            {"share_ppm": stage.share_ppm, "promote_at_ppm": stage.promote_at_ppm}
            for stage in machine.stages
        ],
        "stage_index": machine.stage_index,
        "rollback_version": machine.rollback_version,
        "started_at_ms": release.started_at_ms,
        "revision": release.revision,
    }


async def _log(
    connection: AsyncConnection, release: StoredRelease, entry: LogEntry, actor: str, now_ms: int
) -> None:
    await connection.execute(
        sa.insert(release_events).values(
            namespace=release.namespace,
            release_id=release.id,
            revision=release.revision,
            at_ms=now_ms,
            actor=actor,
            event=codec.event_to_json(entry),
        )
    )


def _stored(row: sa.Row[Any]) -> StoredRelease:
    return StoredRelease(
        namespace=row.namespace,
        id=row.release_id,
        task=row.task,
        version=row.version,
        machine=codec.state_from_json(row.machine),
        targeting=Targeting.from_json(row.targeting),
        salt=row.salt,
        traceparent=row.traceparent,
        created_at_ms=row.created_at_ms,
        created_by=row.created_by,
        started_at_ms=row.started_at_ms,
        revision=row.revision,
    )
