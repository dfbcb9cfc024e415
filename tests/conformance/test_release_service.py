"""Releases in the store, on both databases: what commands, acknowledgements and time make of them."""

import asyncio

import pytest
import sqlalchemy as sa
import structlog
from prometheus_client import REGISTRY

from cloud.rollout import codec
from cloud.rollout.errors import (
    CommandNotAllowed,
    KillTargetUnknown,
    ReleaseInvalid,
    ReleaseLogDamaged,
    ReleaseNotFound,
    RevisionConflict,
    VersionNotPublished,
)
from cloud.rollout.machine import Command, Counts, ReleaseState, Stage, replay
from cloud.rollout.release import Release, ReleaseDraft
from cloud.rollout.rows import read_log
from cloud.store.audit import read_audit, verify_chain
from cloud.store.database import Database
from cloud.store.epochs import changes_since
from cloud.store.errors import IdempotencyKeyReused, NamespaceUnknown
from cloud.store.tables import releases
from cloud.targeting.errors import TargetingInvalid
from cloud.targeting.targeting import Targeting
from tests.helpers.release_fleet import TASK, ReleaseFleet
from tests.helpers.release_sets import NAMESPACE as NS
from tests.helpers.release_sets import version

TWO = (Stage(share_ppm=400_000, promote_at_ppm=1_000_000), Stage(share_ppm=1_000_000))
ALL_AT_ONCE = (Stage(share_ppm=1_000_000, promote_at_ppm=1_000_000),)


@pytest.fixture
async def fleet(database: Database) -> ReleaseFleet:
    return await ReleaseFleet.make(database, devices=10, versions=3)


async def start(fleet: ReleaseFleet, number: int = 1, **draft: object) -> Release:
    fields = {"task": TASK, "version": number, "stages": TWO, "start": True, **draft}
    return await fleet.service.create(NS, ReleaseDraft(**fields), "ann")  # type: ignore[arg-type]  # by name


async def complete(fleet: ReleaseFleet, number: int, **draft: object) -> Release:
    release = await start(fleet, number, stages=ALL_AT_ONCE, **draft)
    await fleet.acknowledge(release, fleet.devices, "installed")
    assert await fleet.service.tick() == (release.id,)
    return await fleet.service.get(NS, release.id)


async def actions(fleet: ReleaseFleet) -> list[tuple[str, str]]:
    async with fleet.database.read() as connection:
        await verify_chain(connection, NS)
        return [(row.actor, row.action) for row in await read_audit(connection, NS)]


async def test_a_release_from_draft_to_completed(fleet: ReleaseFleet) -> None:
    draft = await start(fleet, 1, start=False)
    assert (draft.state, draft.stage_index, draft.started_at_ms) == (ReleaseState.DRAFT, -1, None)
    assert (draft.coverage.targeted, fleet.epochs) == (0, [])
    first = fleet.within(draft, 400_000)
    assert 0 < len(first) < 10
    assert [row.targeted for row in draft.coverage.stages] == [len(first), 10]

    running = await fleet.service.command(NS, draft.id, Command.START, "ann", "go")
    assert (running.state, running.stage_index) == (ReleaseState.RUNNING, 0)
    assert (running.coverage.targeted, len(fleet.epochs)) == (len(first), 1)

    await fleet.acknowledge(running, first, "notified")
    assert await fleet.service.tick() == ()
    await fleet.acknowledge(running, first, "installed")
    assert await fleet.service.tick() == (draft.id,)
    second = await fleet.service.get(NS, draft.id)
    assert (second.stage_index, second.coverage.targeted) == (1, 10)
    assert second.coverage.installed == len(first)

    # The last stage waits for the operator.
    await fleet.acknowledge(running, fleet.devices, "installed")
    assert await fleet.service.tick() == ()
    done = await fleet.service.command(NS, draft.id, Command.PROMOTE, "bob")
    assert done.state is ReleaseState.COMPLETED
    assert await actions(fleet) == [
        ("ann", "release.create"),
        ("ann", "release.start"),
        ("cloud", "release.promoted"),
        ("bob", "release.promote"),
    ]
    async with fleet.database.read() as connection:
        changes = await changes_since(connection, NS, 0, 100)
    assert [(NS, change.epoch) for change in changes] == fleet.epochs
    assert {(change.kind, change.subject) for change in changes} == {("release", TASK)}


