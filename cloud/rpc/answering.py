"""How an error leaves the process: its gRPC status, its message, and its code as trailing metadata.

Rules of this module:

- An error of the catalogue goes out as it is: its message was written for the caller.
- Any other goes out as INTERNAL and without its text, and into the log with it: a traceback is nobody else's business.
- `shoal-error-code` is on every failed call, so that a caller never has to read the message.
"""

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

import grpc
import structlog

from cloud.rpc.errors import TrailedError
from device_agent.errors import ShoalError

ERROR_CODE_KEY = "shoal-error-code"
MESSAGE_CHARS_MAX = 512
_log = structlog.get_logger(__name__)

type Context = grpc.aio.ServicerContext[Any, Any]


async def refuse(context: Context, error: Exception) -> NoReturn:
    """Ends the call with this error."""
    if isinstance(error, ShoalError):
        status = getattr(grpc.StatusCode, error.status)
        code, message = error.code, str(error)[:MESSAGE_CHARS_MAX]
    else:
        _log.error("rpc.failed", exc_info=error)
        status, code = grpc.StatusCode.INTERNAL, ShoalError.code
        message = "the cloud failed; its log says why"
    more = error.trailing if isinstance(error, TrailedError) else ()
    await context.abort(status, message, ((ERROR_CODE_KEY, code), *more))
    raise AssertionError("abort raises")


def answering[Request, Response](
    method: Callable[[Request, Context], Awaitable[Response]],
) -> Callable[[Request, Context], Awaitable[Response]]:
    """A unary method whose errors leave as the catalogue says."""

    @functools.wraps(method)
    async def answer(request: Request, context: Context) -> Response:
        try:
            return await method(request, context)
        except (grpc.aio.AbortError, grpc.aio.BaseError):
            raise
        except Exception as error:
            await refuse(context, error)

    return answer


def streaming[Request, Response](
    method: Callable[[Request, Context], AsyncIterator[Response]],
) -> Callable[[Request, Context], AsyncIterator[Response]]:
    """A method that answers with a stream, whose errors leave as the catalogue says."""

    @functools.wraps(method)
    async def answer(request: Request, context: Context) -> AsyncIterator[Response]:
        try:
            async for response in method(request, context):
                yield response
        except (grpc.aio.AbortError, grpc.aio.BaseError):
            raise
        except Exception as error:
            await refuse(context, error)

    return answer
