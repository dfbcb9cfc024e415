"""Routes that devices pull files from: shared ones by digest alone, exclusive ones with ticket and proof.

Rules of this module:

- Only what was published for devices is served: sources lie in the same store and are nobody's to fetch.
- A shared file may be kept by any cache for ever; an exclusive one by none.
- An exclusive file needs a ticket for this device and digest, and a proof that the request comes from that device.
"""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from cloud.artifacts.blobs import BlobStore
from cloud.artifacts.errors import BlobMissing, RequestInvalid
from cloud.artifacts.http import with_errors
from cloud.artifacts.ranges import choose_part
from cloud.artifacts.settings import SETTINGS, ArtifactSettings
from cloud.artifacts.tickets import TicketSigner
from device_agent.clock import Clock
from device_agent.tasks.director import Scope
from device_agent.tasks.errors import NameInvalid
from device_agent.tasks.names import check_digest
from device_agent.tasks.proof import PURPOSE_EXCLUSIVE, check_proof

TICKET_HEADER = "shoal-ticket"
PROOF_HEADER = "shoal-proof"

type ScopeOf = Callable[[str], Awaitable[frozenset[Scope]]]
"""Scopes under which a digest was published for devices; empty when it was not."""


class FileRoutes:
    """The two routes."""

    def __init__(
        self,
        blobs: BlobStore,
        tickets: TicketSigner,
        scope_of: ScopeOf,
        clock: Clock,
        settings: ArtifactSettings = SETTINGS,
    ) -> None:
        self._blobs = blobs
        self._tickets = tickets
        self._scope_of = scope_of
        self._clock = clock
        self._settings = settings

    def routes(self) -> list[Route]:
        """For a Starlette app."""
        return [
            Route("/v1/files/{hexadecimal}", with_errors(self.shared), methods=["GET"]),
            Route("/v1/exclusive/{hexadecimal}", with_errors(self.exclusive), methods=["GET"]),
        ]

    async def shared(self, request: Request) -> Response:
        """GET /v1/files/{sha256 hex}."""
        digest = _digest(request)
        if Scope.SHARED not in await self._scope_of(digest):
            raise BlobMissing(f"no shared file has digest {digest}; publish the version again")
        return await self._send(request, digest, "public, max-age=31536000, immutable")

    async def exclusive(self, request: Request) -> Response:
        """GET /v1/exclusive/{sha256 hex}, with Shoal-Ticket and Shoal-Proof."""
        digest, now_ms = _digest(request), self._clock.wall_ms()
        ticket = request.headers.get(TICKET_HEADER, "")
        device_id = check_proof(
            request.headers.get(PROOF_HEADER, ""),
            PURPOSE_EXCLUSIVE,
            ticket.encode(),
            now_ms=now_ms,
            window_ms=self._settings.proof_window_ms,
        )
        self._tickets.check(ticket, device_id=device_id, digest=digest, now_ms=now_ms)
        if not await self._scope_of(digest):
            raise BlobMissing(f"no file has digest {digest}; publish the version again")
        return await self._send(request, digest, "private, no-store")

    async def _send(self, request: Request, digest: str, caching: str) -> Response:
        size = await self._blobs.stat(digest)
        if size is None:
            raise BlobMissing(
                f"the file of {digest} is not in the store; publish the version again"
            )
        etag = f'"{digest.removeprefix("sha256:")}"'
        headers = {"etag": etag, "cache-control": caching, "accept-ranges": "bytes"}
        part = choose_part(
            size,
            etag,
            wanted=request.headers.get("range"),
            if_range=request.headers.get("if-range"),
            if_none_match=request.headers.get("if-none-match"),
        )
        if part.status == 304:
            return Response(status_code=304, headers=headers)
        if part.status == 416:
            return Response(status_code=416, headers=headers | {"content-range": f"bytes */{size}"})
        headers["content-length"] = str(part.end - part.start)
        headers["content-type"] = "application/octet-stream"
        if part.status == 206:
            headers["content-range"] = f"bytes {part.start}-{part.end - 1}/{size}"
        if request.method == "HEAD":
            return Response(status_code=part.status, headers=headers)
        body = self._blobs.stream(digest, part.start, part.end)
        return StreamingResponse(body, status_code=part.status, headers=headers)


def _digest(request: Request) -> str:
    try:
        return check_digest(f"sha256:{request.path_params['hexadecimal']}")
    except NameInvalid as error:
        raise RequestInvalid(str(error)) from error