async def test_the_log_replays_to_the_stored_state(fleet: ReleaseFleet) -> None:
    release = await complete(fleet, 1)
    await fleet.service.command(NS, release.id, Command.ROLL_BACK, "ann", "", 0, 2)
    async with fleet.database.read() as connection:
        stored = await connection.execute(sa.select(releases.c.machine, releases.c.revision))
        machine, revision = stored.one()
        log = await read_log(connection, NS, release.id)
    assert [row[0] for row in log] == list(range(1, revision + 1))
    state = replay([(at_ms, entry) for _, at_ms, _, entry in log])
    assert codec.state_from_json(machine) == state
    events = await fleet.service.events(NS, release.id)
    assert [event.event["type"] for event in events] == ["created", "command", "counted", "command"]
    assert [event.stage_index for event in events] == [-1, 0, 0, 0]
    assert [event.message for event in events] == [
        "draft",
        "running: stage 1 of 1, 100 % of its fleet",
        "completed",
        "rolled back to version 2",
    ]


async def test_an_operator_who_read_an_older_revision_is_refused(fleet: ReleaseFleet) -> None:
    release = await start(fleet)
    paused = await fleet.service.command(NS, release.id, Command.PAUSE, "ann", "", release.revision)
    assert paused.revision == release.revision + 1
    with pytest.raises(RevisionConflict, match=f"at revision {paused.revision}"):
        await fleet.service.command(NS, release.id, Command.ABORT, "bob", "", release.revision)
    # Devices that answer raise no revision.
    await fleet.acknowledge(release, fleet.devices, "installed")
    assert (await fleet.service.get(NS, release.id)).revision == paused.revision


async def test_two_operators_at_once_get_one_transition(fleet: ReleaseFleet) -> None:
    release = await start(fleet)
    results = await asyncio.gather(
        *(fleet.service.command(NS, release.id, Command.PAUSE, who, "") for who in ("ann", "bob")),
        return_exceptions=True,
    )
    assert sum(isinstance(result, Release) for result in results) == 1
    assert sum(isinstance(result, CommandNotAllowed) for result in results) == 1


async def test_what_is_refused_writes_nothing(fleet: ReleaseFleet) -> None:
    release = await start(fleet)
    before = (await actions(fleet), list(fleet.epochs))
    command = fleet.service.command
    with pytest.raises(CommandNotAllowed, match="pause, promote, abort, roll_back"):
        await command(NS, release.id, Command.RESUME, "ann")
    with pytest.raises(ReleaseNotFound, match="shoal release list"):
        await command(NS, "r0", Command.PAUSE, "ann")
    with pytest.raises(ReleaseNotFound):
        await command("demo/other", release.id, Command.PAUSE, "ann")
    with pytest.raises(VersionNotPublished, match="no published version 9"):
        await command(NS, release.id, Command.ROLL_BACK, "ann", "", 0, 9)
    with pytest.raises(ReleaseInvalid, match="is what the release installs"):
        await command(NS, release.id, Command.ROLL_BACK, "ann", "", 0, 1)
    with pytest.raises(ReleaseInvalid, match="goes with roll_back only"):
        await command(NS, release.id, Command.PAUSE, "ann", "", 0, 1)
    with pytest.raises(ReleaseInvalid, match="at most 1024"):
        await command(NS, release.id, Command.PAUSE, "ann", "x" * 1025)
    with pytest.raises(VersionNotPublished):
        await start(fleet, 4)
    with pytest.raises(VersionNotPublished):
        await start(fleet, 1, rollback_version=4)
    assert (await actions(fleet), fleet.epochs) == before
    assert await fleet.service.get(NS, release.id) == release


async def test_a_prepared_version_is_not_released(fleet: ReleaseFleet) -> None:
    await fleet.seed.publish(version(TASK, 7), state="prepared")
    with pytest.raises(VersionNotPublished):
        await start(fleet, 7)


