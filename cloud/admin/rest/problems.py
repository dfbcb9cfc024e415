"""One form for every failure: {"error": {"code", "message", "hint"}}, whatever raised it.

Rules of this module:

- A ShoalError keeps its code and message; its gRPC status names the HTTP status.
- What we did not expect is INTERNAL: the log has the cause under the request's id, the answer has only the id.
- A validation error names the field and what is wrong with it, never the value (it may be a secret).
"""

from collections.abc import Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from device_agent.errors import ShoalError

log = structlog.get_logger(__name__)

HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "FAILED_PRECONDITION": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
# Where HTTP is finer than gRPC.
HTTP_STATUS_OF_CODE = {"BODY_TOO_LONG": 413, "REVISION_MISMATCH": 412, "REVISION_CONFLICT": 412}
# Failures of HTTP itself, by status: code and hint.
HTTP_FAILURES = {
    404: ("NOT_FOUND", "see /openapi.json for what there is"),
    405: ("METHOD_NOT_ALLOWED", "see /openapi.json for the methods of this path"),
}
HINTS = {
    "UNAUTHENTICATED": "send `Authorization: Bearer TOKEN`; `shoal token create` makes one",
    "SCOPE_MISSING": "ask whoever holds token:write for a token with that scope",
    "NAMESPACE_FORBIDDEN": "choose the namespace with --namespace or in the path, or another token",
    "REVISION_MISMATCH": "read it again, look at what changed, and send the new revision",
    "NOT_READY": "try again in a moment; /readyz says what is missing",
    "INTERNAL": "the cloud's log has the cause under this request id",
}


def http_status(error: ShoalError) -> int:
    """HTTP status of an error."""
    return HTTP_STATUS_OF_CODE.get(error.code, HTTP_STATUS.get(error.status, 500))


def hint_of(code: str) -> str:
    """What to do next, when the message alone does not end there."""
    return HINTS.get(code, f"`shoal explain {code}` says what it means and what to do")


def body_of(code: str, message: str, hint: str = "") -> dict[str, dict[str, str]]:
    """The body of a failure."""
    # What a caller sent stands in the message, and may be half of a surrogate pair, which no answer can carry.
    said = message.encode("utf-8", "backslashreplace").decode()
    return {"error": {"code": code, "message": said, "hint": hint or hint_of(code)}}


def describe_validation(errors: Sequence[Any]) -> str:
    """Names each field and its problem."""
    parts = [
        f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}" for error in errors[:8]
    ]
    more = f"; and {len(errors) - 8} more" if len(errors) > 8 else ""
    return "; ".join(parts) + more


def _shoal_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ShoalError)
    status = http_status(error)
    if status >= 500:
        log.error("request failed", code=error.code, message=str(error), exc_info=error)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse(body_of(error.code, str(error)), status, headers=headers)


def _validation_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    message = describe_validation(error.errors())
    hint = "correct these fields; /openapi.json has the schema"
    return JSONResponse(body_of("ARGUMENT_INVALID", message, hint), 400)


def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code, hint = HTTP_FAILURES.get(error.status_code, ("ARGUMENT_INVALID", ""))
    body = body_of(code, str(error.detail), hint)
    return JSONResponse(body, error.status_code, headers=error.headers)


def install_problem_handlers(app: FastAPI) -> None:
    """Makes `app` answer every failure in the one form; what is unexpected is caught by RequestLog."""
    app.add_exception_handler(ShoalError, _shoal_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
