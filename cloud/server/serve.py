"""Runs a cloud: parts, sockets, start, and an orderly stop.

Rules of this module:

- Announced (addresses.json) only when every socket answers and the first release sets are loaded.
- SIGTERM and SIGINT: not ready any more, event streams end, faces drain, then the background stops and writes what
  it holds, then everything closes. A second signal does not wait.
- When a part fails for good the process ends with its error, so that whoever supervises it starts it anew.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog
from starlette.routing import BaseRoute

from cloud.admin.grpc.service import make_admin_server
from cloud.admin.rest.app import make_app
from cloud.admin.rest.console import ConsoleFiles
from cloud.admin.rest.health import Readiness
from cloud.bus.metrics import BusCollector
from cloud.gateway.metrics import GatewayCollector
from cloud.gateway.service import add_device_service
from cloud.gateway.settings import ServerSettings as GrpcSettings
from cloud.keys.routes import device_app, device_routes
from cloud.observability.logs import set_up_logs
from cloud.observability.traces import TraceSettings, set_up_traces
from cloud.rpc.peer import PeerReader
from cloud.server.faces import GrpcFace, HttpFace, place, tls_context
from cloud.server.home import Addresses, CloudHome
from cloud.server.parts import CloudParts, open_parts
from cloud.server.settings import ServerSettings
from cloud.telemetry.metrics import TelemetryCollector
from cloud.telemetry.tunnel import add_telemetry_service
from device_agent.clock import Clock, SystemClock
from device_agent.errors import ShoalError

log = structlog.get_logger(__name__)
CONSOLE = Path(__file__).parents[1] / "console" / "dist"
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Faces:
    """The four sockets of a cloud, bound and not yet serving."""

    admin_http: HttpFace
    admin_grpc: GrpcFace
    device_https: HttpFace
    device_grpc: GrpcFace

    @property
    def all(self) -> tuple[HttpFace | GrpcFace, ...]:
        """Each of them."""
        return (self.device_grpc, self.device_https, self.admin_grpc, self.admin_http)


class Draining(Exception):
    """The faces have drained; what runs in the background may end."""


async def serve(
    settings: ServerSettings,
    *,
    clock: Clock | None = None,
    announce: Callable[[Addresses, CloudParts], None] = lambda _addresses, _parts: None,
) -> None:
    """Runs a cloud until it is told to stop.

    Args:
        settings: Where and how.
        clock: Time.
        announce: Told when the cloud is ready, with its addresses.

    Raises:
        ShoalError: It could not start, or a part failed for good.
    """
    set_up_logs(settings.log_level, human=settings.log_human)
    provider = set_up_traces(TraceSettings(otlp_endpoint=settings.otlp_endpoint))
    home = CloudHome(settings.home)
    try:
        with home.locked(), _told_to_stop() as stop:
            async with open_parts(home, settings, clock or SystemClock()) as parts:
                await _run(parts, stop, announce)
    except* ShoalError as group:
        raise _first(group) from group
    finally:
        provider.shutdown()


async def _run(
    parts: CloudParts, stop: asyncio.Event, announce: Callable[[Addresses, CloudParts], None]
) -> None:
    readiness = Readiness(
        {"database": parts.database.ready, "release sets": lambda: _check_sets(parts)},
        warnings=lambda: parts.expiry.warnings,
    )
    try:
        async with asyncio.TaskGroup() as background:
            started = asyncio.Event()
            background.create_task(parts.gateway.run(started), name="gateway")
            background.create_task(parts.telemetry.run(), name="telemetry")
            background.create_task(parts.releases.run(), name="rollout")
            background.create_task(parts.refresh_metadata(), name="metadata")
            background.create_task(parts.bus.run_trimming(), name="bus")
            await started.wait()
            await _run_faces(parts, readiness, stop, announce)
            raise Draining
    except* Draining:
        log.info("stopped")


async def _run_faces(
    parts: CloudParts,
    readiness: Readiness,
    stop: asyncio.Event,
    announce: Callable[[Addresses, CloudParts], None],
) -> None:
    faces, close_streams = _bind_faces(parts, readiness)
    addresses = _addresses(faces, parts.settings)
    parts.site.url = addresses.device_https
    parts.site.sync_address = addresses.device_grpc
    async with asyncio.TaskGroup() as serving:
        for face in faces.all:
            serving.create_task(face.serve(), name=type(face).__name__)
        with parts.home.announced(addresses):
            announce(addresses, parts)
            log.info("ready", rest=addresses.rest, device_grpc=addresses.device_grpc)
            await stop.wait()
            readiness.drain()
            close_streams()
        for face in faces.all:
            face.drain()


def _bind_faces(parts: CloudParts, readiness: Readiness) -> tuple[Faces, Callable[[], None]]:
    settings, online = parts.settings, parts.online
    hosts = ("localhost", "127.0.0.1", settings.public_host)
    key_pem, chain_pem = online.server_tls(hosts)
    app = make_app(
        parts.admin,
        clock=parts.clock,
        readiness=readiness,
        console=ConsoleFiles(CONSOLE),
        collectors=[
            GatewayCollector(parts.gateway.gateway, parts.gateway.follower),
            TelemetryCollector(parts.telemetry.tunnels),
            BusCollector(parts.bus),
        ],
    )
    drain_ms, home = settings.drain_ms, parts.home
    faces = Faces(
        admin_http=HttpFace(
            app, settings.admin_host, settings.rest_port or home.remembered_port("rest"), drain_ms
        ),
        admin_grpc=GrpcFace(
            make_admin_server(parts.admin),
            settings.admin_host,
            settings.admin_grpc_port or home.remembered_port("admin_grpc"),
            drain_ms,
        ),
        device_https=HttpFace(
            device_app(_device_routes(parts)),
            settings.host,
            settings.device_https_port or home.remembered_port("device_https"),
            drain_ms,
            tls_context(parts.home, key_pem, chain_pem),
        ),
        device_grpc=GrpcFace(
            _device_server(parts),
            settings.host,
            settings.device_grpc_port or home.remembered_port("device_grpc"),
            drain_ms,
            grpc.ssl_server_credentials(
                [(key_pem, chain_pem)], online.authority.certificate_pem, True
            ),
        ),
    )
    home.remember_ports(
        rest=faces.admin_http.port,
        admin_grpc=faces.admin_grpc.port,
        device_https=faces.device_https.port,
        device_grpc=faces.device_grpc.port,
    )
    return faces, app.state.streams.close


def _device_routes(parts: CloudParts) -> Sequence[BaseRoute]:
    return device_routes(
        blobs=parts.blobs,
        tickets=parts.online.tickets,
        scope_of=parts.scopes,
        authority=parts.online.authority,
        enrolment=parts.enrolment,
        repository=parts.repository,
        clock=parts.clock,
    )


def _device_server(parts: CloudParts) -> grpc.aio.Server:
    server = grpc.aio.server(options=GrpcSettings().options())
    peers = PeerReader()
    add_device_service(server, parts.gateway.gateway, peers)
    add_telemetry_service(server, parts.telemetry.tunnels, peers)
    return server


def _addresses(faces: Faces, settings: ServerSettings) -> Addresses:
    rest = f"http://{place(settings.admin_host, faces.admin_http.port)}"
    return Addresses(
        rest=rest,
        console=f"{rest}/console/",
        admin_grpc=place(settings.admin_host, faces.admin_grpc.port),
        device_grpc=place(settings.public_host, faces.device_grpc.port),
        device_https=f"https://{place(settings.public_host, faces.device_https.port)}",
        pid=os.getpid(),
    )


async def _check_sets(parts: CloudParts) -> None:
    health = parts.gateway.follower.health()
    if not health.ready or health.stale:
        raise RuntimeError(f"release sets are {health.age_ms} ms old")


@contextmanager
def _told_to_stop() -> Iterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set; a second signal ends the process at once."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def on_signal(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield stop
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)


def _first(group: BaseExceptionGroup[ShoalError]) -> ShoalError:
    """The first error of a group that came from a TaskGroup."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, ShoalError)
    return error
