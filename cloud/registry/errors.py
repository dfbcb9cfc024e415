"""Errors of the registry.

ShoalError
├── SourceInvalid    caller's: a script does not compile, or the entry is not in it
├── TaskUnknown      caller's: no such task
├── VersionUnknown   caller's: no such version
├── SourceUnreadable outside's: the folder of a task cannot be read
└── CompilerFailed   ours: the compiling process died or took too long
"""

from device_agent.errors import ShoalError


class SourceInvalid(ShoalError):
    """Scripts do not compile, or the entry function is not there; file and line are named."""

    code = "SOURCE_INVALID"
    status = "INVALID_ARGUMENT"


class TaskUnknown(ShoalError):
    """The namespace has no such task."""

    code = "TASK_UNKNOWN"
    status = "NOT_FOUND"


class VersionUnknown(ShoalError):
    """The task has no such version, or it is not published."""

    code = "VERSION_UNKNOWN"
    status = "NOT_FOUND"


class SourceUnreadable(ShoalError):
    """The folder of a task cannot be read."""

    code = "SOURCE_UNREADABLE"
    status = "INVALID_ARGUMENT"


class CompilerFailed(ShoalError):
    """The compiling process died or took too long."""

    code = "COMPILER_FAILED"
    status = "INTERNAL"
