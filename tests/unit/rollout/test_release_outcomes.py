"""Acknowledgements: what a row may become, whatever devices say and in whatever batches it comes."""

import itertools

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from cloud.rollout.outcomes import TRANSITIONS, DeviceRow, fold
from cloud.rollout.release import ReleaseDraft
from cloud.store.database import Database
from cloud.store.tables import release_devices
from tests.helpers.release_fleet import TASK, Ack, ReleaseFleet
from tests.helpers.release_sets import NAMESPACE as NS

OUTCOMES = sorted(TRANSITIONS)
# How far a device has come; only coming back (an installation after a removal) may lead down.
RANK = {
    "notified": 1,
    "deferred": 1,
    "failed": 2,
    "installed": 3,
    "removed": 4,
    "rolled_back": 4,
}


def folded(outcomes: list[str]) -> list[DeviceRow]:
    rows: list[DeviceRow] = []
    for at_ms, outcome in enumerate(outcomes, start=1):
        row = fold(rows[-1] if rows else None, outcome, "", at_ms)
        assert row is not None
        rows.append(row)
    return rows


@given(outcomes=st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=12))
def test_a_device_only_goes_forward_or_comes_back_by_installing(outcomes: list[str]) -> None:
    rows = folded(outcomes)
    for before, after in itertools.pairwise(rows):
        assert RANK[after.outcome] >= RANK[before.outcome] or after.outcome == "installed"
        assert after.notified_at_ms == rows[0].notified_at_ms
        assert before.installed_at_ms in (None, after.installed_at_ms)
        assert (after == before) == (after.updated_at_ms == before.updated_at_ms)
    installed = [row.outcome == "installed" for row in rows]
    assert (rows[-1].installed_at_ms is not None) == any(installed)


@given(
    told=st.lists(
        st.tuples(st.sampled_from(OUTCOMES), st.integers(0, 100)), min_size=1, max_size=12
    )
)
def test_a_rows_times_never_go_back_with_the_clock(told: list[tuple[str, int]]) -> None:
    row: DeviceRow | None = None
    for outcome, now_ms in told:
        before, row = row, fold(row, outcome, "", now_ms)
        assert row is not None
        assert before is None or row.updated_at_ms >= before.updated_at_ms
        for at_ms in (row.notified_at_ms, row.installed_at_ms):
            assert at_ms is None or told[0][1] <= at_ms <= row.updated_at_ms


@pytest.mark.slow
async def test_a_curve_holds_its_bounds_when_the_clocks_go_back(database: Database) -> None:
    fleet = await ReleaseFleet.make(database, devices=40)
    release = await fleet.service.create(NS, ReleaseDraft(task=TASK, version=2, start=True), "ann")
    await fleet.acknowledge(release, fleet.devices, "notified")
    fleet.clock.advance_ms(-3_600_000)
    for device in fleet.devices[:20]:
        await fleet.acknowledge(release, [device], "installed")
    points = await fleet.service.coverage_curve(NS, release.id)
    assert [point.at_ms for point in points] == sorted({point.at_ms for point in points})
    assert (points[-1].notified, points[-1].installed) == (40, 20)


def test_a_late_notification_undoes_nothing() -> None:
    rows = folded(["installed", "notified", "deferred", "failed"])
    assert [row.outcome for row in rows] == ["installed"] * 4


def test_a_retry_may_succeed_and_a_deferral_may_be_told_again() -> None:
    assert folded(["notified", "failed", "installed"])[-1].outcome == "installed"
    assert folded(["deferred", "notified", "deferred"])[-1].outcome == "deferred"


def test_an_unknown_outcome_changes_nothing() -> None:
    assert fold(None, "exploded", "", 1) is None
    row = folded(["notified"])[-1]
    assert fold(row, "exploded", "", 2) == row


async def rows_of(database: Database) -> dict[tuple[str, str], tuple[str, str]]:
    async with database.read() as connection:
        found = await connection.execute(sa.select(release_devices))
        return {(r.release_id, r.device_id): (r.outcome, r.error_code) for r in found}


@pytest.mark.slow
async def test_a_batch_folds_each_device_in_order(database: Database) -> None:
    fleet = await ReleaseFleet.make(database, devices=3)
    draft = ReleaseDraft(task=TASK, version=2, start=True)
    release = await fleet.service.create(NS, draft, "ann")
    a, b, c = fleet.devices

    def ack(outcome: str, version: int = 2, code: str = "", release_id: str = release.id) -> Ack:
        return Ack(release_id=release_id, version=version, outcome=outcome, error_code=code)

    batch = [
        (a, [ack("notified"), ack("installed")]),
        (b, [ack("notified"), ack("failed", code="FILE_DAMAGED" * 9)]),
        # Rolled back *to* this release's version: it holds it now. A release that is not ours, or none: dropped.
        (c, [ack("rolled_back"), ack("installed", release_id="r9"), ack("removed", release_id="")]),
        (a, [ack("rolled_back", version=1)]),
    ]
    async with database.begin() as connection:
        await fleet.service.record_batch(connection, NS, batch, 5)
        await fleet.service.record_outcomes(connection, "demo/other", a, [ack("removed")], 6)
    assert await rows_of(database) == {
        (release.id, a): ("rolled_back", ""),
        (release.id, b): ("failed", ("FILE_DAMAGED" * 9)[:64]),
        (release.id, c): ("installed", ""),
    }


@pytest.mark.slow
async def test_a_batch_that_is_rolled_back_leaves_nothing(database: Database) -> None:
    fleet = await ReleaseFleet.make(database, devices=1)
    release = await fleet.service.create(NS, ReleaseDraft(task=TASK, version=2, start=True), "ann")
    ack = Ack(release_id=release.id, version=2, outcome="installed")

    async def gateway() -> None:
        async with database.begin() as connection:
            await fleet.service.record_batch(connection, NS, [(fleet.devices[0], [ack])], 5)
            raise RuntimeError("the gateway's own part failed")

    with pytest.raises(RuntimeError, match="the gateway's"):
        await gateway()
    assert await rows_of(database) == {}
