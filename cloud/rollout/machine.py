"""The release machine: `step(state, now_ms, event) -> (state, effects)`, pure.

Rules of this module:

- No clock, no store, no randomness: the same log of events always replays to the same state.
- While a release runs its share only grows; what has ended takes no more promotion.
- A stage goes on by itself when `promote_at_ppm` of its devices have installed. No devices is no data, and no data is
  never a reason to go on.
- A command that the state does not allow changes nothing and raises an error that names those that are allowed.
- A halt (pause, abort, roll_back) is never refused for want of data.
- Supersession follows a newer release's completion and is undone when that one is rolled back, so that devices which
  return to the older version find the release that gives it to them.

Health has its place here and is not guessed at: a later `Judged(cohort, verdict)` joins the Event union, and
`promotion_due` is the one function where an inconclusive or missing verdict will hold a stage back.
"""

import enum
from collections.abc import Sequence

import msgspec

from cloud.rollout.errors import CommandNotAllowed, ReleaseLogDamaged

PPM = 1_000_000


class ReleaseState(enum.StrEnum):
    """Where a release stands."""

    DRAFT = "draft"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    ABORTED = "aborted"
    ROLLED_BACK = "rolled_back"
    SUPERSEDED = "superseded"


class Command(enum.StrEnum):
    """What an operator may tell a release."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"


ALLOWED: dict[ReleaseState, tuple[Command, ...]] = {
    ReleaseState.DRAFT: (Command.START, Command.ABORT),
    ReleaseState.RUNNING: (Command.PAUSE, Command.PROMOTE, Command.ABORT, Command.ROLL_BACK),
    ReleaseState.PAUSED: (Command.RESUME, Command.ABORT, Command.ROLL_BACK),
    ReleaseState.COMPLETED: (Command.ROLL_BACK,),
    ReleaseState.ABORTED: (Command.ROLL_BACK,),
    ReleaseState.ROLLED_BACK: (),
    ReleaseState.SUPERSEDED: (),
}


class Stage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One stage: a share of the devices that match.

    Attributes:
        share_ppm: Millionths of the matching fleet, by salted hash.
        promote_at_ppm: Goes on when this share of the stage's devices is installed; 0 waits for the operator.
    """

    share_ppm: int
    promote_at_ppm: int = 0


class Counts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many devices of one cohort; as an increment it may be negative."""

    targeted: int = 0
    notified: int = 0
    installed: int = 0
    failed: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            targeted=self.targeted + other.targeted,
            notified=self.notified + other.notified,
            installed=self.installed + other.installed,
            failed=self.failed + other.failed,
        )

    def __sub__(self, other: "Counts") -> "Counts":
        return Counts(
            targeted=self.targeted - other.targeted,
            notified=self.notified - other.notified,
            installed=self.installed - other.installed,
            failed=self.failed - other.failed,
        )


class MachineState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that the machine knows of one release.

    Attributes:
        phase: Where it stands.
        stages: Shares strictly growing.
        stage_index: The stage that is out; -1 before the start.
        stage_since_ms: When that stage began; 0 before the start.
        rollback_version: Where a rollback leads; 0 removes the task.
        counts: One row a cohort: the devices that join with stage i.
        superseded_by: The newer release that took its place; empty when none did.
        phase_before: The phase that a restoration returns to.
    """

    phase: ReleaseState = ReleaseState.DRAFT
    stages: tuple[Stage, ...]
    stage_index: int = -1
    stage_since_ms: int = 0
    rollback_version: int = 0
    counts: tuple[Counts, ...]
    superseded_by: str = ""
    phase_before: ReleaseState = ReleaseState.DRAFT

    @property
    def share_ppm(self) -> int:
        """Millionths of the matching fleet that the stage reaches; 0 before the start."""
        return self.stages[self.stage_index].share_ppm if self.stage_index >= 0 else 0

    @property
    def reached(self) -> Counts:
        """Devices of the stage: those of its cohort and of all before it."""
        return sum(self.counts[: self.stage_index + 1], start=Counts())


class Created(msgspec.Struct, frozen=True, kw_only=True, tag="created"):
    """The first entry of every log: what the machine begins with."""

    stages: tuple[Stage, ...]
    rollback_version: int = 0