async def test_the_same_key_gives_the_same_release(fleet: ReleaseFleet) -> None:
    draft = ReleaseDraft(task=TASK, version=1, start=True)
    first = await fleet.service.create(NS, draft, "ann", "key")
    again = await fleet.service.create(NS, draft, "ann", "key")
    assert (first.id, len(fleet.epochs)) == (again.id, 1)
    with pytest.raises(IdempotencyKeyReused):
        await fleet.service.create(NS, ReleaseDraft(task=TASK, version=2), "ann", "key")
    assert (await fleet.service.create(NS, draft, "ann")).id != first.id


async def test_a_completed_release_supersedes_and_a_rollback_restores(fleet: ReleaseFleet) -> None:
    everyone = await complete(fleet, 1)
    linux = await start(fleet, 1, targeting=Targeting(attributes={"os": "linux"}))
    draft = await start(fleet, 1, start=False)
    newer = await complete(fleet, 2)
    assert newer.rollback_version == 1

    async def states() -> list[str]:
        found = [await fleet.service.get(NS, one.id) for one in (everyone, linux, draft, newer)]
        return [str(one.state) for one in found]

    assert await states() == ["superseded", "superseded", "draft", "completed"]
    await fleet.service.command(NS, newer.id, Command.ROLL_BACK, "ann", "it is bad")
    assert await states() == ["completed", "running", "draft", "rolled_back"]
    with pytest.raises(CommandNotAllowed, match="make a new release"):
        await fleet.service.command(NS, newer.id, Command.START, "ann")


async def test_a_narrower_or_partial_release_supersedes_nothing(fleet: ReleaseFleet) -> None:
    await fleet.enrol({"os": "linux"})
    everyone = await complete(fleet, 1)
    await complete(fleet, 2, targeting=Targeting(attributes={"os": "linux"}))
    partial = await start(fleet, 3, stages=(Stage(share_ppm=999_999),))
    await fleet.service.command(NS, partial.id, Command.PROMOTE, "ann")
    assert (await fleet.service.get(NS, everyone.id)).state is ReleaseState.COMPLETED


async def test_what_starts_last_is_newest_whatever_the_clock_says(fleet: ReleaseFleet) -> None:
    first = await start(fleet, 1)
    fleet.clock.set_wall_ms(1_000)
    second = await start(fleet, 2)
    assert first.started_at_ms is not None
    assert second.started_at_ms == first.started_at_ms + 1


async def test_coverage_counts_enrolled_devices_that_match(fleet: ReleaseFleet) -> None:
    linux = [await fleet.enrol({"os": "linux"}) for _ in range(5)]
    release = await start(
        fleet, targeting=Targeting(attributes={"os": "linux"}), stages=ALL_AT_ONCE
    )
    await fleet.acknowledge(release, linux[:4], "notified")
    await fleet.acknowledge(release, linux[:2], "installed")
    await fleet.acknowledge(release, linux[2:3], "failed", error_code="SIGNATURE_INVALID")
    await fleet.acknowledge(release, fleet.devices[:1], "installed")  # not one of its devices
    coverage = await fleet.service.coverage(NS, release.id)
    assert coverage.stages == (Counts(targeted=5, notified=4, installed=2, failed=1),)
    await fleet.seed.revoke(linux[0])
    fleet.clock.advance_ms(1_000)
    coverage = await fleet.service.coverage(NS, release.id)
    assert (coverage.targeted, coverage.notified, coverage.installed) == (4, 3, 1)


