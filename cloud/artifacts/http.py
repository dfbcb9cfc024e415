"""What every route of the HTTPS face shares: errors as JSON, bounded bodies, one table of statuses.

Rules of this module:

- Every error, whatever its status, is `{"error": {"code", "message", "hint"}}`.
- A body is read up to a limit and no further; what is declared too long is refused unread.
- A fault of ours says INTERNAL and nothing about its inside; the log has the rest.
"""

import functools
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cloud.artifacts.errors import RequestInvalid, RequestTooLong
from cloud.artifacts.settings import SETTINGS
from device_agent.errors import ShoalError

HTTP_STATUS: Final = {
    "INVALID_ARGUMENT": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "FAILED_PRECONDITION": 412,
    "RESOURCE_EXHAUSTED": 413,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
# Where HTTP is finer than gRPC.
HTTP_STATUS_OF_CODE: Final = {"ENROLMENT_BUSY": 429}
ERROR_PAGE: Final = "docs/reference/errors"

type Endpoint = Callable[[Request], Awaitable[Response]]

_log = structlog.get_logger(__name__)


def error_response(error: ShoalError) -> JSONResponse:
    """An error of the catalogue as an answer."""
    status = http_status(error)
    message = str(error) if status != 500 else "an error of the cloud; its log has the details"
    hint = f"see {error.code} in {ERROR_PAGE}"
    return JSONResponse(
        {"error": {"code": error.code, "message": message, "hint": hint}},
        status_code=status,
        headers={"cache-control": "no-store"} | _retry_after(error),
    )


def http_status(error: ShoalError) -> int:
    """HTTP status of an error."""
    return HTTP_STATUS_OF_CODE.get(error.code, HTTP_STATUS.get(error.status, 500))


def _retry_after(error: ShoalError) -> dict[str, str]:
    """When to come back, in whole seconds, for errors that know it."""
    after_ms = getattr(error, "retry_after_ms", None)
    return {} if after_ms is None else {"retry-after": str(-(-after_ms // 1000))}


def with_errors(endpoint: Endpoint) -> Endpoint:
    """Wraps an endpoint so that errors of the catalogue become answers."""

    @functools.wraps(endpoint)
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ShoalError as error:
            if http_status(error) == 500:
                _log.error("request_failed", path=request.url.path, code=error.code, exc_info=True)
            return error_response(error)

    return answer


async def read_body(request: Request, limit: int = SETTINGS.request_body_bytes_max) -> bytes:
    """The body, bounded.

    Raises:
        RequestTooLong: it is longer than the limit.
    """
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > limit:
            raise RequestTooLong(f"the body is longer than {limit} bytes; send less")
    return bytes(data)


def parse_json[T](data: bytes, kind: type[T]) -> T:
    """A body as a msgspec struct.

    Raises:
        RequestInvalid: it is not of that form.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestInvalid(
            f"the body cannot be read: {error}; see docs/reference/device-https.md"
        ) from error


def json_response(value: dict[str, Any]) -> JSONResponse:
    """An answer that no cache keeps."""
    return JSONResponse(value, headers={"cache-control": "no-store"})
