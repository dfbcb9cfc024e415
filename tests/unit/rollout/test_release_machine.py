"""The release machine: each command in each state, promotion by counts, supersession, replay."""

import json

import pytest

from cloud.rollout import codec
from cloud.rollout.errors import CommandNotAllowed, ReleaseLogDamaged
from cloud.rollout.machine import (
    ALLOWED,
    Audit,
    Command,
    Commanded,
    Counted,
    Counts,
    Created,
    Effect,
    Event,
    LogEntry,
    MachineState,
    Notify,
    PublishReleaseSet,
    ReleaseState,
    Restored,
    Stage,
    Superseded,
    TimePassed,
    initial,
    promotion_due,
    replay,
    step,
)

TWO = (Stage(share_ppm=400_000, promote_at_ppm=900_000), Stage(share_ppm=1_000_000))


def draft(stages: tuple[Stage, ...] = TWO, rollback_version: int = 1) -> MachineState:
    return initial(stages, rollback_version)


def after(*events: Event, state: MachineState | None = None) -> MachineState:
    state = state or draft()
    for n, event in enumerate(events):
        state, _ = step(state, 1_000 + n, event)
    return state


def command(name: str, **extra: int) -> Commanded:
    return Commanded(command=Command(name), reason="because", **extra)


def counted(*rows: tuple[int, int, int, int]) -> Counted:
    return Counted(
        increments=tuple(
            Counts(targeted=t, notified=n, installed=i, failed=f) for t, n, i, f in rows
        )
    )


def published(effects: tuple[Effect, ...]) -> bool:
    return any(isinstance(effect, PublishReleaseSet) for effect in effects)


IN_STATE = {
    ReleaseState.DRAFT: (),
    ReleaseState.RUNNING: (command("start"),),
    ReleaseState.PAUSED: (command("start"), command("pause")),
    ReleaseState.COMPLETED: (command("start"), command("promote"), command("promote")),
    ReleaseState.ABORTED: (command("start"), command("abort")),
    ReleaseState.ROLLED_BACK: (command("start"), command("roll_back")),
    ReleaseState.SUPERSEDED: (command("start"), Superseded(by="r2")),
}


@pytest.mark.parametrize("phase", ReleaseState)
@pytest.mark.parametrize("name", Command)
def test_every_command_in_every_state(phase: ReleaseState, name: Command) -> None:
    state = after(*IN_STATE[phase])
    assert state.phase is phase
    if name in ALLOWED[phase]:
        new, effects = step(state, 5, Commanded(command=name))
        assert new != state
        assert any(isinstance(effect, Audit) for effect in effects)
        assert any(isinstance(effect, Notify) for effect in effects)
        return
    with pytest.raises(CommandNotAllowed) as refused:
        step(state, 5, Commanded(command=name))
    for allowed in ALLOWED[phase]:
        assert str(allowed) in str(refused.value)


def test_the_way_through_two_stages() -> None:
    state = after(command("start"))
    assert (state.stage_index, state.share_ppm, state.stage_since_ms) == (0, 400_000, 1_000)
    state, effects = step(state, 2_000, counted((10, 10, 8, 0), (15, 0, 0, 0)))
    assert (state.stage_index, effects) == (0, ())
    state, effects = step(state, 3_000, counted((0, 0, 1, 0), (0, 0, 0, 0)))
    assert (state.stage_index, state.share_ppm, state.stage_since_ms) == (1, 1_000_000, 3_000)
    assert published(effects)
    # The last stage has no threshold: it waits for the operator.
    state, effects = step(state, 4_000, counted((0, 0, 1, 0), (0, 15, 15, 0)))
    assert (state.phase, effects) == (ReleaseState.RUNNING, ())
    state, effects = step(state, 5_000, command("promote"))
    assert state.phase is ReleaseState.COMPLETED
    assert published(effects)


def test_last_stage_done_completes() -> None:
    stages = (Stage(share_ppm=1_000_000, promote_at_ppm=1_000_000),)
    state = after(command("start"), counted((3, 3, 3, 0)), state=draft(stages))
    assert state.phase is ReleaseState.COMPLETED


def test_a_stage_that_adds_nobody_is_passed_in_the_same_step() -> None:
    stages = tuple(Stage(share_ppm=share, promote_at_ppm=500_000) for share in (1, 2, 1_000_000))
    state, effects = step(
        after(command("start"), state=draft(stages)),
        9,
        counted((2, 2, 2, 0), (0, 0, 0, 0), (9, 0, 0, 0)),
    )
    assert state.stage_index == 2
    assert [type(effect) for effect in effects].count(PublishReleaseSet) == 2


def test_no_devices_is_no_reason_to_go_on() -> None:
    state = after(command("start"), counted((0, 0, 0, 0), (5, 0, 0, 0)))
    assert not promotion_due(state)
    assert after(TimePassed(), state=state) == state


