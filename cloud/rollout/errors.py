"""Errors of releases, split by whose fault it is.

ShoalError
├── ReleaseInvalid          the caller's: what was asked for makes no release
├── ReleaseNotFound         the caller's: no such release in the namespace
├── VersionNotPublished     the caller's: the task version cannot be released, or returned to
├── CommandNotAllowed       the caller's: the release's state does not allow the command
├── RevisionConflict        the caller's: somebody was quicker
├── KillTargetUnknown       the caller's: no such task to stop
└── ReleaseLogDamaged       ours: stored state and event log do not agree, or cannot be read
"""

from typing import ClassVar

from device_agent.errors import ShoalError


class ReleaseInvalid(ShoalError):
    """The draft of a release breaks a rule: stages, shares, limits."""

    code: ClassVar[str] = "RELEASE_INVALID"
    status: ClassVar[str] = "INVALID_ARGUMENT"


class ReleaseNotFound(ShoalError):
    """No release of this id in the namespace."""

    code: ClassVar[str] = "RELEASE_NOT_FOUND"
    status: ClassVar[str] = "NOT_FOUND"


class VersionNotPublished(ShoalError):
    """The task has no published version of this number."""

    code: ClassVar[str] = "VERSION_NOT_PUBLISHED"
    status: ClassVar[str] = "FAILED_PRECONDITION"


class CommandNotAllowed(ShoalError):
    """The release's state does not allow the command; the message names those that it does allow."""

    code: ClassVar[str] = "COMMAND_NOT_ALLOWED"
    status: ClassVar[str] = "FAILED_PRECONDITION"


class RevisionConflict(ShoalError):
    """The release has changed since the caller read it."""

    code: ClassVar[str] = "REVISION_CONFLICT"
    status: ClassVar[str] = "ABORTED"


class KillTargetUnknown(ShoalError):
    """The kill switch was to be set for a task that the namespace does not have."""

    code: ClassVar[str] = "KILL_TARGET_UNKNOWN"
    status: ClassVar[str] = "NOT_FOUND"


class ReleaseLogDamaged(ShoalError):
    """A stored state or event cannot be what the machine wrote."""

    code: ClassVar[str] = "RELEASE_LOG_DAMAGED"
    status: ClassVar[str] = "DATA_LOSS"
