"""Whatever happens to a release, in whatever order: the invariants of the machine's docstring, and replay."""

import json

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from cloud.rollout import codec
from cloud.rollout.errors import CommandNotAllowed
from cloud.rollout.machine import (
    ALLOWED,
    Command,
    Commanded,
    Counted,
    Counts,
    Created,
    Event,
    LogEntry,
    MachineState,
    PublishReleaseSet,
    ReleaseState,
    Restored,
    Stage,
    Superseded,
    TimePassed,
    initial,
    replay,
    step,
)

PPM = st.sampled_from([1, 250_000, 500_000, 900_000, 1_000_000])
STAGES = st.tuples(
    st.sets(st.integers(1, 1_000_000), min_size=1, max_size=4),
    st.lists(PPM | st.just(0), min_size=4, max_size=4),
).map(
    lambda drawn: tuple(
        Stage(share_ppm=share, promote_at_ppm=promote)
        for share, promote in zip(sorted(drawn[0]), drawn[1], strict=False)
    )
)


class ReleaseMachine(RuleBasedStateMachine):
    """Drives `step` and remembers what it must never break."""

    @initialize(stages=STAGES, rollback_version=st.integers(0, 3))
    def begin(self, stages: tuple[Stage, ...], rollback_version: int) -> None:
        self.state = initial(stages, rollback_version)
        created = Created(stages=stages, rollback_version=rollback_version)
        self.log: list[tuple[int, LogEntry]] = [(1_000, created)]
        self.now_ms = 1_000

    def happen(self, event: Event) -> None:
        before = self.state
        self.now_ms += 1
        self.state, effects = step(before, self.now_ms, event)
        # Through JSON, as the store does.
        stored = json.loads(json.dumps(codec.event_to_json(event)))
        self.log.append((self.now_ms, codec.event_from_json(stored)))
        self.check_step(before, bool([e for e in effects if isinstance(e, PublishReleaseSet)]))

    def check_step(self, before: MachineState, published: bool) -> None:
        now = self.state
        assert now.share_ppm >= before.share_ppm, "a share never shrinks"
        audience = (now.phase, now.stage_index, now.rollback_version)
        dropped = (before.phase, now.phase) == (ReleaseState.DRAFT, ReleaseState.ABORTED)
        if audience != (before.phase, before.stage_index, before.rollback_version):
            assert published or dropped, "what devices must hear of is published"
        if before.phase is ReleaseState.ROLLED_BACK:
            assert now.phase in (ReleaseState.ROLLED_BACK, ReleaseState.SUPERSEDED)

    @rule(name=st.sampled_from(Command), version=st.none() | st.integers(0, 3))
    def command(self, name: Command, version: int | None) -> None:
        event = Commanded(command=name, rollback_version=version)
        if name in ALLOWED[self.state.phase]:
            self.happen(event)
            return
        before = self.state
        with pytest.raises(CommandNotAllowed):
            step(before, self.now_ms, event)
        assert self.state == before

    @rule(data=st.data())
    def devices_answer(self, data: st.DataObject) -> None:
        increments = []
        for row in self.state.counts:
            targeted = data.draw(st.integers(-min(2, row.targeted - row.notified), 4))
            notified = data.draw(st.integers(0, row.targeted + targeted - row.notified))
            open_ones = row.notified + notified - row.installed - row.failed
            installed = data.draw(st.integers(0, open_ones))
            failed = data.draw(st.integers(-row.failed, open_ones - installed))
            increments.append(
                Counts(targeted=targeted, notified=notified, installed=installed, failed=failed)
            )
        self.happen(Counted(increments=tuple(increments)))

    @rule()
    def time_passes(self) -> None:
        self.happen(TimePassed())

    @rule()
    def newer_release_completes(self) -> None:
        self.happen(Superseded(by="r2"))

    @precondition(lambda self: self.state.phase is ReleaseState.SUPERSEDED)
    @rule()
    def newer_release_is_rolled_back(self) -> None:
        self.happen(Restored())

    @invariant()
    def counts_hang_together(self) -> None:
        for row in self.state.counts:
            assert 0 <= row.installed + row.failed <= row.notified <= row.targeted

    @invariant()
    def stage_fits_the_phase(self) -> None:
        state = self.state
        assert -1 <= state.stage_index < len(state.stages)
        if state.phase is ReleaseState.DRAFT:
            assert state.stage_index == -1
        if state.phase in (ReleaseState.RUNNING, ReleaseState.PAUSED):
            assert state.stage_index >= 0
        if state.phase is ReleaseState.COMPLETED:
            assert state.stage_index == len(state.stages) - 1
        assert (state.phase is ReleaseState.SUPERSEDED) == bool(state.superseded_by)

    @invariant()
    def replay_gives_the_same_state(self) -> None:
        assert replay(self.log) == self.state


ReleaseMachine.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestReleaseMachine = pytest.mark.slow(ReleaseMachine.TestCase)
