"""What goes into the scheduler and what comes out: values only."""

from dataclasses import dataclass
from enum import Enum, IntEnum


class Priority(IntEnum):
    """Whom a run is for: a person who waits, or nobody in particular."""

    INTERACTIVE = 0
    BACKGROUND = 1


class Refusal(Enum):
    """Why an event that waited will not run."""

    QUEUE_FULL = "QUEUE_FULL"
    TASK_QUEUE_FULL = "TASK_QUEUE_FULL"
    DEADLINE_PASSED = "DEADLINE_PASSED"
    RETIRED = "RETIRED"
    CLOSED = "CLOSED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What the machine may give out; VmSettings says what each is for."""

    vms_max: int
    memory_bytes_max: int
    runs_parallel_max: int
    queue_events_max: int
    task_queue_events_max: int
    background_wait_ms_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """An event asks to run.

    Attributes:
        ticket: Names the event in effects; never used twice.
        key: The task version.
        concurrency: Runs of this key at the same moment.
        memory_bytes: What a run may use.
        deadline_ms: Not started by then, it is turned away; None for never.
        alone: It runs beside nothing else.
        fresh: Its VM serves this one event only.
    """

    ticket: int
    key: str
    concurrency: int = 1
    memory_bytes: int = 0
    priority: Priority = Priority.INTERACTIVE
    deadline_ms: int | None = None
    alone: bool = False
    fresh: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A run that was started has ended; `spent` when its VM takes no other."""

    ticket: int
    ran_us: int
    used_bytes: int
    spent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """Nobody waits for this event any more."""

    ticket: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Retired:
    """This task version is not to be run any more."""

    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """Nothing is to be run any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimePassed:
    """Nothing but the time has changed."""


type Happening = Submitted | Ran | Withdrawn | Retired | Closed | TimePassed


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Run the event in this VM; `new` when the VM is to be made first."""

    ticket: int
    vm: int
    new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LetGo:
    """End this VM, which runs nothing."""

    vm: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnAway:
    """The event will not run."""

    ticket: int
    why: Refusal


type Effect = Start | LetGo | TurnAway
