"""Making a release from a draft: what is checked against the registry, and the row that it begins as.

Rules of this module:

- A release names published versions only, to install and to return to, so that a halt never finds nothing to go to.
- Its salt is its own, for a fresh sample, or the task's name when the draft asks for the same devices to come first.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.rollout import rows
from cloud.rollout.errors import ReleaseInvalid, VersionNotPublished
from cloud.rollout.machine import ReleaseState, initial
from cloud.rollout.release import ReleaseDraft
from cloud.rollout.rows import StoredRelease
from cloud.rollout.trace import new_traceparent
from cloud.store.audit import append_audit
from device_agent.tasks.names import RELEASE_ENTROPY_BYTES, new_release_id

type Entropy = Callable[[int], bytes]


async def create_release(
    connection: AsyncConnection,
    namespace: str,
    draft: ReleaseDraft,
    actor: str,
    now_ms: int,
    entropy: Entropy,
) -> StoredRelease:
    """Stores a checked draft; the caller holds the namespace's lock.

    Raises:
        VersionNotPublished: Its version, or the one to return to, is not there for devices.
    """
    rollback = await _rollback_version(connection, namespace, draft)
    for version in (draft.version, rollback):
        if version:
            await _check_published(connection, namespace, draft.task, version)
    release_id = new_release_id(now_ms, entropy(RELEASE_ENTROPY_BYTES))
    release = StoredRelease(
        namespace=namespace,
        id=release_id,
        task=draft.task,
        version=draft.version,
        machine=initial(draft.stages, rollback),
        targeting=draft.targeting,
        salt=draft.task if draft.sticky else release_id,
        traceparent=new_traceparent(entropy),
        created_at_ms=now_ms,
        created_by=actor,
        started_at_ms=None,
        revision=1,
    )
    await rows.insert_release(connection, release)
    await append_audit(
        connection, namespace, actor, "release.create", release_id, asked(draft), now_ms
    )
    return release


def asked(draft: ReleaseDraft) -> dict[str, Any]:
    """The draft as JSON: for the audit log, and for telling two requests apart."""
    return {
        "task": draft.task,
        "version": draft.version,
        "targeting": draft.targeting.to_json(),
        "stages": msgspec.to_builtins(draft.stages),
        "rollback_version": draft.rollback_version,
        "sticky": draft.sticky,
        "start": draft.start,
    }


async def check_rollback(connection: AsyncConnection, release: StoredRelease, version: int) -> None:
    """Whether the release may be rolled back to this version.

    Raises:
        ReleaseInvalid: It is no version to return to.
        VersionNotPublished: It is not there for devices.
    """
    if version == release.version:
        raise ReleaseInvalid(f"version {version} is what the release installs; name another or 0")
    if version < 0:
        raise ReleaseInvalid("rollback_version must be a version, or 0 to remove the task")
    if version:
        await _check_published(connection, release.namespace, release.task, version)


async def _check_published(
    connection: AsyncConnection, namespace: str, task: str, version: int
) -> None:
    if not await rows.is_published(connection, namespace, task, version):
        raise VersionNotPublished(
            f"{task} has no published version {version} in {namespace}; "
            f"`shoal task show {task}` lists its versions, `shoal task publish` makes one"
        )


async def _rollback_version(
    connection: AsyncConnection, namespace: str, draft: ReleaseDraft
) -> int:
    if draft.rollback_version is not None:
        return draft.rollback_version
    states = (*rows.ACTIVE, ReleaseState.COMPLETED)
    before = await rows.read_in_states(connection, states, namespace, draft.task)
    others = [release for release in before if release.version != draft.version]
    return max(others, key=lambda release: release.order).version if others else 0
