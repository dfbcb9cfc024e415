"""What may go wrong in the agent, by whose fault it is.

ShoalError
└── AgentError
    ├── PeerUnreachable      outside: no connection, or it broke; tried again with growing pauses
    ├── PeerRefused          the peer's: it answered with an error, or with something that cannot be
    │   └── Revoked          this device may not speak with the cloud any more
    ├── BundleInvalid        the peer's: verified files that are no bundle
    ├── Deferred             ours by intent: device-local policy does not admit it now
    ├── AgentWorn            the tasks': VMs left too much behind; the agent drains and restarts itself
    ├── TaskQuarantined      safe mode took the task out
    ├── ConfigInvalid        the caller's: agent.toml or the command line
    ├── HomeInUse            the caller's: another agent runs in this home folder
    ├── NotEnrolled          the caller's: the home folder holds no identity
    ├── StoreUnknown         the caller's: agent.db was written by a newer agent
    ├── StoreDamaged         the outside's: agent.db is not what was written; the next start sets it aside
    └── StoreFailed          the outside's: agent.db cannot be read or written now, e.g. for a full disk
"""

from device_agent.errors import ShoalError


class AgentError(ShoalError):
    """Root of the agent's errors."""


class PeerUnreachable(AgentError):
    """The cloud could not be reached; the agent goes on with what it holds and tries again."""

    code = "PEER_UNREACHABLE"
    status = "UNAVAILABLE"


class PeerRefused(AgentError):
    """The cloud answered with an error, or with what no cloud may answer."""

    code = "PEER_REFUSED"
    status = "FAILED_PRECONDITION"


class Revoked(PeerRefused):
    """The cloud does not accept this device's identity; enrol it again."""

    code = "LINK_REVOKED"
    status = "PERMISSION_DENIED"


class ReportGap(PeerRefused):
    """The cloud waits for a report that it had acknowledged before; the agent starts a new report log."""

    code = "LINK_REPORT_GAP"
    status = "FAILED_PRECONDITION"

    def __init__(self, message: str, *, expected: int) -> None:
        super().__init__(message)
        self.expected = expected


class Deferred(AgentError):
    """Device-local policy puts an installation off; `reason` is the code that is acknowledged."""

    code = "DEFERRED_BY_DEVICE"
    status = "FAILED_PRECONDITION"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class TaskQuarantined(AgentError):
    """The agent died inside this task too often; release another version of it."""

    code = "TASK_QUARANTINED"
    status = "FAILED_PRECONDITION"


class AgentWorn(AgentError):
    """VMs have left more behind than the agent carries; it drains and restarts itself, and loses nothing."""

    code = "AGENT_WORN"
    status = "RESOURCE_EXHAUSTED"


class ConfigInvalid(AgentError):
    """agent.toml or the command line says something that cannot be; the message names the field."""

    code = "AGENT_CONFIG_INVALID"
    status = "INVALID_ARGUMENT"


class HomeInUse(AgentError):
    """Another agent runs in this home folder; stop it first or use another folder."""

    code = "HOME_IN_USE"
    status = "FAILED_PRECONDITION"


class NotEnrolled(AgentError):
    """The home folder holds no identity; run `shoal-agent enrol` first."""

    code = "NOT_ENROLLED"
    status = "FAILED_PRECONDITION"


class StoreUnknown(AgentError):
    """agent.db was written by a newer agent; install that agent, or enrol in a fresh home folder."""

    code = "AGENT_STORE_UNKNOWN"
    status = "FAILED_PRECONDITION"


class StoreDamaged(AgentError):
    """agent.db is not what was written; the next start sets it aside and begins anew."""

    code = "AGENT_STORE_DAMAGED"
    status = "INTERNAL"


class StoreFailed(AgentError):
    """agent.db cannot be read or written now; make room, or make the home folder writable. Nothing is lost."""

    code = "AGENT_STORE_FAILED"
    status = "RESOURCE_EXHAUSTED"
