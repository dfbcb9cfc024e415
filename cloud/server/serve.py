"""Runs the control plane as one process: listens, works, drains.

Rules of this module:

- Background work and listeners live in one TaskGroup: when one dies by a fault, the process ends and says so.
- A stop drains: not ready first, then listeners end with a bound, then background work, then the parts close.
- addresses.json is written when everything listens, and removed before anything stops listening.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import structlog
from cloud.admin.operations.admin import Admin
from cloud.admin.operations.overview import OverviewOperations
from cloud.admin.operations.releases import ReleaseOperations
from cloud.admin.operations.tasks import TaskOperations
from cloud.admin.rest.app import make_app
from cloud.server.home import Home, replace
from cloud.server.listen import HttpServer
from cloud.server.parts import Parts, open_parts
from cloud.server.settings import ServerSettings
from prometheus_client import REGISTRY

from cloud.admin.operations.audit import AuditOperations
from cloud.admin.operations.devices import DeviceOperations
from cloud.admin.operations.tokens import TokenOperations, first_token
from cloud.admin.rest.console import ConsoleFiles
from cloud.admin.rest.health import Readiness
from cloud.admin.settings import AdminSettings
from cloud.gateway.errors import GatewayNotReady
from cloud.gateway.metrics import GatewayCollector
from cloud.gateway.service import add_device_service
from cloud.gateway.settings import GatewaySettings
from cloud.keys.enrolment import EnrolmentService, EnrolmentSite
from cloud.keys.routes import device_app, device_routes
from cloud.observability.logs import set_up_logs
from cloud.observability.traces import TraceSettings, set_up_traces
from cloud.rpc.peer import PeerReader
from cloud.store.database import Database
from cloud.telemetry.metrics import TelemetryCollector
from cloud.telemetry.tunnel import add_telemetry_service
from device_agent.clock import Clock, SystemClock

CONSOLE_FOLDER = Path(__file__).parents[1] / "console" / "dist"
START_SECONDS_MAX = 30.0
_log = structlog.get_logger(__name__)


async def serve(settings: ServerSettings) -> None:
    """Serves until SIGTERM or SIGINT."""
    set_up_logs(settings.log_level)
    set_up_traces(TraceSettings(otlp_endpoint=settings.otlp_endpoint))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with open_parts(settings, SystemClock()) as parts:
        await _keep_admin_token(parts.home, parts.database, parts.clock)
        await Server(parts).run(stop)


async def _keep_admin_token(home: Home, database: Database, clock: Clock) -> None:
    """The first start of a home makes the token that everything begins with."""
    if not home.admin_token.exists():
        made = await first_token(database, clock, "admin")
        replace(home.admin_token, made.token.encode())


class Server:
    """The listeners and the background work of one process."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._settings = parts.settings
        self._ports = parts.home.remembered_ports()
        self._enrolment = EnrolmentService(
            parts.database, parts.keys.authority, parts.clock, self._site
        )
        self.readiness = Readiness(
            {"database": parts.database.ready, "gateway": self._gateway_ready}
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Serves until told to stop."""
        started = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            work = [
                group.create_task(self._parts.gateway.run(started), name="gateway"),
                group.create_task(self._parts.telemetry.run(), name="telemetry"),
                group.create_task(self._parts.releases.run(), name="releases"),
                group.create_task(self._refresh_metadata(), name="tuf"),
            ]
            async with asyncio.timeout(START_SECONDS_MAX):
                await started.wait()
            async with AsyncExitStack() as listeners:
                await self._listen(listeners)
                await stop.wait()
                _log.info("server.draining")
                self.readiness.drain()
                self._parts.home.remove_addresses()
            for task in work:
                task.cancel()
        _log.info("server.stopped")

    async def _listen(self, listeners: AsyncExitStack) -> None:
        host = self._settings.listen_host
        grpc_port = await listeners.enter_async_context(self._device_grpc())
        https_port = await listeners.enter_async_context(
            _listening(await self._https_server(), self._settings.drain_seconds_max)
        )
        rest = HttpServer(
            self._rest_app(),
            self._settings.admin_host,
            self._port("rest", self._settings.rest_port),
        )
        rest_port = await listeners.enter_async_context(
            _listening(rest, self._settings.drain_seconds_max)
        )
        self._ports |= {"device_grpc": grpc_port, "device_https": https_port, "rest": rest_port}
        self._parts.home.remember_ports(self._ports)
        url = f"http://{self._settings.admin_host}:{rest_port}"
        addresses = {
            "rest": url,
            "console": f"{url}/console/",
            "device_grpc": f"{host}:{grpc_port}",
            "device_https": f"https://{host}:{https_port}",
        }
        self._parts.home.write_addresses(addresses)
        _log.info("server.listening", **addresses)

    # --- listeners ----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _device_grpc(self) -> AsyncIterator[int]:
        parts, peers = self._parts, PeerReader()
        server = grpc.aio.server(options=GatewaySettings().server.options())
        add_device_service(server, parts.gateway.gateway, peers)
        add_telemetry_service(server, parts.telemetry.tunnels, peers)
        credentials = grpc.ssl_server_credentials(
            [parts.keys.server_tls(self._settings.hosts)],
            root_certificates=parts.keys.authority.certificate_pem,
            require_client_auth=True,
        )
        wanted = self._port("device_grpc", self._settings.device_grpc_port)
        port = server.add_secure_port(f"{self._settings.listen_host}:{wanted}", credentials)
        await server.start()
        try:
            yield port
        finally:
            await server.stop(self._settings.drain_seconds_max)

    async def _https_server(self) -> HttpServer:
        parts = self._parts
        routes = device_routes(
            blobs=parts.blobs,
            tickets=parts.keys.tickets,
            scope_of=parts.scopes,
            authority=parts.keys.authority,
            enrolment=self._enrolment,
            repository=parts.repository,
            clock=parts.clock,
        )
        key, chain = parts.keys.server_tls(self._settings.hosts)
        replace(parts.home.tls, key + chain)
        wanted = self._port("device_https", self._settings.device_https_port)
        return HttpServer(
            device_app(routes), self._settings.listen_host, wanted, tls_file=str(parts.home.tls)
        )

    def _rest_app(self) -> object:
        parts, settings = self._parts, AdminSettings()
        admin = Admin(
            settings=settings,
            tokens=TokenOperations(parts.database, parts.clock, settings),
            tasks=TaskOperations(parts.registry, settings),
            releases=ReleaseOperations(parts.database, settings, parts.releases),
            devices=DeviceOperations(
                parts.database, parts.clock, settings, self._enrolment, parts.gateway.follower
            ),
            audit=AuditOperations(parts.database, settings),
            overview=OverviewOperations(parts.database, parts.clock, settings, parts.releases),
        )
        for collector in (
            GatewayCollector(parts.gateway.gateway, parts.gateway.follower),
            TelemetryCollector(parts.telemetry.tunnels),
        ):
            REGISTRY.register(collector)
        return make_app(
            admin,
            clock=parts.clock,
            readiness=self.readiness,
            console=ConsoleFiles(CONSOLE_FOLDER),
        )

    # --- below --------------------------------------------------------------------------------------------------

    def _port(self, name: str, configured: int) -> int:
        return configured or self._ports.get(name, 0)

    def _site(self) -> EnrolmentSite:
        host = self._settings.hosts[0]
        return EnrolmentSite(
            url=f"https://{host}:{self._ports['device_https']}",
            sync_address=f"{host}:{self._ports['device_grpc']}",
            tuf_root=self._parts.repository.root(),
        )

    async def _gateway_ready(self) -> None:
        health = self._parts.gateway.follower.health()
        if not health.ready:
            raise GatewayNotReady("the release sets are not loaded yet")

    async def _refresh_metadata(self) -> None:
        """Keeps snapshot and timestamp fresh."""
        while True:
            await asyncio.sleep(self._settings.tuf_check_seconds)
            try:
                await self._parts.repository.refresh_online(self._parts.clock.wall_ms())
            except Exception:
                _log.exception("server.tuf_refresh_failed")


@asynccontextmanager
async def _listening(server: HttpServer, drain_seconds: float) -> AsyncIterator[int]:
    """Serves HTTP; gives the port."""
    serving = asyncio.create_task(server.serve())
    waiting = asyncio.create_task(server.listening.wait())
    await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        waiting.cancel()
        await serving
    try:
        yield server.port
    finally:
        server.should_exit = True
        done, _ = await asyncio.wait((serving,), timeout=drain_seconds)
        if not done:
            server.force_exit = True
            await serving
