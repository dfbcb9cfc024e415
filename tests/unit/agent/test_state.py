"""When the agent syncs: the pure machine."""

import pytest
from hypothesis import given
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
    SyncEffect,
    SyncState,
    Tick,
    epoch_to_send,
    pause_ms,
    step,
)

SETTINGS = AgentSettings()
WALL = 1_800_000_000_000
START = SyncState(due_at_ms=0, epoch=5)
WAITING = SyncState(due_at_ms=0, epoch=5, in_flight=True)


def answer(
    epoch: int = 5,
    *,
    after: int = 60_000,
    retry: bool = False,
    document: bool = False,
    acknowledged: int = 0,
    server: int = WALL,
    device: int = WALL,
    offset: int = 0,
) -> Answered:
    return Answered(
        epoch=epoch,
        next_sync_after_ms=after,
        retry=retry,
        has_document=document,
        acknowledged=acknowledged,
        server_time_ms=server,
        device_time_ms=device,
        clock_offset_ms=offset,
    )


def effects(state: SyncState, event: Answered) -> list[SyncEffect]:
    return list(step(state, 0, event, SETTINGS)[1])


def test_it_sends_when_due_and_only_once() -> None:
    state, first = step(START, 0, Tick(), SETTINGS)
    assert list(first) == [Send()]
    assert step(state, 1_000_000, Tick(), SETTINGS) == (state, ())


def test_it_waits_as_long_as_the_cloud_asks() -> None:
    state, _ = step(WAITING, 1_000, answer(after=60_000), SETTINGS)
    assert state.due_at_ms == 61_000
    assert step(state, 60_999, Tick(), SETTINGS)[1] == ()
    assert list(step(state, 61_000, Tick(), SETTINGS)[1]) == [Send()]


@pytest.mark.parametrize(
    ("asked", "granted"),
    [(0, SETTINGS.sync_after_ms_min), (2**32 - 1, SETTINGS.sync_after_ms_max)],
)
def test_the_pace_has_limits(asked: int, granted: int) -> None:
    state, _ = step(WAITING, 0, answer(after=asked), SETTINGS)
    assert state.due_at_ms == granted


def test_a_moved_epoch_without_a_document_is_adopted() -> None:
    state, done = step(WAITING, 0, answer(6, acknowledged=3), SETTINGS)
    assert state.epoch == 6
    assert list(done) == [DropAcks(3), AdoptEpoch(6)]


def test_a_document_is_checked_before_its_epoch_counts() -> None:
    state, done = step(WAITING, 0, answer(6, document=True), SETTINGS)
    assert list(done) == [DropAcks(0), CheckDocument()]
    assert state.epoch == 5
    assert step(state, 0, DocumentAccepted(epoch=6), SETTINGS)[0].epoch == 6


def test_nothing_is_concluded_from_a_gateway_that_is_behind() -> None:
    assert effects(WAITING, answer(4, retry=True, document=True)) == [DropAcks(0)]
    assert effects(WAITING, answer(4, document=True)) == [DropAcks(0)]


def test_a_small_skew_is_left_alone_and_a_large_one_mended() -> None:
    assert effects(WAITING, answer(server=WALL + SETTINGS.skew_ms_max)) == [
        DropAcks(0),
        AdoptEpoch(5),
    ]
    assert MendClock(WALL) in effects(WAITING, answer(device=0))
    assert MendClock(WALL) not in effects(WAITING, answer(device=0, offset=WALL))
    assert not any(isinstance(one, MendClock) for one in effects(WAITING, answer(server=0)))


def test_something_to_say_brings_the_sync_forward() -> None:
    calm = SyncState(due_at_ms=60_000, epoch=5)
    state, _ = step(calm, 1_000, Hurry(draw=0.5), SETTINGS)
    assert state.due_at_ms == 1_000 + SETTINGS.hurry_ms_max // 2
    assert step(state, 1_100, Hurry(draw=0.99), SETTINGS)[0].due_at_ms == state.due_at_ms


def test_something_to_say_during_a_sync_is_said_after_it() -> None:
    state, _ = step(WAITING, 1_000, Hurry(draw=0.0), SETTINGS)
    state, _ = step(state, 5_000, answer(after=60_000), SETTINGS)
    assert state.due_at_ms == 5_000 + SETTINGS.sync_after_ms_min


def test_hurry_does_not_cut_the_pause_after_a_failure_short() -> None:
    state, _ = step(WAITING, 0, Failed(revoked=False, draw=0.5), SETTINGS)
    assert step(state, 1, Hurry(draw=0.0), SETTINGS)[0] == state


def test_failures_double_the_pause_and_an_answer_ends_it() -> None:
    state, pauses = WAITING, []
    for _ in range(40):
        state, _ = step(state, 0, Failed(revoked=False, draw=1.0), SETTINGS)
        pauses.append(state.due_at_ms)
    assert pauses[:3] == [500, 1_000, 2_000]
    assert pauses[-1] == SETTINGS.retry_ms_max
    state, _ = step(state, 0, answer(), SETTINGS)
    assert state.failures == 0


def test_a_revoked_device_asks_rarely() -> None:
    state, _ = step(WAITING, 0, Failed(revoked=True, draw=0.0), SETTINGS)
    assert state.due_at_ms == SETTINGS.revoked_retry_ms // 2


@given(failures=st.integers(0, 1_000), draw=st.floats(0, 1, exclude_max=True))
def test_a_pause_is_jittered_within_its_second_half(failures: int, draw: float) -> None:
    full = min(SETTINGS.retry_ms_min * 2 ** min(failures, 32), SETTINGS.retry_ms_max)
    assert full // 2 <= pause_ms(failures, draw, SETTINGS) <= full


@pytest.mark.parametrize(
    ("document", "changed", "age_ms", "expected"),
    [
        (None, False, 0, 0),
        ((5, WALL), True, 0, 0),
        ((5, WALL), False, 0, 5),
        ((5, WALL), False, 499, 5),
        ((5, WALL), False, 500, 0),
    ],
)
def test_when_a_whole_new_document_is_asked_for(
    document: tuple[int, int] | None, changed: bool, age_ms: int, expected: int
) -> None:
    sent = epoch_to_send(
        START,
        facts_changed=changed,
        document=document,
        expires_at_ms=WALL + 1_000,
        wall_ms=WALL + age_ms,
    )
    assert sent == expected
