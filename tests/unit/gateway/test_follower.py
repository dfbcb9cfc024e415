"""The release sets in memory follow the database, through changes, restarts and outages."""

import asyncio

import pytest
import sqlalchemy as sa

from cloud.gateway.follower import Follower
from cloud.gateway.settings import FollowerSettings
from cloud.store.database import Database
from cloud.store.tables import namespaces
from device_agent.clock import SystemClock
from tests.helpers.conditions import until
from tests.helpers.release_sets import DEVICE, NAMESPACE, TAG, bundle, release, version
from tests.helpers.seed_store import Seed

# Nobody waits for the clock here: looks are asked for.
SETTINGS = FollowerSettings(poll_ms=60_000)


@pytest.fixture
async def seed(database: Database) -> Seed:
    seed = Seed(database)
    await seed.namespace()
    await seed.publish(version("digits", 1))
    await seed.release(release("digits", 1))
    await seed.device(DEVICE, {"tier": "gold"})
    return seed


def follower(seed: Seed, settings: FollowerSettings = SETTINGS) -> Follower:
    return Follower(seed.database, SystemClock(), settings)


async def loaded(seed: Seed, settings: FollowerSettings = SETTINGS) -> Follower:
    made = follower(seed, settings)
    await made.start()
    return made


async def test_a_cold_start_loads_everything(seed: Seed) -> None:
    epoch = await seed.kill("digits")
    release_set = (await loaded(seed)).set_for(NAMESPACE)
    assert release_set is not None
    assert release_set.epoch == epoch
    assert release_set.kill.tasks == ("digits",)
    assert release_set.kill_epoch == epoch
    (plan,) = release_set.tasks["digits"].releases
    assert plan.target is not None
    assert plan.target.version.bundles == {TAG: bundle("digits", 1, TAG)}


async def test_there_is_no_set_for_an_unknown_namespace(seed: Seed) -> None:
    assert (await loaded(seed)).set_for("demo/other") is None


async def test_a_change_advances_the_set_and_its_log(seed: Seed) -> None:
    follows = await loaded(seed)
    before = follows.set_for(NAMESPACE)
    await seed.publish(version("digits", 2))
    epoch = await seed.release(release("digits", 2, share=0.5))
    await follows.look()
    after = follows.set_for(NAMESPACE)
    assert before is not None
    assert after is not None
    assert after.epoch == epoch
    assert after.log.since(before.epoch) == ("digits",)
    assert [plan.release.version for plan in after.tasks["digits"].releases] == [2, 1]


async def test_following_ends_where_a_cold_start_begins(seed: Seed) -> None:
    follows = await loaded(seed)
    await seed.publish(version("digits", 2))
    await seed.release(release("digits", 2))
    await follows.look()
    await seed.release(release("digits", 2, "rolled_back", rollback=1))
    await seed.kill("")
    await seed.device("cd" * 16)
    await seed.revoke("cd" * 16)
    await follows.look()
    warm, cold = follows.set_for(NAMESPACE), (await loaded(seed)).set_for(NAMESPACE)
    assert warm is not None
    assert cold is not None
    assert (warm.epoch, warm.kill, warm.revoked) == (cold.epoch, cold.kill, cold.revoked)
    assert [plan.release for plan in warm.tasks["digits"].releases] == [
        plan.release for plan in cold.tasks["digits"].releases
    ]


async def test_a_task_whose_last_release_ended_has_no_plan(seed: Seed) -> None:
    follows = await loaded(seed)
    async with seed.database.begin() as connection:
        await connection.execute(sa.text("UPDATE releases SET state = 'superseded'"))
    await seed.release(release("other", 1))
    await follows.look()
    await seed.release(release("digits", 9))
    await follows.look()
    release_set = follows.set_for(NAMESPACE)
    assert release_set is not None
    assert "digits" not in release_set.tasks


async def test_a_version_that_is_not_published_is_not_released(seed: Seed) -> None:
    await seed.publish(version("draft", 1), state="prepared")
    await seed.release(release("draft", 1))
    release_set = (await loaded(seed)).set_for(NAMESPACE)
    assert release_set is not None
    assert "draft" not in release_set.tasks