async def test_the_curve_and_the_times(fleet: ReleaseFleet) -> None:
    release = await start(fleet, stages=ALL_AT_ONCE)
    assert await fleet.service.coverage_curve(NS, release.id) == ()
    assert (await fleet.service.times(NS, release.id)).devices == 0
    await fleet.acknowledge(release, fleet.devices, "notified")  # after 1 s
    for device in fleet.devices[:9]:  # after 2 to 10 s
        await fleet.acknowledge(release, [device], "installed")
    await fleet.acknowledge(release, fleet.devices[9:], "failed", error_code="FILE_DAMAGED")
    await fleet.acknowledge(release, fleet.devices[:1], "rolled_back", version=2)
    curve = await fleet.service.coverage_curve(NS, release.id)
    started = release.started_at_ms
    assert started is not None
    # A slot ends where the next begins; none is wider than the span over curve_points_max.
    assert [round((point.at_ms - started) / 1_000) for point in curve] == list(range(1, 13))
    assert [point.notified for point in curve] == [10] * 12
    assert [point.installed for point in curve] == [*range(10), 9, 8]
    assert [point.failed for point in curve] == [0] * 10 + [1, 1]
    times = await fleet.service.times(NS, release.id)
    assert (times.devices, times.p50_ms, times.p99_ms) == (9, 6_000, 10_000)


async def test_releases_come_in_pages_newest_first(fleet: ReleaseFleet) -> None:
    await fleet.seed.publish(version("other", 1))
    made = []
    for task in (TASK, "other", TASK):
        fleet.clock.advance_ms(1)
        draft = ReleaseDraft(task=task, version=1)
        made.append((await fleet.service.create(NS, draft, "ann")).id)
    page = await fleet.service.list(NS, page_size=2)
    assert [release.id for release in page.releases] == [made[2], made[1]]
    page = await fleet.service.list(NS, page_size=2, page_token=page.next_page_token)
    assert ([release.id for release in page.releases], page.next_page_token) == ([made[0]], "")
    assert [one.task for one in (await fleet.service.list(NS, TASK)).releases] == [TASK, TASK]
    with pytest.raises(NamespaceUnknown, match="demo/other"):
        await fleet.service.list("demo/other")


async def test_the_kill_switch(fleet: ReleaseFleet) -> None:
    with pytest.raises(KillTargetUnknown, match="no task 'digts'"):
        await fleet.service.set_kill(NS, "digts", "ann", "typo")
    first = await fleet.service.set_kill(NS, TASK, "ann", "burns")
    second = await fleet.service.set_kill(NS, "", "bob", "all of it")
    rows = await fleet.service.kill_switches(NS)
    assert [(row.task, row.set_by, row.reason) for row in rows] == [
        ("", "bob", "all of it"),
        (TASK, "ann", "burns"),
    ]
    third = await fleet.service.clear_kill(NS, "", "bob", "better")
    assert await fleet.service.clear_kill(NS, "", "bob", "again") == third
    assert fleet.epochs[:3] == [(NS, first), (NS, second), (NS, third)]
    assert [row.task for row in await fleet.service.kill_switches(NS)] == [TASK]
    async with fleet.database.read() as connection:
        changes = await changes_since(connection, NS, 0, 100)
    assert [(c.kind, c.subject) for c in changes] == [("kill", TASK), ("kill", ""), ("kill", "")]
    assert [action for _, action in await actions(fleet)] == ["kill.set", "kill.set", "kill.clear"]


@pytest.mark.parametrize("column", ["machine", "targeting"])
async def test_a_damaged_release_holds_up_no_other(fleet: ReleaseFleet, column: str) -> None:
    await fleet.seed.publish(version("words", 1))
    damaged = await start(fleet, stages=ALL_AT_ONCE)
    whole = await start(fleet, task="words", stages=ALL_AT_ONCE)
    async with fleet.database.begin() as connection:
        await connection.execute(
            sa.update(releases)
            .where(releases.c.release_id == damaged.id)
            .values({column: {"written": "by hand"}})
        )
    await fleet.acknowledge(whole, fleet.devices, "installed")
    with structlog.testing.capture_logs() as logged:
        assert await fleet.service.tick() == (whole.id,)
        assert await fleet.service.tick() == ()
    told = [row["release"] for row in logged if row["event"] == "rollout.release_damaged"]
    assert told == [damaged.id]
    assert REGISTRY.get_sample_value("shoal_rollout_damaged_releases") == 1
    with pytest.raises((ReleaseLogDamaged, TargetingInvalid)):
        await fleet.service.get(NS, damaged.id)
