"""What may go wrong at the feeder's door.

ShoalError
└── EventsError
    ├── FrameInvalid        the peer's fault: bytes on the socket that are no frame of ours
    ├── FeederUnreachable   the outside's: nobody listens, or the agent went away in the middle
    └── SocketPathTooLong   the caller's: the path does not fit the operating system's limit
"""

from device_agent.errors import ShoalError


class EventsError(ShoalError):
    """Root of the errors of the event log's door."""


class FrameInvalid(EventsError):
    """The bytes on the socket are not a frame; the connection is closed and nothing was stored."""

    code = "FEED_FRAME_INVALID"
    status = "INVALID_ARGUMENT"


class FeederUnreachable(EventsError):
    """No agent answers on the socket; events without an answer may be fed again: duplicates are dropped."""

    code = "FEEDER_UNREACHABLE"
    status = "UNAVAILABLE"


class SocketPathTooLong(EventsError):
    """The socket's path is longer than the operating system allows; use a home folder with a shorter path."""

    code = "SOCKET_PATH_TOO_LONG"
    status = "INVALID_ARGUMENT"
