"""Drafts: what is refused before anything is stored, and the coverage of stages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.rollout.errors import ReleaseInvalid
from cloud.rollout.machine import Counts, Stage
from cloud.rollout.release import ReleaseDraft, check_draft, cover
from cloud.rollout.settings import RolloutSettings
from cloud.rollout.trace import new_traceparent
from device_agent.tasks.errors import NameInvalid

SETTINGS = RolloutSettings()


def stages(*shares: int, promote_at_ppm: int = 0) -> tuple[Stage, ...]:
    return tuple(Stage(share_ppm=share, promote_at_ppm=promote_at_ppm) for share in shares)


def test_no_stages_are_one_of_everybody() -> None:
    draft = ReleaseDraft(task="digits", version=1)
    assert check_draft(draft, SETTINGS) == stages(1_000_000)


@pytest.mark.parametrize(
    ("draft", "says"),
    [
        (ReleaseDraft(task="digits", version=0), "version 0 does not exist"),
        (ReleaseDraft(task="digits", version=1, rollback_version=-1), "rollback_version must be"),
        (ReleaseDraft(task="digits", version=1, rollback_version=1), "is the version released"),
        (ReleaseDraft(task="digits", version=1, stages=stages(0)), "stage 1: share_ppm is 0"),
        (ReleaseDraft(task="digits", version=1, stages=stages(5, 5)), "above the stage before it"),
        (ReleaseDraft(task="digits", version=1, stages=stages(1_000_001)), "which is 100 %"),
        (
            ReleaseDraft(task="digits", version=1, stages=stages(5, promote_at_ppm=-1)),
            "stage 1: promote_at_ppm is -1",
        ),
        (ReleaseDraft(task="digits", version=1, stages=stages(*range(1, 22))), "at most 20 fit"),
    ],
)
def test_a_draft_that_breaks_a_rule_is_refused(draft: ReleaseDraft, says: str) -> None:
    with pytest.raises(ReleaseInvalid, match=says):
        check_draft(draft, SETTINGS)


def test_a_task_is_named_as_tasks_are() -> None:
    with pytest.raises(NameInvalid):
        check_draft(ReleaseDraft(task="Digits!", version=1), SETTINGS)


@given(rows=st.lists(st.tuples(*[st.integers(0, 9)] * 4), min_size=1, max_size=5), data=st.data())
def test_a_stage_has_the_devices_of_all_cohorts_up_to_it(
    rows: list[tuple[int, int, int, int]], data: st.DataObject
) -> None:
    counts = tuple(Counts(targeted=t, notified=n, installed=i, failed=f) for t, n, i, f in rows)
    index = data.draw(st.integers(-1, len(rows) - 1))
    coverage = cover(counts, index)
    assert coverage.targeted == sum(row[0] for row in rows[: index + 1])
    assert coverage.failed == sum(row[3] for row in rows[: index + 1])
    assert [stage.installed for stage in coverage.stages] == [
        sum(row[2] for row in rows[: n + 1]) for n in range(len(rows))
    ]


def test_a_release_without_a_recorded_trace_gets_an_id_of_its_own() -> None:
    assert new_traceparent(lambda size: b"\xab" * size) == f"00-{'ab' * 16}-{'ab' * 8}-01"
    # All zeros would mean that there is none.
    assert new_traceparent(bytes) == f"00-{'0' * 31}1-{'0' * 15}1-01"