class Commanded(msgspec.Struct, frozen=True, kw_only=True, tag="command"):
    """An operator's command.

    Attributes:
        command: What.
        reason: Why; goes to the audit log.
        rollback_version: With ROLL_BACK: where to; None takes the release's own.
    """

    command: Command
    reason: str = ""
    rollback_version: int | None = None


class Counted(msgspec.Struct, frozen=True, kw_only=True, tag="counted"):
    """What has been added since the counts before: one increment a cohort."""

    increments: tuple[Counts, ...]


class TimePassed(msgspec.Struct, frozen=True, kw_only=True, tag="time_passed"):
    """The timer: nothing new but the time."""


class Superseded(msgspec.Struct, frozen=True, kw_only=True, tag="superseded"):
    """A newer release of the task completed for all devices that this one is for."""

    by: str


class Restored(msgspec.Struct, frozen=True, kw_only=True, tag="restored"):
    """The release that superseded this one was rolled back."""


type Event = Commanded | Counted | TimePassed | Superseded | Restored
type LogEntry = Created | Event


class PublishReleaseSet(msgspec.Struct, frozen=True, kw_only=True, tag="publish"):
    """Devices may have to hear of it: the namespace's epoch grows in the same transaction."""


class Notify(msgspec.Struct, frozen=True, kw_only=True, tag="notify"):
    """People may want to hear of it: watchers, the log."""

    message: str


class Audit(msgspec.Struct, frozen=True, kw_only=True, tag="audit"):
    """Goes into the audit log in the same transaction."""

    action: str
    detail: dict[str, str | int]


type Effect = PublishReleaseSet | Notify | Audit
type Step = tuple[MachineState, tuple[Effect, ...]]


def initial(stages: tuple[Stage, ...], rollback_version: int) -> MachineState:
    """A draft."""
    counts = tuple(Counts() for _ in stages)
    return MachineState(stages=stages, counts=counts, rollback_version=rollback_version)


def step(state: MachineState, now_ms: int, event: Event) -> Step:
    """What becomes of the release, and what must follow from it.

    Raises:
        CommandNotAllowed: The command does not fit the state.
        ReleaseLogDamaged: The event cannot have happened to this state: counts below zero, an unknown cohort.
    """
    match event:
        case Commanded():
            return _command(state, now_ms, event)
        case Counted():
            return _go_on(_count(state, event), now_ms)
        case TimePassed():
            return _go_on(state, now_ms)
        case Superseded():
            return _supersede(state, event)
        case Restored():
            return _restore(state)


def promotion_due(state: MachineState) -> bool:
    """Whether the stage has done its work and the next may begin by itself."""
    if state.phase is not ReleaseState.RUNNING:
        return False
    wanted_ppm = state.stages[state.stage_index].promote_at_ppm
    reached = state.reached
    return (
        wanted_ppm > 0
        and reached.targeted > 0
        and reached.installed * PPM >= wanted_ppm * reached.targeted
    )


def replay(log: Sequence[tuple[int, LogEntry]]) -> MachineState:
    """The state after a log of (time, entry).

    Raises:
        ReleaseLogDamaged: It does not begin with its creation, or holds what cannot have happened.
    """
    return history(log)[-1]


def history(log: Sequence[tuple[int, LogEntry]]) -> list[MachineState]:
    """The state after each entry of a log; raises as `replay` does."""
    states: list[MachineState] = []
    for now_ms, entry in log:
        if isinstance(entry, Created):
            states.append(initial(entry.stages, entry.rollback_version))
        elif states:
            states.append(step(states[-1], now_ms, entry)[0])
        else:
            break
    if not states:
        raise ReleaseLogDamaged("a release's log does not begin with its creation; restore it")
    return states


