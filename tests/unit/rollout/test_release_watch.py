"""Counts that are given out again, watchers that are woken, and promotion that happens by itself."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from cloud.rollout.machine import Command, ReleaseState, Stage
from cloud.rollout.release import Release, ReleaseDraft
from cloud.rollout.service import ReleaseService
from cloud.rollout.settings import RolloutSettings
from cloud.store.database import Database
from cloud.targeting.targeting import Targeting
from device_agent.clock import SystemClock
from tests.helpers.release_fleet import TASK, ReleaseFleet
from tests.helpers.release_sets import NAMESPACE as NS

pytestmark = pytest.mark.slow
ALL_AT_ONCE = (Stage(share_ppm=1_000_000, promote_at_ppm=1_000_000),)
EAGER = RolloutSettings(
    census_age_ms_max=0, census_rest_factor=0, watch_rest_ms=0, watch_poll_ms=20, tick_ms=5
)


async def started(fleet: ReleaseFleet) -> Release:
    draft = ReleaseDraft(task=TASK, version=1, stages=ALL_AT_ONCE, start=True)
    return await fleet.service.create(NS, draft, "ann")


async def take[T](stream: AsyncIterator[T]) -> T:
    async with asyncio.timeout(5):
        return await anext(stream)


async def test_a_young_count_is_given_out_again_and_an_old_one_is_not(database: Database) -> None:
    fleet = await ReleaseFleet.make(database, devices=4)
    release = await started(fleet)
    assert release.coverage.targeted == 4
    await fleet.enrol()
    assert (await fleet.service.get(NS, release.id)).coverage.targeted == 4
    fleet.clock.advance_ms(fleet.service.settings.census_age_ms_max)
    assert (await fleet.service.get(NS, release.id)).coverage.targeted == 5
    # An operator's own act is never answered with what was before it.
    await fleet.enrol()
    paused = await fleet.service.command(NS, release.id, Command.PAUSE, "ann")
    assert paused.coverage.targeted == 6


async def test_many_pages_of_devices_count_like_one(database: Database) -> None:
    settings = RolloutSettings(census_rows=3)
    fleet = await ReleaseFleet.make(database, devices=10, settings=settings)
    assert (await started(fleet)).coverage.targeted == 10


async def test_a_draft_is_previewed_before_it_is_made(database: Database) -> None:
    fleet = await ReleaseFleet.make(database, devices=5)
    for _ in range(3):
        await fleet.enrol({"site": "a"})
    draft = ReleaseDraft(task=TASK, version=1, targeting=Targeting(attributes={"site": "a"}))
    assert [row.targeted for row in await fleet.service.preview(NS, draft)] == [3]
    everyone = ReleaseDraft(task=TASK, version=1)
    assert [row.targeted for row in await fleet.service.preview(NS, everyone)] == [8]


async def test_sticky_releases_begin_with_the_same_devices(database: Database) -> None:
    fleet = await ReleaseFleet.make(database, devices=3)
    drafts = [ReleaseDraft(task=TASK, version=1, sticky=sticky) for sticky in (True, True, False)]
    salts = [(await fleet.service.create(NS, draft, "ann")).salt for draft in drafts]
    assert salts[0] == salts[1] == TASK
    assert salts[2] != TASK


async def test_a_watcher_is_handed_each_change_once(database: Database) -> None:
    fleet = await ReleaseFleet.make(database, devices=2, settings=EAGER)
    release = await started(fleet)
    stream = fleet.service.watch(NS, release.id)
    assert await take(stream) == release
    await fleet.acknowledge(release, fleet.devices[:1], "installed")
    assert (await take(stream)).coverage.installed == 1
    await fleet.service.command(NS, release.id, Command.PAUSE, "ann")
    assert (await take(stream)).state is ReleaseState.PAUSED
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await anext(stream)


async def test_a_watcher_of_a_namespace_sees_what_another_process_did(database: Database) -> None:
    fleet = await ReleaseFleet.make(database, devices=2, settings=EAGER)
    stream = fleet.service.watch_namespace(NS)
    first = await started(fleet)
    assert [one.id for one in await take(stream)] == [first.id]
    # A service of its own has watchers of its own: this one hears of it by looking.
    elsewhere = ReleaseService(database, SystemClock())
    await elsewhere.command(NS, first.id, Command.PAUSE, "bob")
    (changed,) = await take(stream)
    assert (changed.id, changed.state) == (first.id, ReleaseState.PAUSED)


async def test_a_finished_release_completes_by_itself(database: Database) -> None:
    fleet = await ReleaseFleet.make(database, devices=3, settings=EAGER)
    release = await started(fleet)
    running = asyncio.create_task(fleet.service.run())
    try:
        stream = fleet.service.watch(NS, release.id)
        await take(stream)
        await fleet.acknowledge(release, fleet.devices, "installed")
        async with asyncio.timeout(5):
            async for shown in stream:
                if shown.state is ReleaseState.COMPLETED:
                    break
    finally:
        running.cancel()
        await asyncio.wait([running])
    events = await fleet.service.events(NS, release.id)
    assert [event.actor for event in events] == ["ann", "ann", "cloud"]


async def test_an_operator_who_comes_first_stops_a_promotion(database: Database) -> None:
    """Ticks and a pause race; afterwards nothing moved that was paused, and the log replays."""
    fleet = await ReleaseFleet.make(database, devices=3, settings=EAGER)
    release = await started(fleet)
    await fleet.acknowledge(release, fleet.devices, "installed")
    results = await asyncio.gather(
        fleet.service.command(NS, release.id, Command.PAUSE, "ann"),
        fleet.service.tick(),
        fleet.service.tick(),
        return_exceptions=True,
    )
    state = (await fleet.service.get(NS, release.id)).state
    paused_first = isinstance(results[0], Release)
    assert state is (ReleaseState.PAUSED if paused_first else ReleaseState.COMPLETED)
    events = await fleet.service.events(NS, release.id)
    assert [event.revision for event in events] == [1, 2, 3]
