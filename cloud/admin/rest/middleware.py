"""What every HTTP request passes: an id, a log line, a counter, a limit on its body, headers that protect the page.

Rules of this module:

- Plain ASGI: nothing is buffered, so that event streams flow.
- A body longer than the limit is refused while it arrives, also when it does not say how long it is.
- The log has method, route, status and time; never headers, query or body.
- A request is a span of the caller's trace when it names one (W3C traceparent); a release made in it carries it on.
"""

import uuid
from collections.abc import Sequence

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud.admin.errors import BodyTooLong
from cloud.admin.rest.problems import body_of
from cloud.observability.metrics import HTTP_REQUESTS, HTTP_SECONDS
from device_agent.clock import Clock

log = structlog.get_logger(__name__)
tracer = trace.get_tracer(__name__)

SECURITY_HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
)


def trace_of(scope: Scope) -> Context:
    """The trace that the caller names; none when it names none."""
    named = dict(scope["headers"]).get(b"traceparent", b"").decode("latin-1")
    return TraceContextTextMapPropagator().extract({"traceparent": named} if named else {})


def route_of(scope: Scope) -> str:
    """The route's pattern: never the path, which holds names and ids."""
    return str(getattr(scope.get("route"), "path", "unmatched"))


class BodyLimit:
    """Refuses bodies longer than the limit."""

    def __init__(self, app: ASGIApp, *, bytes_max: int) -> None:
        self._app = app
        self._bytes_max = bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, watching its length."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > self._bytes_max:
            error = self._error()
            await JSONResponse(body_of(error.code, str(error)), 413)(scope, receive, send)
            return
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._bytes_max:
                raise self._error()
            return message

        await self._app(scope, receive_limited, send)

    def _error(self) -> BodyTooLong:
        return BodyTooLong(f"the request body is longer than {self._bytes_max} bytes: send less")


class RequestLog:
    """Gives a request its id, counts and logs it, and answers for what nobody expected."""

    def __init__(self, app: ASGIApp, *, clock: Clock, quiet: Sequence[str] = ("/healthz",)) -> None:
        self._app = app
        self._clock = clock
        self._quiet = frozenset(quiet)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, with its id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, status, started_ns = uuid.uuid4().hex, 0, self._clock.monotonic_ns()

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.append("Shoal-Request-Id", request_id)
                for name, value in SECURITY_HEADERS:
                    headers.setdefault(name, value)
            await send(message)

        with (
            structlog.contextvars.bound_contextvars(request_id=request_id),
            tracer.start_as_current_span(
                scope["method"], context=trace_of(scope), kind=trace.SpanKind.SERVER
            ) as span,
        ):
            try:
                await self._app(scope, receive, send_marked)
            except Exception:
                log.exception("unexpected failure of a request")
                if status == 0:
                    message = f"the cloud failed at this request (id {request_id})"
                    answer = JSONResponse(body_of("INTERNAL", message), 500)
                    await answer(scope, receive, send_marked)
            finally:
                span.update_name(f"{scope['method']} {route_of(scope)}")
                span.set_attribute("http.response.status_code", status)
                self._account(scope, status, started_ns)

    def _account(self, scope: Scope, status: int, started_ns: int) -> None:
        route = route_of(scope)
        seconds = (self._clock.monotonic_ns() - started_ns) / 1e9
        HTTP_REQUESTS.labels(scope["method"], route, str(status)).inc()
        HTTP_SECONDS.labels(route).observe(seconds)
        if route not in self._quiet:
            log.info(
                "request",
                method=scope["method"],
                route=route,
                status=status,
                seconds=round(seconds, 4),
            )
