"""What can go wrong around a VM, split by whose fault it is.

    ShoalError
      VmError
        LimitInvalid      caller: a limit outside its range
        VmQueueFull       caller: more events than the device can take now
          VmTaskQueueFull   caller: more events of one task than it may have waiting
        VmDeadlinePassed  caller: the event did not begin in the time that it has
        VmClosed          caller: the pool or the VM has ended
          VmRetired         caller: the task version was retired while the event waited
        VmCreateFailed    ours or the system's: an interpreter could not be made
        VmNotInstalled    ours: the process did not call install() at its start, or runs on an unfit allocator

How a run ended is no exception: it is `RunResult.outcome` (TASK_ERROR, TASK_INVALID, WALL_LIMIT, CPU_LIMIT,
MEMORY_LIMIT, ENGINE_MEMORY_LIMIT, OUTPUT_LIMIT, LOG_LIMIT, RUN_CANCELLED), so that one bad task never looks like a
fault of the agent.
"""

from device_agent.errors import ShoalError


class VmError(ShoalError):
    """The root of this package's errors."""

    code = "VM_ERROR"


class LimitInvalid(VmError, ValueError):
    """A limit is outside its range; the message names limit and range."""

    code = "VM_LIMIT_INVALID"
    status = "INVALID_ARGUMENT"


class VmQueueFull(VmError):
    """The bounded queue of events is full."""

    code = "VM_QUEUE_FULL"
    status = "RESOURCE_EXHAUSTED"


class VmTaskQueueFull(VmQueueFull):
    """The bounded queue of one task is full."""

    code = "VM_TASK_QUEUE_FULL"


class VmDeadlinePassed(VmError):
    """The event waited longer than it may and was not run."""

    code = "VM_DEADLINE_PASSED"
    status = "DEADLINE_EXCEEDED"


class VmClosed(VmError):
    """The pool or the VM has ended and takes no events."""

    code = "VM_CLOSED"
    status = "UNAVAILABLE"


class VmRetired(VmClosed):
    """The task version was retired while the event waited."""

    code = "VM_RETIRED"


class VmCreateFailed(VmError):
    """The interpreter could not be made; the message carries its reason."""

    code = "VM_CREATE_FAILED"
    status = "UNAVAILABLE"


class VmNotInstalled(VmError):
    """The process did not call `process.install()` at its start, or its allocator hides the sizes of blocks."""

    code = "VM_NOT_INSTALLED"
    status = "FAILED_PRECONDITION"
