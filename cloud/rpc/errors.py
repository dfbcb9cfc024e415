"""Errors of the gRPC faces.

ShoalError
└── TrailedError    tells the caller one thing more than code and message; never raised itself
"""

from typing import ClassVar

from device_agent.errors import ShoalError


class TrailedError(ShoalError):
    """An error with trailing metadata of its own, for a caller that acts on it without reading the message.

    Attributes:
        trailing: Name and value, each lower-case ASCII.
    """

    code: ClassVar[str] = "TRAILED_ERROR"

    def __init__(self, message: str, *, trailing: tuple[tuple[str, str], ...]) -> None:
        super().__init__(message)
        self.trailing = trailing
