"""The HTTPS face that devices speak before and beside gRPC: identity, time, TUF metadata, files.

Rules of this module:

- TLS here asks for no client certificate: enrolment comes before there is one. What needs a device's word carries a
  proof (device_agent/tasks/proof.py); the rest is public and signed.
- Versioned metadata never changes and may be cached for ever; the timestamp never.
- docs/reference/device-https.md describes each route.
"""

from collections.abc import Sequence

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from cloud.artifacts.blobs import BlobStore
from cloud.artifacts.file_routes import PROOF_HEADER, FileRoutes, ScopeOf
from cloud.artifacts.http import json_response, parse_json, read_body, with_errors
from cloud.artifacts.settings import SETTINGS, ArtifactSettings
from cloud.artifacts.tickets import TicketSigner
from cloud.keys.authority import CertificateAuthority
from cloud.keys.enrolment import Enrolled, EnrolmentService
from cloud.keys.errors import EnrolmentBusy, EnrolmentRefused, MetadataMissing
from cloud.keys.metrics import ENROLMENTS
from cloud.keys.rate_limit import EnrolmentLimiter
from cloud.keys.repository import TufRepository
from device_agent.clock import Clock

_FOR_EVER = "public, max-age=31536000, immutable"


class EnrolRequest(msgspec.Struct, frozen=True):
    """Body of POST /v1/enrol."""

    namespace: str
    token: str
    csr: str
    facts: dict[str, object]


class RenewRequest(msgspec.Struct, frozen=True):
    """Body of POST /v1/renew."""

    namespace: str
    csr: str


class IdentityRoutes:
    """Routes of identity, time and TUF."""

    def __init__(
        self,
        authority: CertificateAuthority,
        enrolment: EnrolmentService,
        repository: TufRepository,
        clock: Clock,
        limiter: EnrolmentLimiter | None = None,
    ) -> None:
        self._limiter = limiter or EnrolmentLimiter()
        self._authority = authority
        self._enrolment = enrolment
        self._repository = repository
        self._clock = clock

    def routes(self) -> list[Route]:
        """For a Starlette app."""
        return [
            Route("/v1/ca", with_errors(self.ca), methods=["GET"]),
            Route("/v1/time", with_errors(self.time), methods=["GET"]),
            Route("/v1/enrol", with_errors(self.enrol), methods=["POST"]),
            Route("/v1/renew", with_errors(self.renew), methods=["POST"]),
            Route("/tuf/metadata/{name}", with_errors(self.metadata), methods=["GET"]),
            Route("/tuf/targets/{path:path}", with_errors(self.target), methods=["GET"]),
        ]

    async def ca(self, _request: Request) -> Response:
        """GET /v1/ca: the CA, whose fingerprint the device compares with its enrolment code."""
        authority = self._authority
        return json_response(
            {"certificate": authority.certificate_pem.decode(), "sha256": authority.fingerprint}
        )

    async def time(self, _request: Request) -> Response:
        """GET /v1/time: the cloud's wall clock."""
        return json_response({"now_ms": self._clock.wall_ms()})

    async def enrol(self, request: Request) -> Response:
        """POST /v1/enrol: token and certificate request in, certificate and all that a device needs out."""
        source = request.client.host if request.client is not None else ""
        if wait_ms := self._limiter.take(source, self._now_ms()):
            ENROLMENTS.labels("busy").inc()
            raise EnrolmentBusy("too many devices enrol now; try again when told", wait_ms)
        asked = parse_json(await read_body(request), EnrolRequest)
        try:
            enrolled = await self._enrolment.enrol(
                asked.namespace, asked.token, asked.csr.encode(), asked.facts
            )
        except EnrolmentRefused:
            self._limiter.refused(source, self._now_ms())
            ENROLMENTS.labels("refused").inc()
            raise
        ENROLMENTS.labels("enrolled").inc()
        return self._answer(enrolled)

    async def renew(self, request: Request) -> Response:
        """POST /v1/renew: the same for a device that proves who it is."""
        body = await read_body(request)
        asked = parse_json(body, RenewRequest)
        proof = request.headers.get(PROOF_HEADER, "")
        return self._answer(
            await self._enrolment.renew(asked.namespace, asked.csr.encode(), proof, body)
        )

    async def metadata(self, request: Request) -> Response:
        """GET /tuf/metadata/{name}."""
        name = request.path_params["name"]
        data = await self._repository.metadata(name)
        if data is None:
            raise MetadataMissing(f"there is no {name[:100]} in the repository")
        caching = "no-cache" if name == "timestamp.json" else _FOR_EVER
        return Response(data, media_type="application/json", headers={"cache-control": caching})

    async def target(self, request: Request) -> Response:
        """GET /tuf/targets/{path}: the director's keys; files of tasks come from /v1/files."""
        path = request.path_params["path"]
        data = await self._repository.target(path)
        if data is None:
            raise MetadataMissing(f"there is no target {path[:100]} here; files are at /v1/files")
        return Response(data, media_type="application/json", headers={"cache-control": _FOR_EVER})

    def _now_ms(self) -> int:
        """Time that nobody sets back, for the limiter."""
        return self._clock.monotonic_ns() // 1_000_000

    def _answer(self, enrolled: Enrolled) -> Response:
        certificate, site = enrolled.certificate, enrolled.site
        return json_response(
            {
                "device_id": certificate.device_id,
                "namespace": certificate.namespace,
                "certificate": certificate.pem.decode(),
                "sync_address": site.sync_address,
                "tuf_root": site.tuf_root.decode(),
                "server_time_ms": self._clock.wall_ms(),
            }
        )


def device_routes(
    *,
    blobs: BlobStore,
    tickets: TicketSigner,
    scope_of: ScopeOf,
    authority: CertificateAuthority,
    enrolment: EnrolmentService,
    repository: TufRepository,
    clock: Clock,
    settings: ArtifactSettings = SETTINGS,
) -> list[Route]:
    """All routes of the HTTPS face."""
    return [
        *IdentityRoutes(authority, enrolment, repository, clock).routes(),
        *FileRoutes(blobs, tickets, scope_of, clock, settings).routes(),
    ]


def device_app(routes: Sequence[BaseRoute]) -> Starlette:
    """An app of these routes, in which unknown paths and methods are JSON errors, too."""
    return Starlette(routes=list(routes), exception_handlers={HTTPException: _http_error})


async def _http_error(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    code = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}.get(status, "HTTP_ERROR")
    hint = "docs/reference/device-https.md lists the paths"
    message = str(error.detail) if isinstance(error, HTTPException) else ""
    return JSONResponse(
        {"error": {"code": code, "message": message, "hint": hint}}, status_code=status
    )
