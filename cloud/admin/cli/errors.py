"""Errors of the command line.

ShoalError
├── UsageWrong      the caller's: flags, files or context that do not fit
├── ServerFailed    the peer's: the API answered with an error; its code, message and hint are passed on
├── ServerAway      the outside's: no answer from the address
├── FileFailed      the outside's: a file or folder of this machine cannot be read or written
├── WaitTimeout     the time of a wait ran out
└── WaitHopeless    what is waited for cannot happen any more
"""

from device_agent.errors import ShoalError


class UsageWrong(ShoalError):
    """Flags, files or context do not fit; the message says what to change."""

    code = "USAGE"
    status = "INVALID_ARGUMENT"


class ServerAway(ShoalError):
    """Nobody answers at the address."""

    code = "SERVER_UNREACHABLE"
    status = "UNAVAILABLE"


class WaitTimeout(ShoalError):
    """What was waited for did not happen in time."""

    code = "WAIT_TIMEOUT"
    status = "DEADLINE_EXCEEDED"


class FileFailed(ShoalError):
    """A file or folder of this machine cannot be read or written."""

    code = "FILE_FAILED"
    status = "FAILED_PRECONDITION"


class WaitHopeless(ShoalError):
    """What was waited for cannot happen any more."""

    code = "WAIT_HOPELESS"
    status = "FAILED_PRECONDITION"


class ServerFailed(ShoalError):
    """The API answered with an error.

    Attributes:
        http_status: Status of the answer.
        server_code: Code from the error catalogue.
        hint: What to do next, by the server.
    """

    code = "SERVER_REFUSED"
    status = "FAILED_PRECONDITION"

    def __init__(self, http_status: int, server_code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.server_code = server_code
        self.hint = hint
