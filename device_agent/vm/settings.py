"""Every limit of the VM part, each a number with its unit."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class VmSettings:
    """How many VMs a process keeps and how long it waits for them.

    Attributes:
        vms_max: VMs alive at the same moment, idle ones included; quarantined ones are not counted.
        queue_events_max: Events that may wait for a VM, over all tasks.
        load_ms: Wall time for a task's modules to load into a new VM.
        close_ms: How long close() lets running events finish before it kills them.
        ended_ms: How long retire() and close() wait for VMs to end before they leave them behind.
    """

    vms_max: int = 8
    queue_events_max: int = 1_024
    load_ms: int = 5_000
    close_ms: int = 2_000
    ended_ms: int = 3_000


KILL_GRACE_MS = 100  # after a kill, until the run is answered for and its VM is quarantined
DRAIN_MS = 2_000  # how long a process that ends waits for its VMs
EXIT_DRAIN_FAILED = 70  # exit status when the interpreter was ending with VMs that would not
