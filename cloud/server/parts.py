"""The parts of a cloud, put together: what each is given, and nothing else.

Rules of this module:

- Opened in order of need and closed in the opposite order, whatever happens in between.
- What runs in the background is named in `background`, and runs in one TaskGroup: when one of them ends, all end.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog

from cloud.admin.operations.admin import Admin
from cloud.admin.operations.audit import AuditOperations
from cloud.admin.operations.devices import DeviceOperations
from cloud.admin.operations.overview import OverviewOperations
from cloud.admin.operations.releases import ReleaseOperations
from cloud.admin.operations.tasks import TaskOperations
from cloud.admin.operations.tokens import TokenOperations
from cloud.admin.operations.trust import TrustOperations
from cloud.admin.settings import AdminSettings
from cloud.artifacts.blobs import BlobStore
from cloud.artifacts.scopes import PublishedScopes
from cloud.bus.interface import Bus
from cloud.bus.opening import open_bus
from cloud.gateway.parts import GatewayParts
from cloud.gateway.settings import GatewaySettings, PacingSettings
from cloud.keys.enrolment import EnrolmentService, EnrolmentSite
from cloud.keys.expiry import ExpiryWatch
from cloud.keys.online import OnlineKeys
from cloud.keys.repository import TufRepository
from cloud.registry.registry import TaskRegistry
from cloud.registry.settings import RegistrySettings
from cloud.rollout.service import ReleaseService
from cloud.server.first_start import make_first_keys, make_first_token, make_namespaces
from cloud.server.home import CloudHome
from cloud.server.settings import ServerSettings
from cloud.store.database import Database
from cloud.store.schema import migrate_async, require_current_schema
from cloud.telemetry.parts import TelemetryParts
from device_agent.clock import Clock

log = structlog.get_logger(__name__)


class Site:
    """Where devices find this cloud; known when its sockets listen."""

    def __init__(self, repository: TufRepository) -> None:
        self._repository = repository
        self.url = ""
        self.sync_address = ""

    def __call__(self) -> EnrolmentSite:
        """For enrolment codes and certificates."""
        assert self.url, "the device faces listen before anybody enrols"
        return EnrolmentSite(
            url=self.url, sync_address=self.sync_address, tuf_root=self._repository.root()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudParts:
    """A cloud without its sockets.

    Attributes:
        new_owner: This start made the first token.
    """

    home: CloudHome
    settings: ServerSettings
    clock: Clock
    database: Database
    bus: Bus
    blobs: BlobStore
    online: OnlineKeys
    repository: TufRepository
    releases: ReleaseService
    gateway: GatewayParts
    telemetry: TelemetryParts
    enrolment: EnrolmentService
    scopes: PublishedScopes
    site: Site
    expiry: ExpiryWatch
    admin: Admin
    new_owner: bool

    async def refresh_metadata(self) -> None:
        """Signs TUF's online roles anew in time, and looks what nears its end, for ever."""
        self.expiry.look(self.clock.wall_ms())
        while True:
            await asyncio.sleep(self.settings.refresh_ms / 1000)
            if await self.repository.refresh_online(self.clock.wall_ms()):
                log.info("metadata signed anew")
            self.expiry.look(self.clock.wall_ms())


@asynccontextmanager
async def open_parts(
    home: CloudHome, settings: ServerSettings, clock: Clock
) -> AsyncIterator[CloudParts]:
    """Opens everything that a cloud needs before it listens."""
    async with AsyncExitStack() as stack:
        await make_first_keys(home, settings, clock)
        online = await asyncio.to_thread(OnlineKeys.load, home.keys / "online")
        database = await _open_database(home, settings)
        stack.push_async_callback(database.close)
        await make_namespaces(database, settings, clock)
        new_owner = await make_first_token(home, database, settings, clock)
        bus = await open_bus(settings.bus_url, database, clock)
        stack.push_async_callback(bus.close)
        artifacts_url = settings.artifacts_url or home.artifacts_url
        repository = TufRepository.open(artifacts_url, online.repository)
        await repository.load(online.first_metadata, clock.wall_ms())
        await asyncio.to_thread(online.settle, repository)
        await repository.refresh_online(clock.wall_ms())
        yield _join(
            home=home,
            settings=settings,
            clock=clock,
            database=database,
            bus=bus,
            blobs=BlobStore.open(artifacts_url),
            online=online,
            repository=repository,
            new_owner=new_owner,
        )


async def _open_database(home: CloudHome, settings: ServerSettings) -> Database:
    url = settings.database_url or home.database_url
    if settings.migrate:
        await migrate_async(url)
    database = await Database.open(url)
    try:
        await require_current_schema(database)
    except BaseException:
        await database.close()
        raise
    return database


def _join(
    *,
    home: CloudHome,
    settings: ServerSettings,
    clock: Clock,
    database: Database,
    bus: Bus,
    blobs: BlobStore,
    online: OnlineKeys,
    repository: TufRepository,
    new_owner: bool,
) -> CloudParts:
    # The gateway is made after the releases that notify it, and is given what writes acknowledgements into them.
    releases = ReleaseService(
        database, clock, lambda namespace, epoch: gateway.follower.on_epoch(namespace, epoch)
    )
    gateway = GatewayParts.build(
        database=database,
        signer=online.director,
        tickets=online.tickets,
        record=releases.record_batch,
        clock=clock,
        wake=releases.wake,
        settings=GatewaySettings(
            pacing=PacingSettings(
                interval_ms=settings.sync_interval_ms,
                stepping_interval_ms=settings.sync_stepping_interval_ms,
            )
        ),
    )
    telemetry = TelemetryParts.build(
        database=database, bus=bus, admit=gateway.gateway.answerer.set_for, clock=clock
    )
    site = Site(repository)
    enrolment = EnrolmentService(database, online.authority, clock, site)
    builds = RegistrySettings(pythons=settings.pythons)
    registry = TaskRegistry(database, blobs, repository, clock, builds)
    expiry = ExpiryWatch(lambda: [*repository.expiries(), *online.expiries()])
    trust = TrustOperations(database, clock, repository, online, expiry, gateway.follower.on_epoch)
    return CloudParts(
        home=home,
        settings=settings,
        clock=clock,
        database=database,
        bus=bus,
        blobs=blobs,
        online=online,
        repository=repository,
        releases=releases,
        gateway=gateway,
        telemetry=telemetry,
        enrolment=enrolment,
        scopes=PublishedScopes(database),
        site=site,
        expiry=expiry,
        admin=_join_admin(database, clock, registry, releases, enrolment, gateway, trust),
        new_owner=new_owner,
    )


def _join_admin(
    database: Database,
    clock: Clock,
    registry: TaskRegistry,
    releases: ReleaseService,
    enrolment: EnrolmentService,
    gateway: GatewayParts,
    trust: TrustOperations,
) -> Admin:
    limits = AdminSettings()
    return Admin(
        settings=limits,
        tokens=TokenOperations(database, clock, limits),
        tasks=TaskOperations(registry, limits),
        releases=ReleaseOperations(database, limits, releases),
        devices=DeviceOperations(database, clock, limits, enrolment, gateway.follower),
        audit=AuditOperations(database, limits),
        overview=OverviewOperations(database, clock, limits, releases),
        trust=trust,
    )
