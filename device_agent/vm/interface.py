"""What the agent and the cloud's dry runs know of a VM: values in, values out.

Rules of this module:

- Only values and one Protocol; nothing here knows how a VM is made, so that another back end can stand behind it.
- A run that ends with another outcome than "ok" has no emits: its effects are all or nothing.
- A warm VM keeps a task version's module globals from one run to the next. That is a promise to authors, and one VM
  serves one `VmSpec.key` only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from device_agent.vm.errors import LimitInvalid

OK = "ok"
TASK_ERROR = "TASK_ERROR"
TASK_INVALID = "TASK_INVALID"
WALL_LIMIT = "WALL_LIMIT"
MEMORY_LIMIT = "MEMORY_LIMIT"
OUTPUT_LIMIT = "OUTPUT_LIMIT"
LOG_LIMIT = "LOG_LIMIT"
RUN_CANCELLED = "RUN_CANCELLED"

WALL_MS_MAX = 600_000
MEMORY_MIB_MIN = 8
MEMORY_MIB_MAX = 65_536
OUTPUT_BYTES_MAX = 64 * 1024 * 1024
LOG_LINES_MAX = 100_000
CONCURRENCY_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class VmLimits:
    """What one run may use; past a limit the run ends with the outcome of that name.

    Attributes:
        wall_ms: Wall time of one run.
        memory_mib: Python memory of the VM as a whole, its interpreter (about 2 MiB) included.
        output_bytes: Topics and payloads of all emits together.
        log_lines: Lines written by log, print and standard error together.
    """

    wall_ms: int = 1_000
    memory_mib: int = 64
    output_bytes: int = 262_144
    log_lines: int = 100

    def __post_init__(self) -> None:
        _within("wall_ms", self.wall_ms, 1, WALL_MS_MAX)
        _within("memory_mib", self.memory_mib, MEMORY_MIB_MIN, MEMORY_MIB_MAX)
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
    """

    key: str
    modules: Mapping[str, bytes]
    entry: str
    resources: Mapping[str, str]
    emit_topics: frozenset[str]
    limits: VmLimits
    concurrency: int = 1

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
    """

    outcome: str
    emits: tuple[Emit, ...]
    logs: tuple[str, ...]
    wall_us: int
    message: str


class VmPool(Protocol):
    """Runs events of many task versions, each in a VM of its own."""

    async def run(self, spec: VmSpec, event: bytes) -> RunResult:
        """Runs one event, given in its binary form.

        Raises:
            VmQueueFull: too many events wait already; try again later.
            VmClosed: the pool is closed, or the key was retired while the event waited.
            VmCreateFailed: no VM could be made on this device.
        """
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
