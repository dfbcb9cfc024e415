"""Releases and kill switches, authorised: the work is cloud/rollout's.

Rules of this module:

- Every command carries who and why; the audit row is written in the transaction of the change.
- A caller that names the revision it saw is refused when the release has moved on.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import sqlalchemy as sa

from cloud.admin.caller import Caller, Scope
from cloud.admin.errors import ArgumentInvalid
from cloud.admin.operations.lists import Row, list_rows
from cloud.admin.operations.texts import check_reason, check_text, checked_targeting
from cloud.admin.operations.views import (
    CountsView,
    CoverageCurve,
    CoveragePoint,
    CoverageView,
    EpochView,
    KillSwitchView,
    ReleaseDeviceView,
    ReleaseEventView,
    ReleaseView,
    StageView,
    TargetingView,
)
from cloud.admin.paging import Page, PageRequest, decode_token, encode_token, page_limit
from cloud.admin.settings import AdminSettings
from cloud.rollout.machine import PPM, Command, Stage
from cloud.rollout.release import Coverage, Release, ReleaseDraft, ReleaseEvent
from cloud.rollout.service import ReleaseService
from cloud.store.database import Database
from cloud.store.tables import kill_switches, release_devices
from device_agent.tasks.names import check_release_id, check_task_name

ALL_TASKS = ""
VERSION_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRelease:
    """What an operator asks for; no stages is one of 100 %, no rollback version the one that ran before."""

    task: str
    version: int
    targeting: TargetingView = field(default_factory=TargetingView)
    stages: tuple[StageView, ...] = ()
    rollback_version: int | None = None
    start: bool = False


def release_view(release: Release) -> ReleaseView:
    """A release as an operator sees it."""
    return ReleaseView(
        id=release.id,
        task=release.task,
        version=release.version,
        state=release.state.value,
        targeting=TargetingView(attributes=dict(release.targeting.attributes)),
        stages=tuple(
            StageView(share_ppm=stage.share_ppm, promote_at_ppm=stage.promote_at_ppm)
            for stage in release.stages
        ),
        stage_index=release.stage_index,
        coverage=coverage_view(release.coverage),
        rollback_version=release.rollback_version,
        traceparent=release.traceparent,
        created_at_ms=release.created_at_ms,
        created_by=release.created_by,
        started_at_ms=release.started_at_ms,
        revision=release.revision,
    )


def coverage_view(coverage: Coverage) -> CoverageView:
    """Coverage as an operator sees it."""
    return CoverageView(
        targeted=coverage.targeted,
        notified=coverage.notified,
        installed=coverage.installed,
        failed=coverage.failed,
        stages=tuple(
            CountsView(
                targeted=stage.targeted,
                notified=stage.notified,
                installed=stage.installed,
                failed=stage.failed,
            )
            for stage in coverage.stages
        ),
    )


def parse_command(name: str) -> Command:
    """Reads a command by name.

    Raises:
        ArgumentInvalid: There is none of that name.
    """
    try:
        return Command(name)
    except ValueError:
        names = ", ".join(command.value for command in Command)
        raise ArgumentInvalid(f"command {name!r}: choose from {names}") from None


def _check_version(name: str, version: int, least: int) -> None:
    if not least <= version <= VERSION_MAX:
        raise ArgumentInvalid(f"{name} {version}: choose {least} to {VERSION_MAX}")


def _check_bounds(new: NewRelease) -> None:
    """Refuses numbers that no release has: the wire's are wider than the database's."""
    _check_version("version", new.version, 1)
    _check_version("rollback_version", new.rollback_version or 0, 0)
    for stage in new.stages:
        for name, share in (
            ("share_ppm", stage.share_ppm),
            ("promote_at_ppm", stage.promote_at_ppm),
        ):
            if not 0 <= share <= PPM:
                raise ArgumentInvalid(f"{name} {share}: choose 0 to {PPM}, which is 100 %")


def _event_view(event: ReleaseEvent) -> ReleaseEventView:
    return ReleaseEventView(
        revision=event.revision,
        at_ms=event.at_ms,
        actor=event.actor,
        event=event.event,
        state=event.state.value,
        stage_index=event.stage_index,
        message=event.message,
    )


def _device_view(row: Row) -> ReleaseDeviceView:
    return ReleaseDeviceView(
        device_id=row["device_id"],
        outcome=row["outcome"],
        error_code=row["error_code"],
        notified_at_ms=row["notified_at_ms"],
        installed_at_ms=row["installed_at_ms"],
        updated_at_ms=row["updated_at_ms"],
    )


def _kill_view(row: Row) -> KillSwitchView:
    return KillSwitchView(
        task=row["task"], set_at_ms=row["set_at_ms"], set_by=row["set_by"], reason=row["reason"]
    )


class ReleaseOperations:
    """Releases of a namespace, and what may not run in it."""

    def __init__(
        self, database: Database, settings: AdminSettings, releases: ReleaseService
    ) -> None:
        self._database = database
        self._settings = settings
        self._releases = releases

    async def create(
        self, caller: Caller, namespace: str, new: NewRelease, idempotency_key: str = ""
    ) -> ReleaseView:
        """Makes a release; the same idempotency key gives the same release."""
        caller.require(Scope.RELEASE_WRITE, namespace)
        _check_bounds(new)
        draft = ReleaseDraft(
            task=check_task_name(new.task),
            version=new.version,
            targeting=checked_targeting(new.targeting.attributes),
            stages=tuple(
                Stage(share_ppm=stage.share_ppm, promote_at_ppm=stage.promote_at_ppm)
                for stage in new.stages
            ),
            rollback_version=new.rollback_version,
            start=new.start,
        )
        key = check_text(
            "idempotency key", idempotency_key, self._settings.idempotency_key_chars_max
        )
        made = await self._releases.create(namespace, draft, caller.actor, key)
        return release_view(made)

    async def command(
        self,
        caller: Caller,
        namespace: str,
        release_id: str,
        command: str,
        *,
        reason: str = "",
        if_revision: int = 0,
        rollback_version: int | None = None,
    ) -> ReleaseView:
        """Starts, pauses, resumes, aborts, promotes or rolls back."""
        caller.require(Scope.RELEASE_WRITE, namespace)
        check_reason(reason, self._settings)
        _check_version("rollback_version", rollback_version or 0, 0)
        release = await self._releases.command(
            namespace,
            check_release_id(release_id),
            parse_command(command),
            caller.actor,
            reason=reason,
            if_revision=if_revision,
            rollback_version=rollback_version,
        )
        return release_view(release)

    async def get(self, caller: Caller, namespace: str, release_id: str) -> ReleaseView:
        """Shows one release."""
        caller.require(Scope.RELEASE_READ, namespace)
        return release_view(await self._releases.get(namespace, check_release_id(release_id)))

    async def list(
        self, caller: Caller, namespace: str, page: PageRequest, *, task: str = ""
    ) -> Page[ReleaseView]:
        """Lists releases, newest first."""
        caller.require(Scope.RELEASE_READ, namespace)
        after = decode_token("releases", page.token, (str,)) or ("",)
        found = await self._releases.list(
            namespace,
            task=task and check_task_name(task),
            page_size=page_limit(page, self._settings),
            page_token=str(after[0]),
        )
        more = found.next_page_token
        return Page(
            items=tuple(release_view(release) for release in found.releases),
            next_page_token=encode_token("releases", (more,)) if more else "",
        )

    async def coverage(self, caller: Caller, namespace: str, release_id: str) -> CoverageCurve:
        """Shows how a release's coverage grew."""
        release = await self.get(caller, namespace, release_id)
        curve = await self._releases.coverage_curve(namespace, release_id)
        points = tuple(
            CoveragePoint(
                at_ms=point.at_ms,
                notified=point.notified,
                installed=point.installed,
                failed=point.failed,
            )
            for point in curve
        )
        times = await self._releases.times(namespace, release_id)
        return CoverageCurve(
            release_id=release_id,
            coverage=release.coverage,
            points=points,
            installed_p50_ms=times.p50_ms,
            installed_p99_ms=times.p99_ms,
        )

    async def events(
        self, caller: Caller, namespace: str, release_id: str, page: PageRequest
    ) -> Page[ReleaseEventView]:
        """Lists a release's history, oldest first; it comes on one page."""
        caller.require(Scope.RELEASE_READ, namespace)
        page_limit(page, self._settings)
        found = await self._releases.events(namespace, check_release_id(release_id))
        return Page(items=tuple(_event_view(event) for event in found))

    async def devices(
        self, caller: Caller, namespace: str, release_id: str, page: PageRequest
    ) -> Page[ReleaseDeviceView]:
        """Lists what devices acknowledged of a release, by device."""
        caller.require(Scope.DEVICE_READ, namespace)
        await self._releases.get(namespace, check_release_id(release_id))
        query = sa.select(release_devices).where(
            release_devices.c.namespace == namespace, release_devices.c.release_id == release_id
        )
        key = (release_devices.c.device_id,)
        return await list_rows(
            self._database,
            "release-devices",
            query,
            key,
            page,
            self._settings,
            _device_view,
            namespace=namespace,
        )

    async def watch(
        self, caller: Caller, namespace: str, release_id: str
    ) -> AsyncIterator[ReleaseView]:
        """Gives the release now and whenever it or its coverage changes."""
        caller.require(Scope.RELEASE_READ, namespace)
        async for release in self._releases.watch(namespace, check_release_id(release_id)):
            yield release_view(release)

    async def set_kill(
        self, caller: Caller, namespace: str, *, task: str, killed: bool, reason: str
    ) -> EpochView:
        """Stops a task (every task when `task` is empty), or lets it run again."""
        caller.require(Scope.KILL_WRITE, namespace)
        check_reason(reason, self._settings)
        name = check_task_name(task) if task else ALL_TASKS
        change = self._releases.set_kill if killed else self._releases.clear_kill
        return EpochView(epoch=await change(namespace, name, caller.actor, reason))

    async def kill_switches(
        self, caller: Caller, namespace: str, page: PageRequest
    ) -> Page[KillSwitchView]:
        """Lists what may not run."""
        caller.require(Scope.RELEASE_READ, namespace)
        query = sa.select(kill_switches).where(kill_switches.c.namespace == namespace)
        key = (kill_switches.c.task,)
        return await list_rows(
            self._database,
            "kill-switches",
            query,
            key,
            page,
            self._settings,
            _kill_view,
            namespace=namespace,
        )
