"""REST and gRPC give the same error for the same fault; whatever comes, gRPC names an error of the catalogue."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shoal.admin.v1 import admin_pb2 as wire
from shoal.admin.v1 import admin_pb2_grpc

from cloud.admin.error_catalogue import every_error
from cloud.admin.grpc.service import make_admin_server
from cloud.admin.rest.problems import HTTP_STATUS, HTTP_STATUS_OF_CODE
from device_agent.tasks.names import new_release_id
from tests.helpers.admin_cloud import NAMESPACE, AdminCloud, open_cloud

pytestmark = pytest.mark.slow
NOBODY = new_release_id(1, bytes(10))
HERE = {"namespace": NAMESPACE}
NEW = {"task": "hello", "version": 1}
MANY = {f"a{n}": "b" for n in range(33)}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One mistake, in both faces."""

    code: str
    rest: tuple[str, str, dict[str, Any] | None]
    rpc: tuple[str, dict[str, Any]]
    headers: dict[str, str] | None = None
    token: str | None = None


def listed(code: str, query: str, **more: Any) -> Fault:
    return Fault(code=code, rest=("GET", f"/tasks?{query}", None), rpc=("ListTasks", HERE | more))


def made(code: str, headers: dict[str, str] | None = None, **more: Any) -> Fault:
    body = NEW | more
    key = {"idempotency_key": headers["Idempotency-Key"]} if headers else {}
    return Fault(
        code=code,
        rest=("POST", "/releases", body),
        rpc=("CreateRelease", HERE | body | key),
        headers=headers,
    )


def told(code: str, release: str, command: str, **more: Any) -> Fault:
    """A command; `if_revision` is a header in REST."""
    revision = more.pop("if_revision", 0)
    number = wire.ReleaseCommand.Value(f"RELEASE_COMMAND_{command.upper()}")
    rpc = HERE | {"release_id": release, "command": number, "if_revision": revision} | more
    return Fault(
        code=code,
        rest=("POST", f"/releases/{release}:command", {"command": command} | more),
        rpc=("CommandRelease", rpc),
        headers={"If-Match": f'"{revision}"'} if revision else None,
    )


def stopped(code: str, **more: Any) -> Fault:
    body = {"killed": True, **more}
    return Fault(
        code=code, rest=("POST", "/kill-switches", body), rpc=("SetKillSwitch", HERE | body)
    )


def faults(release: str, reader: str, stranger: str) -> list[Fault]:
    bad_place = ("GET", "/api/v1/namespaces/Demo/app/tasks", None)
    ring = [{"share_ppm": 2_000_000}]
    return [
        Fault(code="NAME_INVALID", rest=bad_place, rpc=("ListTasks", {"namespace": "Demo/app"})),
        Fault(
            code="UNAUTHENTICATED",
            rest=("GET", "/tasks", None),
            rpc=("ListTasks", HERE),
            token="shoal_x",
        ),
        Fault(
            code="SCOPE_MISSING",
            rest=("GET", "/tasks", None),
            rpc=("ListTasks", HERE),
            token=reader,
        ),
        Fault(
            code="NAMESPACE_FORBIDDEN",
            rest=("GET", "/tasks", None),
            rpc=("ListTasks", HERE),
            token=stranger,
        ),
        listed("ARGUMENT_INVALID", "page_size=501", page_size=501),
        listed("PAGE_TOKEN_INVALID", "page_token=x", page_token="x"),
        Fault(
            code="PAGE_TOKEN_INVALID",
            rest=("GET", "/releases?page_token=x", None),
            rpc=("ListReleases", HERE | {"page_token": "x"}),
        ),
        Fault(
            code="NAME_INVALID",
            rest=("GET", "/releases?task=Hello", None),
            rpc=("ListReleases", HERE | {"task": "Hello"}),
        ),
        Fault(
            code="NAME_INVALID",
            rest=("GET", "/releases/x", None),
            rpc=("GetRelease", HERE | {"release_id": "x"}),
        ),
        Fault(
            code="RELEASE_NOT_FOUND",
            rest=("GET", f"/releases/{NOBODY}", None),
            rpc=("GetRelease", HERE | {"release_id": NOBODY}),
        ),
        made("NAME_INVALID", task="Hello"),
        made("ARGUMENT_INVALID", version=0),
        made("ARGUMENT_INVALID", version=2**32 - 1),
        made("ARGUMENT_INVALID", rollback_version=2**32 - 1),
        made("ARGUMENT_INVALID", stages=ring),
        made("VERSION_NOT_PUBLISHED", version=9),
        made("RELEASE_INVALID", stages=[{"share_ppm": 5}, {"share_ppm": 5}]),
        made("RELEASE_INVALID", stages=[{"share_ppm": n + 1} for n in range(101)]),
        made("TARGETING_INVALID", targeting={"attributes": MANY}),
        made("TARGETING_INVALID", targeting={"attributes": {"a" * 65: "b"}}),
        made("ARGUMENT_INVALID", targeting={"attributes": {"a": "\0"}}),
        made("ARGUMENT_INVALID", {"Idempotency-Key": "x" * 129}),
        told("COMMAND_NOT_ALLOWED", release, "resume"),
        told("REVISION_CONFLICT", release, "pause", if_revision=77),
        told("ARGUMENT_INVALID", release, "pause", reason="x" * 1025),
        told("ARGUMENT_INVALID", release, "pause", reason="\0"),
        told("VERSION_NOT_PUBLISHED", release, "roll_back", rollback_version=9),
        told("ARGUMENT_INVALID", release, "roll_back", rollback_version=2**32 - 1),
        told("RELEASE_NOT_FOUND", NOBODY, "pause"),
        stopped("NAME_INVALID", task="Hello"),
        stopped("KILL_TARGET_UNKNOWN", task="nobody"),
        stopped("ARGUMENT_INVALID", task="hello", reason="x" * 1025),
    ]