def test_failures_do_not_count_as_installed() -> None:
    state = after(command("start"), counted((10, 10, 8, 2), (0, 0, 0, 0)))
    assert state.stage_index == 0


def test_a_paused_release_counts_and_waits_and_goes_on_when_resumed() -> None:
    state = after(command("start"), command("pause"), counted((10, 10, 10, 0), (5, 0, 0, 0)))
    assert (state.phase, state.stage_index) == (ReleaseState.PAUSED, 0)
    state = after(command("resume"), state=state)
    assert state.stage_index == 0
    assert after(TimePassed(), state=state).stage_index == 1


def test_a_dropped_draft_was_never_published() -> None:
    _, effects = step(draft(), 1, command("abort"))
    assert not published(effects)


def test_rolling_back_leads_where_it_is_told() -> None:
    started = after(command("start"))
    assert after(command("roll_back"), state=started).rollback_version == 1
    named, effects = step(started, 1, command("roll_back", rollback_version=7))
    assert named.rollback_version == 7
    assert [e.detail["rollback_version"] for e in effects if isinstance(e, Audit)] == [7]
    assert after(command("roll_back", rollback_version=0), state=started).rollback_version == 0


@pytest.mark.parametrize("phase", [s for s in ReleaseState if s not in ("draft", "superseded")])
def test_supersession_is_undone_exactly(phase: ReleaseState) -> None:
    before = after(*IN_STATE[phase])
    gone, effects = step(before, 1, Superseded(by="r2"))
    assert (gone.phase, gone.superseded_by) == (ReleaseState.SUPERSEDED, "r2")
    assert published(effects)
    back, effects = step(gone, 2, Restored())
    assert back == before
    assert published(effects)


def test_supersession_passes_by_a_draft_and_what_is_superseded_already() -> None:
    assert step(draft(), 1, Superseded(by="r2")) == (draft(), ())
    gone = after(command("start"), Superseded(by="r2"))
    assert step(gone, 1, Superseded(by="r3")) == (gone, ())
    assert step(draft(), 1, Restored()) == (draft(), ())


def test_counts_that_cannot_be_are_named_as_damage() -> None:
    state = after(command("start"))
    with pytest.raises(ReleaseLogDamaged, match="less than no device"):
        step(state, 1, counted((0, 0, -1, 0), (0, 0, 0, 0)))
    with pytest.raises(ReleaseLogDamaged, match="1 cohorts for 2 stages"):
        step(state, 1, counted((0, 0, 0, 0)))


def test_a_log_begins_with_its_creation() -> None:
    assert replay([(1, Created(stages=TWO, rollback_version=1))]) == draft()
    for log in ([], [(1, command("start"))]):
        with pytest.raises(ReleaseLogDamaged, match="creation"):
            replay(log)


@pytest.mark.parametrize(
    "event",
    [
        Created(stages=TWO, rollback_version=1),
        command("roll_back", rollback_version=3),
        command("start"),
        counted((1, 1, 1, 0), (2, 0, 0, 0)),
        TimePassed(),
        Superseded(by="r2"),
        Restored(),
    ],
)
def test_events_round_trip_through_json(event: LogEntry) -> None:
    assert codec.event_from_json(json.loads(json.dumps(codec.event_to_json(event)))) == event


@pytest.mark.parametrize("phase", ReleaseState)
def test_states_round_trip_through_json(phase: ReleaseState) -> None:
    state = after(*IN_STATE[phase])
    assert codec.state_from_json(json.loads(json.dumps(codec.state_to_json(state)))) == state


def test_golden_state_stays_readable() -> None:
    stored = (
        '{"form": 1, "state": {"phase": "paused", "stages": [{"share_ppm": 400000, '
        '"promote_at_ppm": 900000}, {"share_ppm": 1000000, "promote_at_ppm": 0}], '
        '"stage_index": 0, "stage_since_ms": 1000, "rollback_version": 1, "counts": '
        '[{"targeted": 0, "notified": 0, "installed": 0, "failed": 0}, {"targeted": 0, '
        '"notified": 0, "installed": 0, "failed": 0}], "superseded_by": "", '
        '"phase_before": "draft"}}'
    )
    assert codec.state_from_json(json.loads(stored)) == after(*IN_STATE[ReleaseState.PAUSED])
    event = '{"form": 1, "event": {"type": "command", "command": "pause", "reason": "because"}}'
    assert codec.event_from_json(json.loads(event)) == command("pause")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({}, "form None"),
        ({"form": 2, "state": {}, "event": {}}, "form 2"),
        ({"form": 1, "state": {"phase": "asleep"}, "event": {"type": "nap"}}, "damaged"),
    ],
)
def test_what_the_machine_did_not_write_is_refused(value: dict[str, object], says: str) -> None:
    with pytest.raises(ReleaseLogDamaged, match=says):
        codec.state_from_json(value)
    with pytest.raises(ReleaseLogDamaged, match=says):
        codec.event_from_json(value)
