"""When the agent speaks with the cloud, and what it makes of the answer: decisions only.

Rules of this module:

- `step(state, now_ms, event, settings) -> (state, effects)`: no clock, no randomness, no I/O. A draw from the agent's
  Random comes in with the event.
- `now_ms` is monotonic. The wall clock appears only where the answer mends it.
- The cloud sets the pace within our limits; failures double the pause, with jitter, up to a limit.
- Nothing is concluded from an answer that is behind what the device holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from device_agent.agent.settings import AgentSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncState:
    """Where the loop stands.

    Attributes:
        due_at_ms: When the next Sync goes out, monotonic.
        epoch: Epoch of the newest answer that was accepted.
        in_flight: A Sync has no answer yet.
        failures: Failures since the last answer.
        hurry_at_ms: When something was ready to be said while a Sync was in flight; None otherwise.
    """

    due_at_ms: int
    epoch: int
    in_flight: bool = False
    failures: int = 0
    hurry_at_ms: int | None = None


# --- events -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tick:
    """Time went on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hurry:
    """There is something to say or to ask; `draw` in [0, 1) spreads a fleet."""

    draw: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The cloud answered.

    Attributes:
        epoch: Epoch that it decided with.
        next_sync_after_ms: The pause that it asks for.
        retry: It is behind this device.
        has_document: A director document came along.
        acknowledged: Highest acknowledgement that is durable there.
        server_time_ms: Its wall clock.
        device_time_ms: This device's uncorrected wall clock, half-way between request and answer.
        clock_offset_ms: The correction that is in use.
    """

    epoch: int
    next_sync_after_ms: int
    retry: bool
    has_document: bool
    acknowledged: int
    server_time_ms: int
    device_time_ms: int
    clock_offset_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentAccepted:
    """The answer's document was verified and stored."""

    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """No answer, an error, or a document that was refused; `draw` in [0, 1) spreads a fleet."""

    revoked: bool
    draw: float


SyncEvent = Tick | Hurry | Answered | DocumentAccepted | Failed


# --- effects ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """Make the call."""


@dataclass(frozen=True, slots=True)
class DropAcks:
    """These acknowledgements are durable in the cloud."""

    up_to: int


@dataclass(frozen=True, slots=True)
class MendClock:
    """Add this to the device's wall clock from now on, and say so."""

    offset_ms: int


@dataclass(frozen=True, slots=True)
class CheckDocument:
    """Verify the answer's document and store it."""


@dataclass(frozen=True, slots=True)
class AdoptEpoch:
    """Nothing changed for this device up to here."""

    epoch: int


SyncEffect = Send | DropAcks | MendClock | CheckDocument | AdoptEpoch


def step(
    state: SyncState, now_ms: int, event: SyncEvent, settings: AgentSettings
) -> tuple[SyncState, Sequence[SyncEffect]]:
    """The next state, and what the shell has to do, in order."""
    match event:
        case Tick():
            if state.in_flight or now_ms < state.due_at_ms:
                return state, ()
            return replace(state, in_flight=True, hurry_at_ms=None), (Send(),)
        case Hurry(draw=draw):
            return _hurried(state, now_ms + int(draw * settings.hurry_ms_max)), ()
        case Answered():
            return _answered(state, now_ms, event, settings)
        case DocumentAccepted(epoch=epoch):
            return replace(state, epoch=epoch), ()
        case Failed():
            return _failed(state, now_ms, event, settings), ()


def epoch_to_send(
    state: SyncState,
    *,
    facts_changed: bool,
    document: tuple[int, int] | None,
    expires_at_ms: int,
    wall_ms: int,
) -> int:
    """0 asks for a whole new document: there is none, the facts changed, or half of its validity is over."""
    if document is None or facts_changed:
        return 0
    _, issued_at_ms = document
    return 0 if wall_ms >= (issued_at_ms + expires_at_ms) // 2 else state.epoch


def _hurried(state: SyncState, at_ms: int) -> SyncState:
    if state.in_flight:
        return replace(state, hurry_at_ms=at_ms)
    if state.failures:
        return state  # the pause after a failure protects the cloud; what is to be said waits
    return replace(state, due_at_ms=min(state.due_at_ms, at_ms))


def _answered(
    state: SyncState, now_ms: int, answer: Answered, settings: AgentSettings
) -> tuple[SyncState, Sequence[SyncEffect]]:
    pause = min(
        max(answer.next_sync_after_ms, settings.sync_after_ms_min), settings.sync_after_ms_max
    )
    due_at_ms = now_ms + pause
    if state.hurry_at_ms is not None:
        due_at_ms = min(due_at_ms, max(state.hurry_at_ms, now_ms + settings.sync_after_ms_min))
    state = replace(state, in_flight=False, failures=0, due_at_ms=due_at_ms, hurry_at_ms=None)
    effects: list[SyncEffect] = [DropAcks(answer.acknowledged)]
    skew_ms = answer.server_time_ms - answer.device_time_ms - answer.clock_offset_ms
    if answer.server_time_ms > 0 and abs(skew_ms) > settings.skew_ms_max:
        effects.append(MendClock(answer.server_time_ms - answer.device_time_ms))
    if answer.retry or answer.epoch < state.epoch:
        return state, effects
    if answer.has_document:
        return state, [*effects, CheckDocument()]
    return replace(state, epoch=answer.epoch), [*effects, AdoptEpoch(answer.epoch)]


def pause_ms(failures: int, draw: float, settings: AgentSettings) -> int:
    """The pause after so many failures in a row; `draw` in [0, 1) spreads a fleet over its second half."""
    doubled = settings.retry_ms_min << min(failures, 32)
    return int(min(doubled, settings.retry_ms_max) * (0.5 + 0.5 * draw))


def _failed(state: SyncState, now_ms: int, failure: Failed, settings: AgentSettings) -> SyncState:
    if failure.revoked:
        pause = int(settings.revoked_retry_ms * (0.5 + 0.5 * failure.draw))
    else:
        pause = pause_ms(state.failures, failure.draw, settings)
    return replace(
        state,
        in_flight=False,
        failures=state.failures + 1,
        due_at_ms=now_ms + pause,
        hurry_at_ms=None,
    )