class Faces:
    """A cloud, called both ways."""

    def __init__(self, cloud: AdminCloud, channel: grpc.aio.Channel) -> None:
        self.cloud = cloud
        self.stub = admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]  # generated

    async def rpc(self, name: str, request: Message, token: str) -> grpc.aio.AioRpcError | None:
        """Calls; gives the failure, if it is one."""
        call = getattr(self.stub, name)(
            request, metadata=(("authorization", f"Bearer {token}"),), timeout=10
        )
        try:
            if name == "WatchRelease":
                async for _ in call:
                    call.cancel()
                    return None
            else:
                await call
        except grpc.aio.AioRpcError as error:
            return error
        return None


@pytest.fixture
async def faces(tmp_path: Path, database_url: str) -> AsyncIterator[Faces]:
    async with open_cloud(tmp_path, database_url) as cloud:
        server = make_admin_server(cloud.parts.admin)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Faces(cloud, channel)
        await server.stop(None)


def code_of(error: grpc.aio.AioRpcError) -> str:
    return str(dict(error.trailing_metadata() or ()).get("shoal-error-code", ""))


async def test_a_fault_has_one_error_in_both_faces(faces: Faces) -> None:
    cloud = faces.cloud
    await cloud.publish()
    release = (await cloud.post("/releases", NEW | {"start": True})).json()["id"]
    reader, stranger = (
        await cloud.token(["device:read"]),
        await cloud.token(["*"], namespace="other/app"),
    )
    before = (await cloud.get("/audit:verify")).json()
    for fault in faults(release, reader, stranger):
        method, path, body = fault.rest
        more: dict[str, Any] = {} if body is None else {"json": body}
        answer = await cloud.call(
            method, path, token=fault.token, headers=fault.headers or {}, **more
        )
        assert answer.json()["error"]["code"] == fault.code, (fault, answer.text)
        name, fields = fault.rpc
        request = getattr(wire, f"{name}Request")(**fields)
        error = await faces.rpc(name, request, fault.token or cloud.owner)
        assert error is not None, fault
        assert code_of(error) == fault.code, (fault, error.details())
        status = HTTP_STATUS_OF_CODE.get(fault.code, HTTP_STATUS[error.code().name])
        assert status == answer.status_code, fault
    assert (await cloud.get("/audit:verify")).json() == before


TEXTS = ["", "\0", "x" * 5_000, "é", "hello", NAMESPACE, "other/app", NOBODY, "../..", "a/b/c"]
NUMBERS = [0, 1, 2, 500, 501, 1_000_000, 2**31, 2**32 - 1]


def requests(name: str) -> st.SearchStrategy[Message]:
    """Requests of an rpc, with fields missing, empty, over-long and out of range; mostly of the right namespace."""
    kind: Callable[..., Message] = getattr(wire, f"{name}Request")
    descriptor = wire.DESCRIPTOR.message_types_by_name[f"{name}Request"]
    parts: dict[str, st.SearchStrategy[Any]] = {}
    for part in descriptor.fields[1:]:  # the first is the namespace
        parts[part.name] = values(part)
    here = st.sampled_from([NAMESPACE] * 6 + TEXTS)
    return st.fixed_dictionaries({"namespace": here}, optional=parts).map(
        lambda fields: kind(**fields)
    )


def values(part: FieldDescriptor) -> st.SearchStrategy[Any]:
    if part.message_type is None:
        return {
            FieldDescriptor.CPPTYPE_STRING: st.sampled_from(TEXTS),
            FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
            FieldDescriptor.CPPTYPE_ENUM: st.integers(0, 9),
        }.get(part.cpp_type, st.sampled_from(NUMBERS))
    texts, numbers = st.sampled_from(TEXTS), st.sampled_from(NUMBERS)
    if part.message_type.name == "Targeting":
        return st.dictionaries(texts, texts, max_size=3).map(
            lambda found: wire.Targeting(attributes=found)
        )
    stage = st.builds(
        lambda share, at: wire.Stage(share_ppm=share, promote_at_ppm=at), numbers, numbers
    )
    return st.lists(stage, max_size=3)


async def test_whatever_an_rpc_is_sent_it_answers_or_names_an_error(faces: Faces) -> None:
    loop, codes = asyncio.get_running_loop(), every_error()
    names = [method.name for method in wire.DESCRIPTOR.services_by_name["AdminService"].methods]
    await faces.cloud.publish()

    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(names))
        request = data.draw(requests(name))
        asked = faces.rpc(name, request, faces.cloud.owner)
        error = asyncio.run_coroutine_threadsafe(asked, loop).result()
        if error is None:
            return
        assert error.code() not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN), (
            name,
            request,
        )
        assert code_of(error) in codes, (name, request, error)
        assert error.details()

    with structlog.testing.capture_logs():
        await asyncio.to_thread(holds)
