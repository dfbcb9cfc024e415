"""What an operator's request can end in.

ShoalError
├── Unauthenticated            the caller's: no token, an unknown, expired or revoked one
├── ScopeMissing               the caller's: the token may not do this
├── NamespaceForbidden         the caller's: the token is for another namespace
├── ArgumentInvalid             the caller's: a field, flag or header
├── PageTokenInvalid           the caller's
├── NotFound                   the caller's: nothing of that name
├── BodyTooLong                the caller's
├── RevisionMismatch           the caller's: somebody changed it first
└── NotReady                   ours: starting, draining, or a part is down
"""

from typing import ClassVar

from device_agent.errors import ShoalError


class Unauthenticated(ShoalError):
    """No valid token came with the request."""

    code: ClassVar[str] = "UNAUTHENTICATED"
    status: ClassVar[str] = "UNAUTHENTICATED"


class ScopeMissing(ShoalError):
    """The token lacks the scope that the operation needs."""

    code: ClassVar[str] = "SCOPE_MISSING"
    status: ClassVar[str] = "PERMISSION_DENIED"


class NamespaceForbidden(ShoalError):
    """The token is for another namespace."""

    code: ClassVar[str] = "NAMESPACE_FORBIDDEN"
    status: ClassVar[str] = "PERMISSION_DENIED"


class ArgumentInvalid(ShoalError):
    """A field of the request is missing, malformed or out of its bounds."""

    code: ClassVar[str] = "ARGUMENT_INVALID"
    status: ClassVar[str] = "INVALID_ARGUMENT"


class PageTokenInvalid(ShoalError):
    """The page token was not made by this list."""

    code: ClassVar[str] = "PAGE_TOKEN_INVALID"
    status: ClassVar[str] = "INVALID_ARGUMENT"


class NotFound(ShoalError):
    """There is nothing of that name in the namespace."""

    code: ClassVar[str] = "NOT_FOUND"
    status: ClassVar[str] = "NOT_FOUND"


class BodyTooLong(ShoalError):
    """The request body is longer than the server takes."""

    code: ClassVar[str] = "BODY_TOO_LONG"
    status: ClassVar[str] = "RESOURCE_EXHAUSTED"


class RevisionMismatch(ShoalError):
    """The object is at another revision than the caller saw."""

    code: ClassVar[str] = "REVISION_MISMATCH"
    status: ClassVar[str] = "ABORTED"


class NotReady(ShoalError):
    """The cloud is starting, draining, or a part that it needs is down."""

    code: ClassVar[str] = "NOT_READY"
    status: ClassVar[str] = "UNAVAILABLE"
