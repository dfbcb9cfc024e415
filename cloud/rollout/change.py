"""One step of a release in the store: machine, log, epoch and audit in one transaction.

Rules of this module:

- The caller holds the namespace's lock, so that what was read still holds when it is written.
- What follows from a step follows in the same transaction: a completion for everyone supersedes older releases of the
  task with the same or a narrower audience; a rollback restores those that the release had superseded.
- Nothing leaves the process before the commit: what must be told is collected in an Aftermath.
"""

import dataclasses

from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.rollout.machine import (
    PPM,
    Audit,
    Effect,
    Event,
    Notify,
    PublishReleaseSet,
    ReleaseState,
    Restored,
    Superseded,
    step,
)
from cloud.rollout.rows import StoredRelease, newest_start_ms, read_in_states, update_release
from cloud.store.audit import append_audit
from cloud.store.epochs import bump_epoch
from device_agent.failpoint import failpoint

CLOUD = "cloud"
_SUPERSEDABLE = (
    ReleaseState.RUNNING,
    ReleaseState.PAUSED,
    ReleaseState.COMPLETED,
    ReleaseState.ABORTED,
    ReleaseState.ROLLED_BACK,
)


@dataclasses.dataclass(slots=True, kw_only=True)
class Aftermath:
    """What to tell once the transaction is committed.

    Attributes:
        namespace: Where.
        epoch: Newest epoch that it made; 0 when none.
        notes: (release id, sentence) for people.
        actions: What was audited.
    """

    namespace: str
    epoch: int = 0
    notes: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    actions: list[str] = dataclasses.field(default_factory=list)


async def apply_event(
    connection: AsyncConnection,
    release: StoredRelease,
    event: Event,
    actor: str,
    now_ms: int,
    aftermath: Aftermath,
) -> StoredRelease:
    """Steps the release and all that follows from it; gives it as it is now.

    Raises:
        CommandNotAllowed: Its state does not allow the command; nothing was written.
    """
    changed, effects = advance(release, event, now_ms)
    if release.started_at_ms is None and changed.started_at_ms is not None:
        changed = await _newest(connection, changed)
    await update_release(connection, changed, event, actor, now_ms)
    for effect in effects:
        await _carry_out(connection, changed, effect, actor, now_ms, aftermath)
    if changed.machine.phase is not release.machine.phase:
        await _follow_up(connection, changed, now_ms, aftermath)
    failpoint("rollout.step.written")
    return changed


def advance(
    release: StoredRelease, event: Event, now_ms: int
) -> tuple[StoredRelease, tuple[Effect, ...]]:
    """The release after an event, not yet written."""
    machine, effects = step(release.machine, now_ms, event)
    started = release.started_at_ms
    if started is None and machine.phase is ReleaseState.RUNNING:
        started = now_ms
    changed = dataclasses.replace(
        release, machine=machine, started_at_ms=started, revision=release.revision + 1
    )
    return changed, effects


async def _newest(connection: AsyncConnection, release: StoredRelease) -> StoredRelease:
    """What starts last is the newest, also when the wall clock has gone back since the one before."""
    newest = await newest_start_ms(connection, release.namespace, release.task)
    assert release.started_at_ms is not None
    return dataclasses.replace(release, started_at_ms=max(release.started_at_ms, newest + 1))


async def _carry_out(
    connection: AsyncConnection,
    release: StoredRelease,
    effect: Effect,
    actor: str,
    now_ms: int,
    aftermath: Aftermath,
) -> None:
    namespace = release.namespace
    match effect:
        case PublishReleaseSet():
            aftermath.epoch = await bump_epoch(
                connection, namespace, "release", release.task, now_ms
            )
        case Audit():
            detail = {"task": release.task, "version": release.version, **effect.detail}
            await append_audit(
                connection, namespace, actor, effect.action, release.id, detail, now_ms
            )
            aftermath.actions.append(effect.action)
        case Notify():
            aftermath.notes.append((release.id, effect.message))


async def _follow_up(
    connection: AsyncConnection, release: StoredRelease, now_ms: int, aftermath: Aftermath
) -> None:
    machine = release.machine
    if machine.phase is ReleaseState.COMPLETED and machine.share_ppm == PPM:
        others = await read_in_states(connection, _SUPERSEDABLE, release.namespace, release.task)
        for other in others:
            if other.order < release.order and release.targeting.covers(other.targeting):
                event = Superseded(by=release.id)
                await apply_event(connection, other, event, CLOUD, now_ms, aftermath)
    if machine.phase is ReleaseState.ROLLED_BACK:
        others = await read_in_states(
            connection, (ReleaseState.SUPERSEDED,), release.namespace, release.task
        )
        for other in others:
            if other.machine.superseded_by == release.id:
                await apply_event(connection, other, Restored(), CLOUD, now_ms, aftermath)
