"""The gRPC face over a whole cloud in this process, called through a real channel."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from shoal.admin.v1 import admin_pb2 as wire
from shoal.admin.v1 import admin_pb2_grpc

from cloud.admin.grpc.service import SERVICE, make_admin_server
from tests.helpers.admin_cloud import NAMESPACE, AdminCloud, open_cloud

pytestmark = pytest.mark.slow


class Grpc:
    """A cloud, a channel to its AdminService, and the owner's metadata."""

    def __init__(self, cloud: AdminCloud, channel: grpc.aio.Channel) -> None:
        self.cloud = cloud
        self.channel = channel
        self.stub = admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        self.owner = self.metadata(cloud.owner)

    def metadata(self, token: str) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {token}"),)


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[Grpc]:
    async with open_cloud(tmp_path) as cloud:
        server = make_admin_server(cloud.parts.admin)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Grpc(cloud, channel)
        await server.stop(None)


def code_of(error: grpc.aio.AioRpcError) -> str:
    metadata = dict(error.trailing_metadata() or ())
    return str(metadata.get("shoal-error-code", ""))


async def test_a_release_is_made_commanded_and_watched(admin: Grpc) -> None:
    task, version = await admin.cloud.publish()
    tasks = await admin.stub.ListTasks(
        wire.ListTasksRequest(namespace=NAMESPACE), metadata=admin.owner
    )
    assert [(row.name, row.latest_version) for row in tasks.tasks] == [(task, version)]
    request = wire.CreateReleaseRequest(
        namespace=NAMESPACE,
        task=task,
        version=version,
        stages=[wire.Stage(share_ppm=400_000), wire.Stage(share_ppm=1_000_000)],
        start=True,
        idempotency_key="once",
    )
    made = (await admin.stub.CreateRelease(request, metadata=admin.owner)).release
    again = (await admin.stub.CreateRelease(request, metadata=admin.owner)).release
    assert made == again
    assert made.state == wire.RELEASE_STATE_RUNNING
    named = {"namespace": NAMESPACE, "release_id": made.id}
    watch = admin.stub.WatchRelease(wire.WatchReleaseRequest(**named), metadata=admin.owner)
    assert (await watch.read()).release == made
    paused = await admin.stub.CommandRelease(
        wire.CommandReleaseRequest(
            **named,
            command=wire.RELEASE_COMMAND_PAUSE,
            reason="look",
            if_revision=made.revision,
        ),
        metadata=admin.owner,
    )
    assert paused.release.state == wire.RELEASE_STATE_PAUSED
    assert (await watch.read()).release == paused.release
    watch.cancel()
    shown = await admin.stub.GetRelease(wire.GetReleaseRequest(**named), metadata=admin.owner)
    listed = await admin.stub.ListReleases(
        wire.ListReleasesRequest(namespace=NAMESPACE), metadata=admin.owner
    )
    assert shown.release == paused.release == listed.releases[0]


async def test_devices_and_kill_switches(admin: Grpc) -> None:
    await admin.cloud.publish()
    devices = await admin.stub.ListDevices(
        wire.ListDevicesRequest(namespace=NAMESPACE), metadata=admin.owner
    )
    assert list(devices.devices) == []
    request = wire.SetKillSwitchRequest(namespace=NAMESPACE, task="hello", killed=True)
    killed = await admin.stub.SetKillSwitch(request, metadata=admin.owner)
    assert killed.epoch > 0
    assert (await admin.cloud.get("/overview")).json()["kill"]["tasks"] == ["hello"]


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (wire.ListTasksRequest(namespace="Nonsense"), "INVALID_ARGUMENT", "NAME_INVALID"),
        (wire.ListTasksRequest(namespace=NAMESPACE, page_size=501), "INVALID_ARGUMENT", "ARGUMENT_INVALID"),
        (wire.ListTasksRequest(namespace=NAMESPACE, page_token="x"), "INVALID_ARGUMENT", "PAGE_TOKEN_INVALID"),
    ],
)  # fmt: skip
async def test_bad_requests_have_a_status_and_a_code(
    admin: Grpc, request_: wire.ListTasksRequest, status: str, code: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await admin.stub.ListTasks(request_, metadata=admin.owner)
    assert (caught.value.code().name, code_of(caught.value)) == (status, code)


async def test_an_unset_command_is_refused(admin: Grpc) -> None:
    request = wire.CommandReleaseRequest(namespace=NAMESPACE, release_id="r" + "0" * 26)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await admin.stub.CommandRelease(request, metadata=admin.owner)
    assert code_of(caught.value) == "ARGUMENT_INVALID"


async def test_tokens_and_scopes_hold_here_too(admin: Grpc) -> None:
    request = wire.ListTasksRequest(namespace=NAMESPACE)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await admin.stub.ListTasks(request)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    reader = admin.metadata(await admin.cloud.token(["device:read"]))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await admin.stub.ListTasks(request, metadata=reader)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert code_of(caught.value) == "SCOPE_MISSING"


async def test_health_and_reflection_need_no_token(admin: Grpc) -> None:
    health = health_pb2_grpc.HealthStub(admin.channel)
    answer = await health.Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    stub = reflection_pb2_grpc.ServerReflectionStub(admin.channel)
    call = stub.ServerReflectionInfo(
        iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    )
    async for found in call:
        assert SERVICE in {one.name for one in found.list_services_response.service}
