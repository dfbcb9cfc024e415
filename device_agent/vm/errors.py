"""What can go wrong around a VM, split by whose fault it is.

    ShoalError
      VmError
        LimitInvalid      caller: a limit outside its range
        VmQueueFull       caller: more events than the device can take now
        VmClosed          caller: the pool or the VM has ended
        VmCreateFailed    ours or the system's: an interpreter could not be made
        VmNotInstalled    ours: the process did not call install() at its start

How a run ended is no exception: it is `RunResult.outcome` (TASK_ERROR, TASK_INVALID, WALL_LIMIT, MEMORY_LIMIT,
OUTPUT_LIMIT, LOG_LIMIT, RUN_CANCELLED), so that one bad task never looks like a fault of the agent.
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


class VmClosed(VmError):
    """The pool or the VM has ended and takes no events."""

    code = "VM_CLOSED"
    status = "UNAVAILABLE"


class VmCreateFailed(VmError):
    """The interpreter could not be made; the message carries its reason."""

    code = "VM_CREATE_FAILED"
    status = "UNAVAILABLE"


class VmNotInstalled(VmError):
    """`device_agent.vm.process.install()` was not called at process start."""

    code = "VM_NOT_INSTALLED"
    status = "FAILED_PRECONDITION"
