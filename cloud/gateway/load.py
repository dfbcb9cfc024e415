"""Reads what a release set is made of from the database.

Rules of this module:

- The epoch is read first: what is read after it may be newer than it says, never older. A device that was decided for
  with newer content under an older epoch is decided for again when the epoch comes, and told to keep what it has.
- Only published versions count, and only files that devices get.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.gateway.release_set import ACTIVE, Release, TaskPlan, Version
from cloud.rollout.machine import ReleaseState
from cloud.store.epochs import Change
from cloud.store.tables import devices, kill_switches, releases, task_versions, version_files
from cloud.targeting.targeting import Targeting
from device_agent.tasks.director import BundleFile, KillSwitch, Scope
from device_agent.tasks.manifest import Manifest, Requires

BYTECODE = "bytecode"
_FILES = ("manifest", BYTECODE, "resource")


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """A device as enrolment left it."""

    device_id: str
    attributes: Mapping[str, str]
    revoked: bool


async def load_plans(
    connection: AsyncConnection, namespace: str, tasks: Sequence[str] | None
) -> list[TaskPlan]:
    """Plans of the tasks named, or of all that have an active release. A task named without one gets an empty plan."""
    active = await _load_releases(connection, namespace, tasks)
    wanted = {(one.task, one.version) for one in active}
    wanted |= {(one.task, one.rollback_version) for one in active if one.rollback_version}
    versions = await load_versions(connection, namespace, sorted(wanted))
    names = sorted({one.task for one in active} | set(tasks or ()))
    return [
        TaskPlan.build(
            name,
            [one for one in active if one.task == name],
            [one for one in versions if one.task == name],
        )
        for name in names
    ]


async def _load_releases(
    connection: AsyncConnection, namespace: str, tasks: Sequence[str] | None
) -> list[Release]:
    query = sa.select(releases).where(
        releases.c.namespace == namespace,
        releases.c.state.in_([state.value for state in ACTIVE]),
        # Aborted before it began: it never concerned a device.
        releases.c.started_at_ms.is_not(None),
    )
    if tasks is not None:
        query = query.where(releases.c.task.in_(tasks))
    return [_release(row) for row in await connection.execute(query)]


def _release(row: sa.Row[tuple[object, ...]]) -> Release:
    stages = row.stages
    share_ppm = stages[row.stage_index]["share_ppm"] if row.stage_index >= 0 else 0
    return Release(
        release_id=row.release_id,
        task=row.task,
        version=row.version,
        state=ReleaseState(row.state),
        targeting=Targeting.from_json(row.targeting),
        share_ppm=share_ppm,
        salt=row.salt,
        rollback_version=row.rollback_version,
        traceparent=row.traceparent,
        started_at_ms=row.started_at_ms,
    )


async def load_versions(
    connection: AsyncConnection, namespace: str, wanted: Sequence[tuple[str, int]]
) -> list[Version]:
    """Published versions by (task, number), each with its files for every Python."""
    if not wanted:
        return []
    rows = await connection.execute(
        sa.select(task_versions).where(
            task_versions.c.namespace == namespace,
            task_versions.c.state == "published",
            sa.tuple_(task_versions.c.task, task_versions.c.version).in_(wanted),
        )
    )
    files = await connection.execute(
        sa.select(version_files)
        .where(
            version_files.c.namespace == namespace,
            version_files.c.kind.in_(_FILES),
            sa.tuple_(version_files.c.task, version_files.c.version).in_(wanted),
        )
        .order_by(version_files.c.path)
    )
    bundles = _bundles(files)
    return [
        Version(
            task=row.task,
            number=row.version,
            digest=row.digest,
            requires=_requires(row.manifest),
            bundles=bundles.get((row.task, row.version), {}),
        )
        for row in rows
    ]


def _requires(manifest: object) -> Requires:
    return Manifest.from_json(json.dumps(manifest).encode()).requires


def _bundles(
    rows: Iterable[sa.Row[tuple[object, ...]]],
) -> dict[tuple[str, int], dict[str, tuple[BundleFile, ...]]]:
    """Files by version and tag: each tag's bytecode with the files that all tags share, in order of path."""
    shared: dict[tuple[str, int], list[BundleFile]] = defaultdict(list)
    tagged: dict[tuple[str, int], dict[str, list[BundleFile]]] = defaultdict(dict)
    for row in rows:
        key = (row.task, row.version)
        file = BundleFile(
            path=row.path,
            digest=row.digest,
            size=row.size,
            scope=Scope(row.scope),
            target=row.target,
        )
        if row.kind == BYTECODE:
            tagged[key].setdefault(row.python_tag, []).append(file)
        else:
            shared[key].append(file)
    return {
        key: {
            tag: tuple(sorted([*own, *shared[key]], key=lambda file: file.path))
            for tag, own in tags.items()
        }
        for key, tags in tagged.items()
    }


async def load_kill(connection: AsyncConnection, namespace: str) -> KillSwitch:
    """The kill switch as it is."""
    rows = await connection.execute(
        sa.select(kill_switches.c.task).where(kill_switches.c.namespace == namespace)
    )
    names = sorted(row.task for row in rows)
    return KillSwitch(all="" in names, tasks=tuple(name for name in names if name))


async def load_devices(
    connection: AsyncConnection, namespace: str, after: str, limit: int
) -> list[Enrolled]:
    """Devices in order of id, from the one after `after`."""
    rows = await connection.execute(
        _devices(namespace)
        .where(devices.c.device_id > after)
        .order_by(devices.c.device_id)
        .limit(limit)
    )
    return [_enrolled(row) for row in rows]


async def load_named(
    connection: AsyncConnection, namespace: str, device_ids: Sequence[str]
) -> list[Enrolled]:
    """These devices, as far as the store has them."""
    rows = await connection.execute(_devices(namespace).where(devices.c.device_id.in_(device_ids)))
    return [_enrolled(row) for row in rows]


async def load_revoked(
    connection: AsyncConnection, namespace: str, changed: Sequence[Change]
) -> set[str]:
    """Every revoked device: those whose row says so, and those that were forgotten, so that no row is left."""
    columns = devices.c
    rows = await connection.execute(
        sa.select(columns.device_id).where(
            columns.namespace == namespace, columns.revoked_at_ms.is_not(None)
        )
    )
    told = [change.subject for change in changed if change.kind == "revocation"]
    return {row.device_id for row in rows} | await revoked_of(connection, namespace, told)


async def revoked_of(
    connection: AsyncConnection, namespace: str, device_ids: Sequence[str]
) -> set[str]:
    """Which of these devices are revoked or forgotten."""
    found = {one.device_id: one for one in await load_named(connection, namespace, device_ids)}
    return {
        device_id for device_id in device_ids if device_id not in found or found[device_id].revoked
    }


def _devices(namespace: str) -> sa.Select[tuple[str, object, int | None]]:
    columns = devices.c
    return sa.select(columns.device_id, columns.attributes, columns.revoked_at_ms).where(
        columns.namespace == namespace
    )


def _enrolled(row: sa.Row[tuple[str, object, int | None]]) -> Enrolled:
    return Enrolled(
        device_id=row.device_id,
        attributes=row.attributes,
        revoked=row.revoked_at_ms is not None,
    )
