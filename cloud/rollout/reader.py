"""Releases as they are read: one, a page, a curve, a log, and whatever changes while one looks.

Rules of this module:

- Nothing here writes. Counts are those of the census; they may be as old as its settings say.
- Watchers are handed what is, not what happened: whoever looks late misses nothing.
"""

from collections.abc import AsyncIterator, Sequence

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.rollout import curve, kill, rows
from cloud.rollout.census import Audience, Census, take_census
from cloud.rollout.machine import Counts, history, sentence
from cloud.rollout.release import (
    Coverage,
    Release,
    ReleaseDraft,
    ReleaseEvent,
    ReleasePage,
    check_draft,
    cover,
)
from cloud.rollout.rows import StoredRelease
from cloud.rollout.settings import RolloutSettings
from cloud.rollout.wakes import Wakes, wait_woken
from cloud.store.database import Database
from cloud.store.namespaces import require_namespace
from device_agent.clock import Clock


class ReleaseReader:
    """The releases of all namespaces of one database, to look at.

    Attributes:
        settings: Limits and paces.
    """

    def __init__(
        self, database: Database, clock: Clock, settings: RolloutSettings | None = None
    ) -> None:
        self.settings = settings or RolloutSettings()
        self._database = database
        self._census = Census(clock, self.settings)
        self._wakes = Wakes()

    async def get(self, namespace: str, release_id: str) -> Release:
        """One release with its coverage.

        Raises:
            ReleaseNotFound: There is none of this id.
        """
        async with self._database.read() as connection:
            release = await rows.read_release(connection, namespace, release_id)
            (shown,) = await self._show(connection, [release])
        return shown

    async def list(
        self, namespace: str, task: str = "", page_size: int = 0, page_token: str = ""
    ) -> ReleasePage:
        """Releases, newest first; the token is that of the page before.

        Raises:
            NamespaceUnknown: there are none, because there is no such namespace.
        """
        size = min(page_size or self.settings.page_size, self.settings.page_size_max)
        async with self._database.read() as connection:
            found = await rows.read_page(connection, namespace, task, page_token, size + 1)
            if not found:
                await require_namespace(connection, namespace)
            shown = await self._show(connection, found[:size])
        token = shown[-1].id if len(found) > size else ""
        return ReleasePage(releases=shown, next_page_token=token)

    async def coverage(self, namespace: str, release_id: str) -> Coverage:
        """How far a release has come, also by stage."""
        return (await self.get(namespace, release_id)).coverage

    async def coverage_curve(self, namespace: str, release_id: str) -> tuple[curve.CurvePoint, ...]:
        """Notified, installed and failed devices over time."""
        async with self._database.read() as connection:
            await rows.read_release(connection, namespace, release_id)
            return await curve.read_curve(
                connection, namespace, release_id, self.settings.curve_points_max
            )

    async def times(self, namespace: str, release_id: str) -> curve.ReleaseTimes:
        """How long from the start until the cloud knew a device to have it installed."""
        async with self._database.read() as connection:
            release = await rows.read_release(connection, namespace, release_id)
            started = release.started_at_ms or 0
            return await curve.read_times(connection, namespace, release_id, started)

    async def events(self, namespace: str, release_id: str) -> tuple[ReleaseEvent, ...]:
        """The release's log with a sentence for each entry, oldest first."""
        async with self._database.read() as connection:
            await rows.read_release(connection, namespace, release_id)
            log = await rows.read_log(connection, namespace, release_id)
        states = history([(at_ms, entry) for _, at_ms, _, entry in log])
        return tuple(
            ReleaseEvent(
                revision=revision,
                at_ms=at_ms,
                actor=actor,
                event=msgspec.to_builtins(entry),
                state=state.phase,
                stage_index=state.stage_index,
                message=sentence(state),
            )
            for (revision, at_ms, actor, entry), state in zip(log, states, strict=True)
        )

    async def preview(self, namespace: str, draft: ReleaseDraft) -> tuple[Counts, ...]:
        """Devices that each stage of a draft would be for, as of now.

        A release that is not sticky draws by an id that it does not have yet, so the shares are exact only in size.
        """
        stages = check_draft(draft, self.settings)
        audience = Audience(
            release_id="",
            targeting=draft.targeting,
            salt=draft.task if draft.sticky else "",
            shares_ppm=tuple(stage.share_ppm for stage in stages),
        )
        async with self._database.read() as connection:
            (counts,) = await take_census(
                connection, namespace, [audience], self.settings.census_rows
            )
        return cover(counts, len(stages) - 1).stages

    async def kill_switches(self, namespace: str) -> tuple[kill.KillSwitchRow, ...]:
        """The switches that are set; task "" is all tasks."""
        async with self._database.read() as connection:
            return await kill.read_switches(connection, namespace)

    def wake(self, namespace: str) -> None:
        """Wakes the watchers; for whoever committed acknowledgements."""
        self._wakes.wake(namespace)

    async def watch(self, namespace: str, release_id: str) -> AsyncIterator[Release]:
        """The release now, and again whenever it or its coverage changes."""
        seen: Release | None = None
        with self._wakes.watcher(namespace) as woken:
            while True:
                release = await self.get(namespace, release_id)
                if release != seen:
                    seen = release
                    yield release
                await wait_woken(woken, self.settings.watch_rest_ms, self.settings.watch_poll_ms)

    async def watch_namespace(self, namespace: str) -> AsyncIterator[tuple[Release, ...]]:
        """The newest releases and all active ones, then always those that changed, oldest first."""
        seen: dict[str, Release] = {}
        with self._wakes.watcher(namespace) as woken:
            while True:
                now = {release.id: release for release in await self._followed(namespace)}
                changed = [release for key, release in now.items() if seen.get(key) != release]
                seen = now
                if changed:
                    yield tuple(sorted(changed, key=lambda release: release.id))
                await wait_woken(woken, self.settings.watch_rest_ms, self.settings.watch_poll_ms)

    async def _show(
        self, connection: AsyncConnection, releases: Sequence[StoredRelease]
    ) -> tuple[Release, ...]:
        counts = await self.counts(connection, releases)
        return tuple(
            release.shown(cover(counted, release.machine.stage_index))
            for release, counted in zip(releases, counts, strict=True)
        )

    async def counts(
        self, connection: AsyncConnection, releases: Sequence[StoredRelease]
    ) -> Sequence[tuple[Counts, ...]]:
        """Counts by cohort of releases of one namespace, in order; as young as the settings say."""
        if not releases:
            return []
        audiences = [_audience(release) for release in releases]
        return await self._census.count(connection, releases[0].namespace, audiences)

    async def _followed(self, namespace: str) -> tuple[Release, ...]:
        async with self._database.read() as connection:
            newest = await rows.read_page(
                connection, namespace, "", "", self.settings.watch_releases
            )
            active = await rows.read_in_states(connection, rows.ACTIVE, namespace)
            unique = {release.id: release for release in (*newest, *active)}
            return await self._show(connection, list(unique.values()))


def _audience(release: StoredRelease) -> Audience:
    return Audience(
        release_id=release.id,
        targeting=release.targeting,
        salt=release.salt,
        shares_ppm=tuple(stage.share_ppm for stage in release.machine.stages),
    )
