"""What the agent and the cloud's dry runs know of a VM: values in, values out.

Rules of this module:

- Only values and Protocols; nothing here knows how a VM is made. Two back ends stand behind `Vm`: an interpreter in
  this process (`machine`) and a process of its own (`process_vm`); one conformance suite holds both to the same.
- A run that ends with another outcome than "ok" has no emits: its effects are all or nothing.
- A warm VM keeps a task version's module globals from one run to the next, unless the spec says `fresh`. That is a
  promise to authors, and one VM serves one `VmSpec.key` only.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from device_agent.vm.errors import LimitInvalid
from device_agent.vm.turns import Priority

OK = "ok"
TASK_ERROR = "TASK_ERROR"
TASK_INVALID = "TASK_INVALID"
WALL_LIMIT = "WALL_LIMIT"
CPU_LIMIT = "CPU_LIMIT"
MEMORY_LIMIT = "MEMORY_LIMIT"
ENGINE_MEMORY_LIMIT = "ENGINE_MEMORY_LIMIT"
OUTPUT_LIMIT = "OUTPUT_LIMIT"
LOG_LIMIT = "LOG_LIMIT"
RUN_CANCELLED = "RUN_CANCELLED"
TASK_CRASHED = "TASK_CRASHED"
DEADLINE_PASSED = "DEADLINE_PASSED"

WALL_MS_MAX = 600_000
MEMORY_MIB_MIN = 8
MEMORY_MIB_MAX = 65_536
ENGINE_MIB_MIN = 1
OUTPUT_BYTES_MAX = 64 * 1024 * 1024
LOG_LINES_MAX = 100_000
CONCURRENCY_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class VmLimits:
    """What one run may use; past a limit the run ends with the outcome of that name.

    Attributes:
        wall_ms: Wall time of one run.
        cpu_ms: Processor time of one run, by the clock of its thread; 0 is no limit of its own.
        memory_mib: Python memory of the VM as a whole, its interpreter (about 2 MiB) included.
        engine_mib: Memory of the VM's tensors; weights that all VMs share do not count.
        output_bytes: Topics and payloads of all emits together.
        log_lines: Lines written by log, print and standard error together.
    """

    wall_ms: int = 1_000
    cpu_ms: int = 0
    memory_mib: int = 64
    engine_mib: int = 64
    output_bytes: int = 262_144
    log_lines: int = 100

    def __post_init__(self) -> None:
        _within("wall_ms", self.wall_ms, 1, WALL_MS_MAX)
        _within("cpu_ms", self.cpu_ms, 0, WALL_MS_MAX)
        _within("memory_mib", self.memory_mib, MEMORY_MIB_MIN, MEMORY_MIB_MAX)
        _within("engine_mib", self.engine_mib, ENGINE_MIB_MIN, MEMORY_MIB_MAX)
        _within("output_bytes", self.output_bytes, 0, OUTPUT_BYTES_MAX)
        _within("log_lines", self.log_lines, 0, LOG_LINES_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class VmSpec:
    """All that a VM is made from.

    Attributes:
        key: Names one task version, e.g. its bundle digest; VMs are warm per key, and equal keys mean equal specs.
        modules: Module name to marshalled code, as `decode_bytecode` returns them.
        entry: "module:function", called with one `shoal_task.Event`.
        resources: Path in the bundle to the absolute path of the verified file.
        emit_topics: Topics that the task may emit.
        limits: What one run may use.
        concurrency: How many events of this key may run at the same moment, each in a VM of its own.
        fresh: Every event gets a VM of its own, which ends with it.
    """

    key: str
    modules: Mapping[str, bytes]
    entry: str
    resources: Mapping[str, str]
    emit_topics: frozenset[str]
    limits: VmLimits
    concurrency: int = 1
    fresh: bool = False

    def __post_init__(self) -> None:
        _within("concurrency", self.concurrency, 1, CONCURRENCY_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Emit:
    """One message that a run wants to leave the device."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended.

    Attributes:
        outcome: "ok" or the code of what ended the run.
        emits: What the run emitted, in order; empty unless the outcome is "ok".
        logs: Log lines in order, kept whatever the outcome.
        wall_us: From the moment the VM took the event until the run ended.
        message: Why, in one short text; empty when ok.
        memory_bytes: Most that the VM has held so far.
        engine_bytes: Most that its tensors have held so far.
    """

    outcome: str
    emits: tuple[Emit, ...]
    logs: tuple[str, ...]
    wall_us: int
    message: str
    memory_bytes: int = 0
    engine_bytes: int = 0


type Answer = Callable[[str, bytes], bytes]
"""Answers what a run asks its host: what, and its data. A ValueError is told to the task, and ends nothing."""


def answer_nothing(what: str, data: bytes) -> bytes:
    """The host of a run that has no host.

    Raises:
        ValueError: always.
    """
    del data
    raise ValueError(f"there is nobody here to answer '{what}'")


PLAN = "shoal.plan"
type Plan = Callable[["VmSpec", str, bytes], Awaitable[bytes]]
"""Has a stage of a model planned: for whom, the model's path, the request. A ValueError is told to the task."""


