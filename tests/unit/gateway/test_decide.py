"""What a device hears, by its epoch and by what changed since."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.gateway.decide import INSTRUCTIONS_BYTES_MAX, Kind, compare, decide
from device_agent.tasks.director import TASKS_MAX, Action, KillSwitch
from tests.helpers.release_sets import (
    instructions,
    release,
    release_set,
    request,
    row,
    version,
    view,
)

VERSIONS = [version(task, number) for task in ("a", "b", "c") for number in (1, 2)]
BASE = [release(task, 1) for task in ("a", "b", "c")]
HELD = [row(task, 1) for task in ("a", "b", "c")]
CHANGED_A = release_set(
    [*BASE, release("a", 2)], VERSIONS, epoch=100, changes=[(10, "b"), (50, "c"), (90, "a")]
)


def test_the_same_epoch_is_answered_without_a_look_at_the_profile() -> None:
    known = compare(CHANGED_A, 100)
    assert known is not None
    assert known.kind is Kind.SAME
    assert decide(CHANGED_A, view(request(epoch=100)), 100).kind is Kind.SAME


def test_a_set_behind_the_device_concludes_nothing() -> None:
    assert decide(CHANGED_A, view(request(epoch=101)), 101).kind is Kind.RETRY


def test_only_what_changed_is_sent_and_the_rest_is_kept() -> None:
    decision = decide(CHANGED_A, view(request(epoch=60, rows=HELD)), 60)
    assert decision.kind is Kind.CHANGED
    told = instructions(decision)
    assert {task: one.action for task, one in told.items()} == {
        "a": Action.INSTALL,
        "b": Action.KEEP,
        "c": Action.KEEP,
    }


def test_a_change_that_is_not_for_the_device_moves_its_epoch_only() -> None:
    moved = release_set(
        [*BASE, release("a", 2, attributes={"tier": "gold"})],
        VERSIONS,
        changes=[(90, "a")],
    )
    assert decide(moved, view(request(epoch=60, rows=HELD)), 60).kind is Kind.NOTHING


def test_what_is_asked_already_is_no_news() -> None:
    rows = [row("a", 2, "PENDING"), *HELD[1:]]
    assert decide(CHANGED_A, view(request(epoch=60, rows=rows)), 60).kind is Kind.NOTHING


def test_a_document_made_for_another_reason_asks_again_with_files() -> None:
    changed = release_set([*BASE, release("a", 2), release("b", 2)], VERSIONS, changes=[(90, "b")])
    rows = [row("a", 2, "FAILED"), *HELD[1:]]
    told = instructions(decide(changed, view(request(epoch=60, rows=rows)), 60))
    assert (told["a"].action, len(told["a"].files)) == (Action.INSTALL, 3)
    assert (told["b"].action, told["c"].action) == (Action.INSTALL, Action.KEEP)


def test_a_row_that_nobody_knows_is_not_kept_blindly() -> None:
    told = instructions(decide(CHANGED_A, view(request(epoch=60, rows=[*HELD, row("z", 1)])), 60))
    assert told["z"].action is Action.REMOVE
    strange = [HELD[0], row("b", 9), HELD[2]]
    told = instructions(decide(CHANGED_A, view(request(epoch=60, rows=strange)), 60))
    assert (told["b"].action, told["b"].version) == (Action.ROLL_BACK, 1)


def test_epoch_zero_is_always_answered_with_a_document() -> None:
    told = decide(CHANGED_A, view(request(rows=[row("a", 2), *HELD[1:]])), 0)
    assert told.kind is Kind.CHANGED
    assert {one.action for one in instructions(told).values()} == {Action.KEEP}
    empty = decide(release_set(epoch=5), view(request()), 0)
    assert (empty.kind, empty.instructions) == (Kind.CHANGED, ())


def test_before_the_log_everything_is_resolved() -> None:
    old = release_set([*BASE, release("a", 2)], VERSIONS, floor=80)
    told = instructions(decide(old, view(request(epoch=60, rows=HELD)), 60))
    assert told["a"].version == 2
    current = [row("a", 2), *HELD[1:]]
    assert decide(old, view(request(epoch=60, rows=current)), 60).kind is Kind.NOTHING


def test_a_kill_switch_that_moved_needs_a_document() -> None:
    killed = release_set(BASE, VERSIONS, kill=KillSwitch(tasks=("a",)), kill_epoch=70)
    before = decide(killed, view(request(epoch=60, rows=HELD)), 60)
    assert before.kind is Kind.CHANGED
    assert {one.action for one in instructions(before).values()} == {Action.KEEP}
    assert decide(killed, view(request(epoch=70, rows=HELD)), 70).kind is Kind.NOTHING


def test_a_task_without_releases_is_removed_once_it_changed() -> None:
    gone = release_set(BASE[1:], VERSIONS, changes=[(90, "a")])
    told = instructions(decide(gone, view(request(epoch=60, rows=HELD)), 60))
    assert told["a"].action is Action.REMOVE


def test_advancing_shares_what_did_not_change() -> None:
    before = release_set(BASE, VERSIONS, epoch=100)
    after = before.advanced(epoch=101, kill=KillSwitch(all=True))
    assert after.tasks["a"] is before.tasks["a"]
    assert (before.kill_epoch, after.kill_epoch) == (0, 101)
    assert (before.kill.all, after.kill.all) == (False, True)


def test_a_document_has_at_most_so_many_tasks_and_what_is_held_goes_first() -> None:
    names = [f"t{place:03d}" for place in range(TASKS_MAX + 4)]
    many = release_set([release(name, 1) for name in names], [version(name, 1) for name in names])
    last = names[-1]
    decision = decide(many, view(request(rows=[row(last, 1)])), 0)
    told = instructions(decision)
    assert decision.left_out >= 4
    assert len(told) <= TASKS_MAX
    assert sum(map(len, decision.instructions)) <= INSTRUCTIONS_BYTES_MAX
    assert told[last].action is Action.KEEP


@pytest.mark.parametrize("share", [0.0, 0.05, 0.4])
@given(widened=st.floats(0, 1), device=st.binary(min_size=16, max_size=16))
def test_widening_never_drops_a_device(share: float, widened: float, device: bytes) -> None:
    def chosen(part: float) -> bool:
        wave = release_set([release("a", 1, share=part, salt="s")], VERSIONS)
        return bool(decide(wave, view(request(), device.hex()), 0).instructions)

    if chosen(share):
        assert chosen(max(share, widened))


def test_a_row_that_failed_since_is_resolved_though_its_task_did_not_change() -> None:
    stopped = release_set(
        [*BASE, release("a", 2, "paused")], VERSIONS, changes=[(40, "a"), (90, "b")]
    )
    rows = [row("a", 2, "FAILED"), *HELD[1:]]
    told = instructions(decide(stopped, view(request(epoch=60, rows=rows)), 60))
    assert (told["a"].action, told["a"].version) == (Action.ROLL_BACK, 1)
