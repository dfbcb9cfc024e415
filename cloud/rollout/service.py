"""Releases as a service: what operators command, what devices acknowledge, what happens by itself.

Rules of this module:

- One transaction = machine state + log + epoch + audit; then, after the commit, gateways are told the epoch and
  watchers are woken. A crash between the two loses nothing: gateways also follow the change log by polling.
- Every writer takes the namespace's lock first and then reads what it decides on.
- Acknowledgements are rows of devices and raise no revision: an operator's command with `if_revision` must not be
  refused because devices are busy installing. Their counts enter the machine when they move it, and are then logged.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.rollout import kill, rows
from cloud.rollout.change import CLOUD, Aftermath, advance, apply_event
from cloud.rollout.creation import Entropy, asked, check_rollback, create_release
from cloud.rollout.errors import ReleaseInvalid, RevisionConflict
from cloud.rollout.machine import (
    Command,
    Commanded,
    Counted,
    Counts,
    Event,
    TimePassed,
)
from cloud.rollout.metrics import DAMAGED, OUTCOMES, STEPS, TICK_FAILURES
from cloud.rollout.outcomes import Acknowledged, record_outcomes
from cloud.rollout.reader import ReleaseReader
from cloud.rollout.release import Release, ReleaseDraft, check_draft
from cloud.rollout.rows import StoredRelease
from cloud.rollout.settings import RolloutSettings
from cloud.store.database import Database
from cloud.store.idempotency import remember_idempotent
from cloud.store.locks import lock_namespace
from device_agent.clock import Clock
from device_agent.errors import ShoalError
from device_agent.failpoint import failpoint
from device_agent.tasks.names import sha256_digest

_log = structlog.get_logger(__name__)


class ReleaseService(ReleaseReader):
    """The releases of all namespaces of one database; what is read is in reader.py."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        on_epoch: Callable[[str, int], None] = lambda _namespace, _epoch: None,
        settings: RolloutSettings | None = None,
        entropy: Entropy = secrets.token_bytes,
    ) -> None:
        super().__init__(database, clock, settings)
        self._clock = clock
        self._on_epoch = on_epoch
        self._entropy = entropy
        # Told of already.
        self._damaged: frozenset[str] = frozenset()

    # --- what operators do --------------------------------------------------------------------------------------

    async def create(
        self, namespace: str, draft: ReleaseDraft, actor: str, idempotency_key: str = ""
    ) -> Release:
        """Makes a release, and starts it when the draft says so; the same key gives the same release.

        Raises:
            ReleaseInvalid, NameInvalid: The draft breaks a rule.
            VersionNotPublished: Its version, or the one to return to, is not there for devices.
            IdempotencyKeyReused: The key came before, with another draft.
        """
        stages = check_draft(draft, self.settings)
        draft = replace(draft, stages=stages)
        digest = sha256_digest(msgspec.json.encode(asked(draft), order="deterministic"))

        async def write(connection: AsyncConnection) -> tuple[str, Aftermath]:
            aftermath = Aftermath(namespace=namespace)
            now_ms = self._clock.wall_ms()

            async def work() -> dict[str, Any]:
                created = await create_release(
                    connection, namespace, draft, actor, now_ms, self._entropy
                )
                if draft.start:
                    event = Commanded(command=Command.START)
                    await apply_event(connection, created, event, actor, now_ms, aftermath)
                return {"release_id": created.id}

            await lock_namespace(connection, namespace)
            result = await remember_idempotent(
                connection, namespace, idempotency_key, digest, work, now_ms
            )
            return str(result["release_id"]), aftermath

        release_id, aftermath = await self._database.run(write)
        self._tell(aftermath)
        return await self.get(namespace, release_id)

    async def command(
        self,
        namespace: str,
        release_id: str,
        command: Command,
        actor: str,
        reason: str = "",
        if_revision: int = 0,
        rollback_version: int | None = None,
    ) -> Release:
        """Tells a release something.

        Args:
            namespace: "app/project".
            release_id: Which.
            command: What.
            actor: Who says so.
            reason: Why; kept in log and audit.
            if_revision: Refused when the release is at another revision; 0 does not check.
            rollback_version: With ROLL_BACK: where to; None takes the release's own, 0 removes the task.

        Raises:
            ReleaseNotFound, CommandNotAllowed, RevisionConflict, VersionNotPublished, ReleaseInvalid: as they say.
        """
        self._check_reason(reason)
        if rollback_version is not None and command is not Command.ROLL_BACK:
            raise ReleaseInvalid(f"rollback_version goes with roll_back only, not with {command}")
        event = Commanded(command=command, reason=reason, rollback_version=rollback_version)

        async def write(connection: AsyncConnection) -> Aftermath:
            aftermath = Aftermath(namespace=namespace)
            await lock_namespace(connection, namespace)
            release = await rows.read_release(connection, namespace, release_id)
            _check_revision(release, if_revision)
            if rollback_version is not None:
                await check_rollback(connection, release, rollback_version)
            now_ms = self._clock.wall_ms()
            await apply_event(connection, release, event, actor, now_ms, aftermath)
            return aftermath

        self._tell(await self._database.run(write))
        return await self.get(namespace, release_id)

    async def set_kill(self, namespace: str, task: str, actor: str, reason: str) -> int:
        """Stops a task everywhere, "" all tasks; gives the epoch that carries it.

        Raises:
            KillTargetUnknown: The namespace has no such task.
        """
        self._check_reason(reason)
        now_ms = self._clock.wall_ms()
        epoch = await self._database.run(
            lambda connection: kill.set_switch(connection, namespace, task, actor, reason, now_ms)
        )
        self._tell(Aftermath(namespace=namespace, epoch=epoch, notes=[(task, "kill switch set")]))
        return epoch

    async def clear_kill(self, namespace: str, task: str, actor: str, reason: str) -> int:
        """Frees what `set_kill` stopped; gives the epoch that carries it."""
        self._check_reason(reason)
        now_ms = self._clock.wall_ms()
        epoch = await self._database.run(
            lambda connection: kill.clear_switch(connection, namespace, task, actor, reason, now_ms)
        )
        self._tell(
            Aftermath(namespace=namespace, epoch=epoch, notes=[(task, "kill switch cleared")])
        )
        return epoch

    # --- what devices say ---------------------------------------------------------------------------------------

    async def record_outcomes(
        self,
        connection: AsyncConnection,
        namespace: str,
        device: str,
        acks: Sequence[Acknowledged],
        now_ms: int,
    ) -> None:
        """Folds one device's acknowledgements, in order, in the caller's transaction."""
        await self.record_batch(connection, namespace, [(device, acks)], now_ms)

    async def record_batch(
        self,
        connection: AsyncConnection,
        namespace: str,
        batch: Iterable[tuple[str, Sequence[Acknowledged]]],
        now_ms: int,
    ) -> None:
        """The same for many devices; call `wake` after the commit."""
        told = tuple(batch)
        await record_outcomes(connection, namespace, told, now_ms)
        OUTCOMES.inc(sum(len(acks) for _, acks in told))
        failpoint("rollout.outcomes.written")

    # --- what happens by itself ---------------------------------------------------------------------------------

    async def tick(self) -> tuple[str, ...]:
        """Promotes what is due, in every namespace; gives the ids of the releases that moved.

        A release that cannot be read is told of and left out: the others go on.
        """
        async with self._database.read() as connection:
            running, damaged = await rows.read_running(connection)
            waiting = [one for one in running if _promotes_itself(one)]
            due = [
                (release, event)
                for release, event in await self._events_of(connection, waiting)
                if advance(release, event, self._clock.wall_ms())[1]
            ]
        self._tell_damaged(damaged)
        return tuple([release.id for release, event in due if await self._happen(release, event)])

    async def run(self) -> None:
        """Ticks until it is cancelled; what goes wrong is logged and tried again at the next tick."""
        while True:
            try:
                await self.tick()
            except Exception:
                TICK_FAILURES.inc()
                _log.exception("rollout.tick_failed")
            await asyncio.sleep(self.settings.tick_ms / 1000)

    def _tell_damaged(self, damaged: Mapping[str, ShoalError]) -> None:
        DAMAGED.set(len(damaged))
        for release_id, error in damaged.items():
            if release_id not in self._damaged:
                _log.error(
                    "rollout.release_damaged", release=release_id, code=error.code, error=str(error)
                )
        self._damaged = frozenset(damaged)

    # --- below --------------------------------------------------------------------------------------------------

    async def _events_of(
        self, connection: AsyncConnection, releases: Sequence[StoredRelease]
    ) -> Sequence[tuple[StoredRelease, Event]]:
        events: list[tuple[StoredRelease, Event]] = []
        for namespace in sorted({release.namespace for release in releases}):
            mine = [release for release in releases if release.namespace == namespace]
            counts = await self.counts(connection, mine)
            events += [
                (release, _counted(release, counted))
                for release, counted in zip(mine, counts, strict=True)
            ]
        return events

    async def _happen(self, seen: StoredRelease, event: Event) -> bool:
        """Applies an event that was decided on outside the lock, unless the release has moved since."""

        async def write(connection: AsyncConnection) -> Aftermath | None:
            aftermath = Aftermath(namespace=seen.namespace)
            await lock_namespace(connection, seen.namespace)
            release = await rows.read_release(connection, seen.namespace, seen.id)
            if release.revision != seen.revision:
                return None
            await apply_event(connection, release, event, CLOUD, self._clock.wall_ms(), aftermath)
            return aftermath

        aftermath = await self._database.run(write)
        if aftermath is not None:
            self._tell(aftermath)
        return aftermath is not None

    def _tell(self, aftermath: Aftermath) -> None:
        namespace = aftermath.namespace
        self._census.forget(namespace)
        if aftermath.epoch:
            self._on_epoch(namespace, aftermath.epoch)
        for action in aftermath.actions:
            STEPS.labels(action).inc()
        for subject, message in aftermath.notes:
            _log.info("rollout.changed", namespace=namespace, subject=subject, message=message)
        self._wakes.wake(namespace)

    def _check_reason(self, reason: str) -> None:
        if len(reason) > self.settings.reason_chars_max:
            raise ReleaseInvalid(
                f"the reason has {len(reason)} characters; at most "
                f"{self.settings.reason_chars_max} fit"
            )


def _promotes_itself(release: StoredRelease) -> bool:
    return release.machine.stages[release.machine.stage_index].promote_at_ppm > 0


def _counted(release: StoredRelease, counts: tuple[Counts, ...]) -> Event:
    """What the machine has not heard of yet."""
    increments = tuple(new - old for new, old in zip(counts, release.machine.counts, strict=True))
    return (
        Counted(increments=increments) if any(x != Counts() for x in increments) else TimePassed()
    )


def _check_revision(release: StoredRelease, if_revision: int) -> None:
    if if_revision and release.revision != if_revision:
        raise RevisionConflict(
            f"release {release.id} is at revision {release.revision}, not {if_revision}: "
            "read it again and repeat the command if it is still what you want"
        )