async def test_too_many_changes_load_the_namespace_anew(seed: Seed) -> None:
    follows = await loaded(seed, FollowerSettings(poll_ms=60_000, changes_per_look_max=2))
    for _ in range(3):
        epoch = await seed.release(release("digits", 1, share=0.5))
    await follows.look()
    release_set = follows.set_for(NAMESPACE)
    assert release_set is not None
    assert release_set.epoch == epoch
    assert release_set.tasks["digits"].releases[0].release.share_ppm == 500_000


async def test_a_log_reaches_back_as_far_as_its_limit(seed: Seed) -> None:
    epochs = [await seed.release(release("digits", 1)) for _ in range(5)]
    settings = FollowerSettings(poll_ms=60_000, changes_max=2)
    release_set = (await loaded(seed, settings)).set_for(NAMESPACE)
    assert release_set is not None
    assert release_set.log.since(epochs[2]) == ("digits",)
    assert release_set.log.since(epochs[1]) is None


async def test_a_restored_database_is_followed_back(seed: Seed) -> None:
    follows = await loaded(seed)
    async with seed.database.begin() as connection:
        await connection.execute(sa.update(namespaces).values(epoch=5))
    await follows.look()
    release_set = follows.set_for(NAMESPACE)
    assert release_set is not None
    assert release_set.epoch == 5


async def test_revoked_and_forgotten_devices_are_refused_by_the_set(seed: Seed) -> None:
    follows = await loaded(seed)
    await seed.revoke(DEVICE)
    await follows.look()
    release_set = follows.set_for(NAMESPACE)
    assert release_set is not None
    assert DEVICE in release_set.revoked
    await seed.revoke(DEVICE, forget=True)
    for each in (follows, follower(seed)):
        await each.look()
        release_set = each.set_for(NAMESPACE)
        assert release_set is not None
        assert DEVICE in release_set.revoked


async def test_enrolled_devices_are_in_memory_from_the_start(seed: Seed) -> None:
    follows = await loaded(seed)
    assert follows.enrolled(NAMESPACE, DEVICE) == {"tier": "gold"}
    assert follows.enrolled(NAMESPACE, "cd" * 16) is None


async def test_a_notified_change_is_looked_at_without_waiting_for_the_poll(seed: Seed) -> None:
    follows = await loaded(seed)
    running = asyncio.create_task(follows.run())
    epoch = await seed.release(release("digits", 1))
    follows.on_epoch(NAMESPACE, epoch)
    await until(lambda: follows.health().epochs[NAMESPACE] == epoch)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_device_that_came_later_is_met(seed: Seed) -> None:
    follows = await loaded(seed, FollowerSettings(poll_ms=60_000, meet_ms_max=5_000))
    running = asyncio.create_task(follows.run())
    await seed.device("cd" * 16, {"tier": "tin"})
    assert await follows.meet(NAMESPACE, "cd" * 16) is True
    assert follows.enrolled(NAMESPACE, "cd" * 16) == {"tier": "tin"}
    assert await follows.meet(NAMESPACE, "ef" * 16) is False
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    # Remembered: no look is needed to say so again.
    assert await follows.meet(NAMESPACE, "ef" * 16) is False


async def test_meeting_is_bounded(seed: Seed) -> None:
    follows = await loaded(seed, FollowerSettings(poll_ms=60_000, meet_ms_max=10))
    assert await follows.meet(NAMESPACE, "cd" * 16) is None


@pytest.mark.slow
async def test_without_the_database_answers_go_on_and_health_says_stale(seed: Seed) -> None:
    follows = await loaded(seed, FollowerSettings(poll_ms=1, stale_after_ms=20))
    assert not follows.health().stale
    async with seed.database.begin() as connection:
        await connection.execute(sa.text("ALTER TABLE namespaces RENAME TO gone"))
    running = asyncio.create_task(follows.run())
    await until(lambda: follows.health().stale)
    assert follows.set_for(NAMESPACE) is not None
    assert not running.done()
    async with seed.database.begin() as connection:
        await connection.execute(sa.text("ALTER TABLE gone RENAME TO namespaces"))
    await until(lambda: not follows.health().stale)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_before_the_first_look_it_is_not_ready(database: Database) -> None:
    health = Follower(database, SystemClock(), SETTINGS).health()
    assert (health.ready, health.stale, health.age_ms) == (False, True, -1)
