"""Whether the process lives and can serve, and what it counted.

Rules of this module:

- Ready is what an operator's load balancer may send requests to: every check passes and nobody asked us to stop.
- A failing check is named, its error is not: this answer needs no token.
- What will fail later, such as keys that expire, is a warning: it makes nothing unready.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from cloud.observability.metrics import READY

log = structlog.get_logger(__name__)
CHECK_TIMEOUT_MS = 2_000


class Readiness:
    """What must hold before requests may come."""

    def __init__(
        self,
        checks: Mapping[str, Callable[[], Awaitable[None]]],
        warnings: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._checks = dict(checks)
        self.warnings = warnings
        self._draining = False

    def drain(self) -> None:
        """From now on the process is not ready: it is about to stop."""
        self._draining = True

    async def failing(self) -> tuple[str, ...]:
        """Names of what does not hold."""
        names = [name for name, check in self._checks.items() if not await self._holds(name, check)]
        if self._draining:
            names.append("draining")
        READY.set(0 if names else 1)
        return tuple(names)

    async def _holds(self, name: str, check: Callable[[], Awaitable[None]]) -> bool:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_MS / 1000):
                await check()
        except Exception as error:  # any failure of a part means "not ready", and is logged
            log.warning("not ready", check=name, error=repr(error))
            return False
        return True


def health_router(readiness: Readiness, collectors: Sequence[Collector]) -> APIRouter:
    """Routes that need no token."""
    router = APIRouter(tags=["health"])
    # Of this cloud alone: a process may hold several.
    parts = CollectorRegistry()
    for collector in collectors:
        parts.register(collector)

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process lives."""
        return {"status": "ok"}

    @router.get("/readyz")
    async def readyz() -> JSONResponse:
        """The process can serve; 503 names what is missing."""
        failing = await readiness.failing()
        body = {
            "status": "not ready" if failing else "ok",
            "failing": list(failing),
            "warnings": list(readiness.warnings()),
        }
        return JSONResponse(body, 503 if failing else 200)

    @router.get("/metrics")
    async def metrics() -> Response:
        """Prometheus text."""
        await readiness.failing()  # whoever scrapes learns it too, also where nobody asks /readyz
        return Response(
            generate_latest(REGISTRY) + generate_latest(parts), media_type=CONTENT_TYPE_LATEST
        )

    return router
