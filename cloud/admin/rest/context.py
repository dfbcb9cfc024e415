"""What a route is given: the operations, the caller behind the bearer token, the namespace of its path, the page.

Rules of this module:

- A token comes in the Authorization header only: query strings end in logs.
"""

from typing import Annotated

from fastapi import Depends, Header, Query, Request

from cloud.admin.caller import Caller
from cloud.admin.errors import ArgumentInvalid, Unauthenticated
from cloud.admin.operations.admin import Admin
from cloud.admin.paging import PageRequest
from device_agent.tasks.names import Namespace

BEARER = "Bearer "
TOKEN_CHARS_MAX = 256


def admin_of(request: Request) -> Admin:
    """The operations of the application."""
    admin = request.app.state.admin
    assert isinstance(admin, Admin)
    return admin


def bearer_token(authorization: str) -> str:
    """Takes the token out of an Authorization header.

    Raises:
        Unauthenticated: There is none.
    """
    if not authorization.startswith(BEARER) or len(authorization) > TOKEN_CHARS_MAX:
        raise Unauthenticated("no bearer token came with the request: send one")
    return authorization.removeprefix(BEARER).strip()


async def caller_of(
    admin: Annotated[Admin, Depends(admin_of)],
    authorization: Annotated[str, Header(include_in_schema=False)] = "",
) -> Caller:
    """Finds who calls."""
    return await admin.tokens.authenticate(bearer_token(authorization))


def namespace_of(app: str, project: str) -> str:
    """The namespace of the path."""
    return str(Namespace.parse(f"{app}/{project}"))


def page_of(
    page_size: Annotated[int, Query(ge=0, description="Items; 0 takes the default.")] = 0,
    page_token: Annotated[str, Query(max_length=1024)] = "",
) -> PageRequest:
    """The page that the query asks for."""
    return PageRequest(size=page_size, token=page_token)


def revision_of(if_match: Annotated[str, Header()] = "") -> int:
    """The revision in If-Match: `"7"`; 0 when there is none."""
    if not if_match:
        return 0
    digits = if_match.strip().strip('"')
    if not digits.isdigit() or int(digits) < 1:
        raise ArgumentInvalid('If-Match: send the ETag of the release, e.g. "7"')
    return int(digits)


AdminOf = Annotated[Admin, Depends(admin_of)]
CallerOf = Annotated[Caller, Depends(caller_of)]
NamespaceOf = Annotated[str, Depends(namespace_of)]
PageOf = Annotated[PageRequest, Depends(page_of)]
RevisionOf = Annotated[int, Depends(revision_of)]
