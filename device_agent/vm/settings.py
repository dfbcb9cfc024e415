"""Every limit of the VM part, each a number with its unit."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class VmSettings:
    """How many VMs a process keeps and how long it waits for them.

    Attributes:
        vms_max: VMs alive at the same moment, idle ones included; quarantined ones are not counted.
        vms_memory_mib_max: Their memory: an idle VM counts with what it holds, a running one with its limit.
        runs_parallel_max: Events that run at the same moment, all tasks together.
        queue_events_max: Events that may wait for a VM, over all tasks.
        task_queue_events_max: Events of one task that may wait.
        background_wait_ms_max: A background event that has waited this long is no longer put behind interactive ones.
        load_ms: Wall time for a task's modules to load into a new VM.
        close_ms: How long close() lets running events finish before it kills them.
        ended_ms: How long retire() and close() wait for VMs to end before they leave them behind.
        spare: One VM is made ahead and waits for its task: the first event of a task waits less, for 2 MiB.
        spin_us: How long a call looks out for its answer before it sleeps, when calls follow each other closely and
            the task's last run was shorter than this; 0 never does.
        plan_ms: Wall time of planning one stage of a model, in the VM that plans for all.
        plan_memory_mib: Its Python memory, and again its tensors.
        plan_bytes_max: Bytes of one plan.
        plans_kept_bytes_max: Bytes of plans that are kept for VMs that ask the same.
    """

    vms_max: int = 8
    vms_memory_mib_max: int = 512
    runs_parallel_max: int = 4
    queue_events_max: int = 1_024
    task_queue_events_max: int = 256
    background_wait_ms_max: int = 5_000
    load_ms: int = 5_000
    close_ms: int = 2_000
    ended_ms: int = 3_000
    spare: bool = True
    spin_us: int = 20
    plan_ms: int = 20_000
    plan_memory_mib: int = 256
    plan_bytes_max: int = 16 * 1024 * 1024
    plans_kept_bytes_max: int = 16 * 1024 * 1024


CALLS_IN_A_ROW_MAX = 8  # answered without a turn of the event loop
KILL_GRACE_MS = 100  # after a kill, until the run is answered for and its VM is quarantined
DRAIN_MS = 2_000  # how long a process that ends waits for its VMs
EXIT_RESTART = 75  # exit status of a process that wanted to begin anew and was not let
EXIT_DRAIN_FAILED = 70  # exit status when the interpreter was ending with VMs that would not
PROCESS_MEMORY_LOOK_MS = (
    20  # how often a VM that is a process is asked what it holds, while it runs
)
PROCESS_ENGINE_STATUS = 77  # exit status of a VM that is a process when its tensors need too much
PROCESS_HEADROOM_MIB = 32  # above its limit, until the system itself refuses it memory
