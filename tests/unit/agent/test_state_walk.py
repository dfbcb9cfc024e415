"""When the agent syncs, over any history: the promises of state.py, seen from outside and minute by minute."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from device_agent.agent.settings import AgentSettings
from device_agent.agent.state import (
    AdoptEpoch,
    Answered,
    CheckDocument,
    DocumentAccepted,
    DropAcks,
    Failed,
    Hurry,
    MendClock,
    Send,
    SyncEvent,
    SyncState,
    Tick,
    step,
)

SETTINGS = AgentSettings(
    sync_after_ms_min=100,
    sync_after_ms_max=5_000,
    retry_ms_min=50,
    retry_ms_max=1_000,
    revoked_retry_ms=4_000,
    hurry_ms_max=200,
    skew_ms_max=300,
)
WALL = 1_800_000_000_000
draws = st.floats(0, 1, exclude_max=True)
pauses = st.integers(0, 6_000)
answers = st.fixed_dictionaries(
    {
        "kind": st.just("answer"),
        "epoch": st.integers(0, 9),
        "after_ms": st.integers(0, 2**32 - 1) | st.integers(0, 6_000),
        "retry": st.booleans(),
        "document": st.booleans(),
        "skew_ms": st.integers(-1_000, 1_000),
        "refused": st.booleans(),
    }
)
failures = st.fixed_dictionaries(
    {"kind": st.just("failure"), "revoked": st.booleans(), "draw": draws}
)
hurries = st.fixed_dictionaries({"kind": st.just("hurry"), "draw": draws})
histories = st.lists(st.tuples(pauses, answers | failures | hurries), min_size=1, max_size=40)


@dataclass
class Watch:
    """What somebody sees who only watches calls: when they were due, and when they came."""

    state: SyncState = field(default_factory=lambda: SyncState(due_at_ms=0, epoch=0))
    now_ms: int = 0
    in_flight: bool = False
    sent_at: list[int] = field(default_factory=list)
    not_before_ms: int = 0
    not_after_ms: int = 0
    failed: bool = False
    failures: int = 0
    waiting_to_say: bool = False
    epoch: int = 0
    offset_ms: int = 0

    def do(self, event: SyncEvent) -> list[object]:
        before = self.state
        self.state, effects = step(self.state, self.now_ms, event, SETTINGS)
        again, same = step(before, self.now_ms, event, SETTINGS)
        assert (again, same) == (self.state, effects), "a step depends on nothing else"
        return list(effects)

    def pass_time(self, ms: int) -> None:
        """Time goes on and the agent looks often; a call must come within the limits that were promised."""
        end_ms = self.now_ms + ms
        while True:
            if self.do(Tick()):
                assert not self.in_flight, "one call at a time"
                assert self.now_ms >= self.not_before_ms
                self.in_flight, self.waiting_to_say = True, False
                self.sent_at.append(self.now_ms)
            elif not self.in_flight:
                assert self.now_ms < self.not_after_ms, "what was due did not come"
            if self.now_ms >= end_ms:
                return
            due = self.state.due_at_ms
            self.now_ms = due if self.now_ms < due < end_ms else end_ms

    def until_sent(self) -> None:
        if not self.in_flight:
            self.pass_time(max(self.not_after_ms - self.now_ms, 0))
        assert self.in_flight

    def hurry(self, draw: float) -> None:
        self.do(Hurry(draw=draw))
        if self.in_flight:
            self.waiting_to_say = True
        elif not self.failed:
            # The pause after a failure protects the cloud; else it comes soon, and never later than it would have.
            self.not_before_ms = min(self.not_before_ms, self.now_ms)
            self.not_after_ms = min(self.not_after_ms, self.now_ms + SETTINGS.hurry_ms_max)

    def fail(self, *, revoked: bool, draw: float) -> None:
        self.until_sent()
        assert self.do(Failed(revoked=revoked, draw=draw)) == []
        full = SETTINGS.revoked_retry_ms
        if not revoked:
            full = min(SETTINGS.retry_ms_min * 2**self.failures, SETTINGS.retry_ms_max)
        self.in_flight, self.failed, self.failures = False, True, self.failures + 1
        self.not_before_ms, self.not_after_ms = self.now_ms + full // 2, self.now_ms + full
        self.waiting_to_say = False

    def answer(
        self, epoch: int, after_ms: int, retry: bool, document: bool, skew_ms: int, refused: bool
    ) -> None:
        self.until_sent()
        device_ms = WALL + self.now_ms
        effects = self.do(
            Answered(
                epoch=epoch,
                next_sync_after_ms=after_ms,
                retry=retry,
                has_document=document,
                acknowledged=7,
                server_time_ms=device_ms + self.offset_ms + skew_ms,
                device_time_ms=device_ms,
                clock_offset_ms=self.offset_ms,
            )
        )
        self.in_flight, self.failed, self.failures = False, False, 0
        pause = min(max(after_ms, SETTINGS.sync_after_ms_min), SETTINGS.sync_after_ms_max)
        self.not_before_ms = self.not_after_ms = self.now_ms + pause
        if self.waiting_to_say:
            self.not_before_ms = self.now_ms + SETTINGS.sync_after_ms_min
            most = max(SETTINGS.hurry_ms_max, SETTINGS.sync_after_ms_min)
            self.not_after_ms = min(self.not_after_ms, self.now_ms + most)
            self.waiting_to_say = False
        self.check_effects(effects, epoch, retry, document, skew_ms)
        if CheckDocument() in effects and not refused:
            self.do(DocumentAccepted(epoch=epoch))
            self.epoch = epoch

    def check_effects(
        self, effects: list[object], epoch: int, retry: bool, document: bool, skew_ms: int
    ) -> None:
        assert effects[0] == DropAcks(7), "what is durable in the cloud is forgotten in any case"
        assert Send() not in effects
        mended = [one for one in effects if isinstance(one, MendClock)]
        assert bool(mended) == (abs(skew_ms) > SETTINGS.skew_ms_max)
        if mended:
            assert mended == [MendClock(self.offset_ms + skew_ms)]
            self.offset_ms += skew_ms
        behind = retry or epoch < self.epoch
        assert (CheckDocument() in effects) == (document and not behind)
        assert (AdoptEpoch(epoch) in effects) == (not document and not behind)
        if not document and not behind:
            self.epoch = epoch


@pytest.mark.slow
@hypothesis_settings(max_examples=80)
@given(histories)
def test_every_history_keeps_the_promises(history: list[tuple[int, dict[str, object]]]) -> None:
    watch = Watch(not_after_ms=0)
    watch.pass_time(0)
    for pause_ms, event in history:
        watch.pass_time(pause_ms)
        kind = event["kind"]
        more = {name: value for name, value in event.items() if name != "kind"}
        {"answer": watch.answer, "failure": watch.fail, "hurry": watch.hurry}[str(kind)](**more)  # type: ignore[operator]  # by name
        assert watch.state.epoch == watch.epoch, "the epoch that is told never goes back"
        assert watch.state.in_flight == watch.in_flight
    watch.until_sent()


@hypothesis_settings(max_examples=30)
@given(st.integers(0, 40), draws)
def test_a_fleet_that_lost_its_cloud_does_not_come_back_at_once(failures: int, draw: float) -> None:
    """Two devices that failed at the same moment and drew differently come at different moments, once it matters."""
    state = SyncState(due_at_ms=0, epoch=0, in_flight=True, failures=failures)
    other = (draw + 0.5) % 1.0
    first, _ = step(state, 0, Failed(revoked=False, draw=draw), SETTINGS)
    second, _ = step(state, 0, Failed(revoked=False, draw=other), SETTINGS)
    assert abs(first.due_at_ms - second.due_at_ms) >= SETTINGS.retry_ms_min // 4