def _command(state: MachineState, now_ms: int, event: Commanded) -> Step:
    allowed = ALLOWED[state.phase]
    if event.command not in allowed:
        raise CommandNotAllowed(
            f"a release that is {state.phase} does not take {event.command}; it takes "
            f"{', '.join(allowed) or 'no more commands: make a new release'}"
        )
    match event.command:
        case Command.START:
            new = _enter(state, now_ms, 0)
        case Command.PROMOTE:
            new = _next_stage(state, now_ms)
        case Command.PAUSE:
            new = msgspec.structs.replace(state, phase=ReleaseState.PAUSED)
        case Command.RESUME:
            new = msgspec.structs.replace(state, phase=ReleaseState.RUNNING)
        case Command.ABORT:
            new = msgspec.structs.replace(state, phase=ReleaseState.ABORTED)
        case Command.ROLL_BACK:
            new = _roll_back(state, event.rollback_version)
    audit = Audit(action=f"release.{event.command}", detail=_detail(new, event.reason))
    # A draft that is dropped was never in the release set.
    published = state.phase is not ReleaseState.DRAFT or new.phase is ReleaseState.RUNNING
    effects = (PublishReleaseSet(),) if published else ()
    return new, (*effects, audit, Notify(message=sentence(new)))


def _roll_back(state: MachineState, rollback_version: int | None) -> MachineState:
    version = state.rollback_version if rollback_version is None else rollback_version
    return msgspec.structs.replace(state, phase=ReleaseState.ROLLED_BACK, rollback_version=version)


def _count(state: MachineState, event: Counted) -> MachineState:
    if len(event.increments) != len(state.counts):
        raise ReleaseLogDamaged(
            f"counts of {len(event.increments)} cohorts for {len(state.counts)} stages; "
            "restore the release from a backup"
        )
    counts = tuple(a + b for a, b in zip(state.counts, event.increments, strict=True))
    if any(min(row.targeted, row.notified, row.installed, row.failed) < 0 for row in counts):
        raise ReleaseLogDamaged("a cohort would count less than no device; restore from a backup")
    return msgspec.structs.replace(state, counts=counts)


def _go_on(state: MachineState, now_ms: int) -> Step:
    """Promotes as far as the counts carry: a stage that adds nobody is done at once."""
    effects: list[Effect] = []
    while promotion_due(state):
        state = _next_stage(state, now_ms)
        audit = Audit(action="release.promoted", detail=_detail(state, "share installed"))
        effects += [PublishReleaseSet(), audit, Notify(message=sentence(state))]
    return state, tuple(effects)


def _next_stage(state: MachineState, now_ms: int) -> MachineState:
    if state.stage_index + 1 < len(state.stages):
        return _enter(state, now_ms, state.stage_index + 1)
    return msgspec.structs.replace(state, phase=ReleaseState.COMPLETED)


def _enter(state: MachineState, now_ms: int, index: int) -> MachineState:
    return msgspec.structs.replace(
        state, phase=ReleaseState.RUNNING, stage_index=index, stage_since_ms=now_ms
    )


def _supersede(state: MachineState, event: Superseded) -> Step:
    if state.phase in (ReleaseState.DRAFT, ReleaseState.SUPERSEDED):
        return state, ()
    new = msgspec.structs.replace(
        state,
        phase=ReleaseState.SUPERSEDED,
        superseded_by=event.by,
        phase_before=state.phase,
    )
    audit = Audit(action="release.superseded", detail={"by": event.by})
    return new, (PublishReleaseSet(), audit, Notify(message=f"superseded by {event.by}"))


def _restore(state: MachineState) -> Step:
    if state.phase is not ReleaseState.SUPERSEDED:
        return state, ()
    new = msgspec.structs.replace(
        state,
        phase=state.phase_before,
        superseded_by="",
        phase_before=ReleaseState.DRAFT,
    )
    audit = Audit(action="release.restored", detail={"from": state.superseded_by})
    return new, (PublishReleaseSet(), audit, Notify(message=sentence(new)))


def _detail(state: MachineState, reason: str) -> dict[str, str | int]:
    detail: dict[str, str | int] = {
        "state": state.phase,
        "stage_index": state.stage_index,
        "share_ppm": state.share_ppm,
        "reason": reason,
    }
    if state.phase is ReleaseState.ROLLED_BACK:
        detail["rollback_version"] = state.rollback_version
    return detail


def sentence(state: MachineState) -> str:
    """Where the release stands, for people."""
    if state.phase is ReleaseState.RUNNING:
        number, total = state.stage_index + 1, len(state.stages)
        return f"running: stage {number} of {total}, {state.share_ppm / 10_000:g} % of its fleet"
    if state.phase is ReleaseState.ROLLED_BACK:
        target = state.rollback_version
        return f"rolled back to version {target}" if target else "rolled back: the task is removed"
    return str(state.phase)
