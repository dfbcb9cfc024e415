"""AdminService: each rpc finds its caller, calls one operation, and writes its view on the wire.

Rules of this module:

- The token comes in the `authorization` metadata, as over HTTP.
- Errors become statuses in one place: cloud/rpc's interceptor.
- Health and reflection need no token: they tell what is in the repository anyway.
"""

from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from shoal.admin.v1 import admin_pb2 as wire
from shoal.admin.v1 import admin_pb2_grpc

from cloud.admin.caller import Caller
from cloud.admin.grpc.translate import (
    command_name,
    device_message,
    new_release,
    release_message,
    task_message,
)
from cloud.admin.operations.admin import Admin
from cloud.admin.paging import PageRequest
from cloud.admin.rest.context import bearer_token
from cloud.rpc.interceptor import ErrorInterceptor
from device_agent.tasks.names import Namespace

SERVICE = wire.DESCRIPTOR.services_by_name["AdminService"].full_name
MESSAGE_BYTES_MAX = 1024 * 1024

type Context = grpc.aio.ServicerContext[Any, Any]


class AdminService(admin_pb2_grpc.AdminServiceServicer):
    """The operations over gRPC."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin

    async def _caller(self, context: Context) -> Caller:
        metadata = dict(context.invocation_metadata() or ())
        token = bearer_token(str(metadata.get("authorization", "")))
        return await self._admin.tokens.authenticate(token)

    async def ListTasks(
        self, request: wire.ListTasksRequest, context: Context
    ) -> wire.ListTasksResponse:
        """Tasks, by name."""
        page = await self._admin.tasks.list(
            await self._caller(context), namespace_of(request.namespace), page_of(request)
        )
        tasks = [task_message(task) for task in page.items]
        return wire.ListTasksResponse(tasks=tasks, next_page_token=page.next_page_token)

    async def CreateRelease(
        self, request: wire.CreateReleaseRequest, context: Context
    ) -> wire.CreateReleaseResponse:
        """Makes a release."""
        release = await self._admin.releases.create(
            await self._caller(context),
            namespace_of(request.namespace),
            new_release(request),
            request.idempotency_key,
        )
        return wire.CreateReleaseResponse(release=release_message(release))

    async def GetRelease(
        self, request: wire.GetReleaseRequest, context: Context
    ) -> wire.GetReleaseResponse:
        """One release."""
        release = await self._admin.releases.get(
            await self._caller(context), namespace_of(request.namespace), request.release_id
        )
        return wire.GetReleaseResponse(release=release_message(release))

    async def ListReleases(
        self, request: wire.ListReleasesRequest, context: Context
    ) -> wire.ListReleasesResponse:
        """Releases, newest first."""
        page = await self._admin.releases.list(
            await self._caller(context),
            namespace_of(request.namespace),
            page_of(request),
            task=request.task,
        )
        releases = [release_message(release) for release in page.items]
        return wire.ListReleasesResponse(releases=releases, next_page_token=page.next_page_token)

    async def CommandRelease(
        self, request: wire.CommandReleaseRequest, context: Context
    ) -> wire.CommandReleaseResponse:
        """Tells a release something."""
        release = await self._admin.releases.command(
            await self._caller(context),
            namespace_of(request.namespace),
            request.release_id,
            command_name(request.command),
            reason=request.reason,
            if_revision=request.if_revision,
            rollback_version=request.rollback_version or None,
        )
        return wire.CommandReleaseResponse(release=release_message(release))

    async def ListDevices(
        self, request: wire.ListDevicesRequest, context: Context
    ) -> wire.ListDevicesResponse:
        """Devices, by id."""
        page = await self._admin.devices.list(
            await self._caller(context), namespace_of(request.namespace), page_of(request)
        )
        devices = [device_message(device) for device in page.items]
        return wire.ListDevicesResponse(devices=devices, next_page_token=page.next_page_token)

    async def SetKillSwitch(
        self, request: wire.SetKillSwitchRequest, context: Context
    ) -> wire.SetKillSwitchResponse:
        """Stops a task or frees it."""
        set_at = await self._admin.releases.set_kill(
            await self._caller(context),
            namespace_of(request.namespace),
            task=request.task,
            killed=request.killed,
            reason=request.reason,
        )
        return wire.SetKillSwitchResponse(epoch=set_at.epoch)

    async def WatchRelease(
        self, request: wire.WatchReleaseRequest, context: Context
    ) -> AsyncIterator[wire.WatchReleaseResponse]:
        """A release, as it changes."""
        watched = self._admin.releases.watch(
            await self._caller(context), namespace_of(request.namespace), request.release_id
        )
        async for release in watched:
            yield wire.WatchReleaseResponse(release=release_message(release))


def namespace_of(text: str) -> str:
    """A namespace of a request, checked."""
    return str(Namespace.parse(text))


def page_of(
    request: wire.ListTasksRequest | wire.ListReleasesRequest | wire.ListDevicesRequest,
) -> PageRequest:
    """The page that a request asks for."""
    return PageRequest(size=request.page_size, token=request.page_token)


def make_admin_server(admin: Admin) -> grpc.aio.Server:
    """A server of AdminService with health and reflection; it has no port yet."""
    server = grpc.aio.server(
        interceptors=[ErrorInterceptor()],
        options=[("grpc.max_receive_message_length", MESSAGE_BYTES_MAX)],
    )
    add = admin_pb2_grpc.add_AdminServiceServicer_to_server
    add(AdminService(admin), server)  # type: ignore[no-untyped-call]  # generated
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    return server