async def plan_nothing(asker: VmSpec, path: str, request: bytes) -> bytes:
    """The planner of a VM that has none.

    Raises:
        ValueError: always.
    """
    del asker, path, request
    raise ValueError("there is nobody here to plan a model")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOrder:
    """When an event is to run, among all that wait.

    Attributes:
        priority: Interactive goes before background.
        within_ms: Not begun after this long, it is turned away; None waits as long as it takes.
        alone: Nothing else runs beside it.
    """

    priority: Priority = Priority.INTERACTIVE
    within_ms: int | None = None
    alone: bool = False


AT_ONCE = RunOrder()


class Vm(Protocol):
    """One VM of one task version, whatever it is made of."""

    @property
    def spec(self) -> VmSpec:
        """What it was made from."""
        ...

    @property
    def spent(self) -> bool:
        """It takes no more runs; make another."""
        ...

    @property
    def used_bytes(self) -> int:
        """Memory of this VM now."""
        ...

    @property
    def left_behind(self) -> bool:
        """It is in a call that does not come back, and nobody waits for it."""
        ...

    @property
    def ready(self) -> asyncio.Future[RunResult]:
        """Done with the outcome of loading the task."""
        ...

    @property
    def ended(self) -> asyncio.Future[None]:
        """Done when nothing is left of it."""
        ...

    async def call(self, event: bytes, answer: Answer = answer_nothing) -> RunResult:
        """Runs one event; cancelling the call kills the run.

        Raises:
            VmClosed: the VM takes no more runs.
        """
        ...

    def sample(self) -> tuple[str, ...]:
        """The stack of what runs, outermost first, or nothing; may wait for the guest, so call it in a thread."""
        ...

    def cancel_all(self) -> None:
        """Kills what loads, runs or waits here; the VM takes no more runs."""
        ...

    def close(self) -> None:
        """Ends the VM after the runs that it has taken."""
        ...


class VmHost[V: Vm](Protocol):
    """Makes VMs of one kind for one event loop."""

    def create(
        self,
        spec: VmSpec,
        *,
        load_ms: int,
        on_ended: Callable[[V], None],
        plan: Plan = plan_nothing,
    ) -> V:
        """Starts to make a VM; await its `ready`.

        Args:
            spec: What it is made from.
            load_ms: Wall time for the task's modules.
            on_ended: Called when nothing is left of it.
            plan: Plans the stages of its models; its clock stands meanwhile.

        Raises:
            VmCreateFailed: none can be made on this device.
        """
        ...

    def close(self) -> None:
        """Stops listening; VMs that are left end on their own."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Wear:
    """What only a new process gives back.

    Attributes:
        left_behind: VMs whose thread is in a call that does not come back.
        left_bytes: Their memory, and what VMs that ended did not free.
    """

    left_behind: int = 0
    left_bytes: int = 0


class VmPool(Protocol):
    """Runs events of many task versions, each in a VM of its own."""

    async def run(
        self,
        spec: VmSpec,
        event: bytes,
        *,
        order: RunOrder = AT_ONCE,
        on_start: Callable[[], None] | None = None,
        answer: Answer = answer_nothing,
    ) -> RunResult:
        """Runs one event, given in its binary form.

        Args:
            spec: The task version.
            event: One event.
            order: When it is to run, among all that wait.
            on_start: Called once, when it is the event's turn and before the task sees it.
            answer: Answers what the run asks; called in the event loop, so it must be quick.

        Raises:
            VmQueueFull: too many events wait already; try again later.
            VmDeadlinePassed: it did not begin in time.
            VmRetired: the key was retired while the event waited.
            VmClosed: the pool is closed.
            VmCreateFailed: no VM could be made on this device.
        """
        ...

    def wear(self) -> Wear:
        """What its VMs have cost the process for good."""
        ...

    async def retire(self, key: str) -> None:
        """Lets the key's running events finish, then ends its VMs; returns when they ended or were left behind."""
        ...

    async def close(self) -> None:
        """Ends every VM, killing what still runs after a bounded wait."""
        ...


def _within(name: str, value: int, lowest: int, highest: int) -> None:
    if not lowest <= value <= highest:
        raise LimitInvalid(f"{name} is {value}; set it between {lowest} and {highest}")
