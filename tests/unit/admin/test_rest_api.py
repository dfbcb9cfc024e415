"""The REST face over a whole cloud in this process: what operators do, and what they get wrong."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute

from cloud.admin.caller import Scope
from cloud.admin.rest.routes import access, devices, events, releases, tasks
from cloud.admin.rest.routes.scoped import SCOPE_KEY
from device_agent.tasks.names import new_release_id
from tests.helpers.admin_cloud import BASE, AdminCloud, bundle, open_cloud

pytestmark = pytest.mark.slow
DEVICE, RELEASE = "0" * 32, new_release_id(1, bytes(10))
NEW = {"task": "hello", "version": 1}
FILLED = {
    "{app}": "demo",
    "{project}": "app",
    "{task}": "hello",
    "{version}": "1",
    "{release_id}": RELEASE,
    "{device_id}": DEVICE,
    "{token_id}": "0" * 16,
}
BODIES: dict[str, dict[str, Any]] = {
    "/tasks:prepare": {"files": {"task.toml": ""}},
    ":publish": {"roles": {"demo.app": "{}"}},
    "/releases": {"task": "hello", "version": 1},
    ":command": {"command": "pause"},
    ":revoke": {"reason": ""},
    "/enrolment-tokens": {},
    "/kill-switches": {"killed": True, "task": "hello"},
    "/tokens": {"actor": "x", "scopes": ["task:read"]},
}
# A token needs these too, besides the scope that the route names.
ALSO = {"/overview": ["release:read"], "/events": ["release:read"]}


@pytest.fixture
async def cloud(tmp_path: Path, database_url: str) -> AsyncIterator[AdminCloud]:
    async with open_cloud(tmp_path, database_url) as opened:
        yield opened


def routes() -> list[tuple[str, str, str]]:
    """Method, path and scope of every route that needs a token."""
    found = []
    routers = (
        access.global_router,
        *(one.router for one in (access, tasks, releases, devices, events)),
    )
    for router in routers:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            scope = (route.openapi_extra or {})[SCOPE_KEY]
            found += [(method, route.path, scope) for method in route.methods or ()]
    return sorted(found)


def fill(path: str) -> str:
    for name, value in FILLED.items():
        path = path.replace(name, value)
    return path


def request_of(method: str, path: str) -> dict[str, Any]:
    if method != "POST":
        query = {"task": "hello", "from": "1", "to": "2"}
        return {"params": query} if path.endswith(("/why", "/diff")) else {}
    return {"json": next((body for end, body in BODIES.items() if path.endswith(end)), {})}


async def test_no_route_answers_without_a_token(cloud: AdminCloud) -> None:
    for method, path, _ in routes():
        answer = await cloud.call(method, fill(path), token="", **request_of(method, path))
        assert answer.status_code == 401, (method, path)
        assert answer.json()["error"]["code"] == "UNAUTHENTICATED"


async def test_every_route_wants_the_scope_that_it_names(cloud: AdminCloud) -> None:
    everything = [scope.value for scope in Scope if scope is not Scope.ALL]
    for method, path, scope in routes():
        if not scope:
            continue
        others = await cloud.token([name for name in everything if name != scope])
        answer = await cloud.call(method, fill(path), token=others, **request_of(method, path))
        assert answer.status_code == 403, (method, path, answer.text)
        assert scope in answer.json()["error"]["message"]


async def test_the_scope_that_a_route_names_is_enough(cloud: AdminCloud) -> None:
    for method, path, scope in routes():
        if path.endswith("/events") and path.count("/") == 6:
            continue  # it never ends; test_streams has it
        also = next((more for end, more in ALSO.items() if path.endswith(end)), [])
        token = await cloud.token([scope or "task:read", "task:read", *also])
        answer = await cloud.call(method, fill(path), token=token, **request_of(method, path))
        assert answer.status_code not in (401, 403, 500), (method, path, answer.text)


async def test_a_token_of_another_namespace_gets_nothing(cloud: AdminCloud) -> None:
    token = await cloud.token(["task:read", "device:read"], namespace="other/app")
    answer = await cloud.get("/tasks", token=token)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "NAMESPACE_FORBIDDEN")
    namespaces = await cloud.get("/api/v1/namespaces", token=token)
    assert [row["namespace"] for row in namespaces.json()["items"]] == ["other/app"]


async def test_a_task_is_published_and_released(cloud: AdminCloud) -> None:
    task, version = await cloud.publish()
    assert (task, version) == ("hello", 1)
    assert await cloud.publish() == (task, version), "the same content is no new version"
    made = await cloud.post(
        "/releases",
        {
            "task": task,
            "version": version,
            "stages": [{"share_ppm": 400_000}, {"share_ppm": 1_000_000}],
            "start": True,
        },
        headers={"Idempotency-Key": "once"},
    )
    assert made.status_code == 201, made.text
    release = made.json()
    assert (release["state"], release["stage_index"]) == ("running", 0)
    assert made.headers["etag"] == f'"{release["revision"]}"'
    shown = (await cloud.get(f"/releases/{release['id']}")).json()
    assert shown == release
    overview = (await cloud.get("/overview")).json()
    assert [row["id"] for row in overview["releases"]] == [release["id"]]


async def test_a_release_carries_the_trace_of_whoever_made_it(cloud: AdminCloud) -> None:
    task, version = await cloud.publish()
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
    made = await cloud.post("/releases", {"task": task, "version": version}, headers=headers)
    assert made.json()["traceparent"].split("-")[1] == trace_id
    unnamed = await cloud.post("/releases", {"task": task, "version": version})
    assert unnamed.json()["traceparent"].split("-")[1] not in ("", trace_id, "0" * 32)
    broken = {"traceparent": "00-zz-1-01"}
    third = await cloud.post("/releases", {"task": task, "version": version}, headers=broken)
    assert third.status_code == 201


async def test_an_idempotency_key_gives_the_same_release(cloud: AdminCloud) -> None:
    task, version = await cloud.publish()
    body, key = {"task": task, "version": version}, {"headers": {"Idempotency-Key": "k1"}}
    first = await cloud.post("/releases", body, **key)
    assert (await cloud.post("/releases", body, **key)).json()["id"] == first.json()["id"]
    other = await cloud.post("/releases", {**body, "start": True}, **key)
    assert other.json()["error"]["code"] == "IDEMPOTENCY_KEY_REUSED"


async def test_a_stale_revision_is_refused(cloud: AdminCloud) -> None:
    task, version = await cloud.publish()
    body = {"task": task, "version": version, "start": True}
    release = (await cloud.post("/releases", body)).json()
    path = f"/releases/{release['id']}:command"
    seen = {"headers": {"If-Match": f'"{release["revision"]}"'}}
    paused = await cloud.post(path, {"command": "pause", "reason": "look"}, **seen)
    assert paused.json()["state"] == "paused"
    late = await cloud.post(path, {"command": "resume"}, **seen)
    assert (late.status_code, late.json()["error"]["code"]) == (412, "REVISION_CONFLICT")
    wrong = await cloud.post(path, {"command": "pause"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (409, "COMMAND_NOT_ALLOWED")
    history = (await cloud.get(f"/releases/{release['id']}/events")).json()["items"]
    assert [row["event"]["type"] for row in history] == ["created", "command", "command"]
    assert all(row["message"] for row in history)


async def test_versions_are_shown_listed_and_compared(cloud: AdminCloud) -> None:
    await cloud.publish(bundle(text="one"))
    await cloud.publish(bundle(text="two"))
    listed = (await cloud.get("/tasks")).json()["items"]
    assert [(row["name"], row["latest_version"]) for row in listed] == [("hello", 2)]
    first_page = (await cloud.get("/tasks/hello/versions?page_size=1")).json()
    assert [row["version"] for row in first_page["items"]] == [2]
    token = first_page["next_page_token"]
    second = (await cloud.get(f"/tasks/hello/versions?page_size=1&page_token={token}")).json()
    assert [row["version"] for row in second["items"]] == [1]
    shown = (await cloud.get("/tasks/hello/versions/2")).json()
    assert {row["path"] for row in shown["files"]} == {"manifest.json", "code.bin", "main.py"}
    differs = (await cloud.get("/tasks/hello/diff?from=1&to=2")).json()
    assert [(row["path"], row["change"]) for row in differs["files"]] == [("main.py", "changed")]
    assert '+    emit("answer", b"two")' in differs["text"]


async def test_enrolment_codes_are_made_and_listed_without_their_secret(cloud: AdminCloud) -> None:
    made = await cloud.post("/enrolment-tokens", {"attributes": {"ring": "a"}, "count": 2})
    codes = [row["code"] for row in made.json()["items"]]
    assert len(set(codes)) == 2
    listed = await cloud.get("/enrolment-tokens")
    assert len(listed.json()["items"]) == 2
    assert not any(code in listed.text for code in codes)


async def test_a_kill_switch_is_set_seen_and_cleared(cloud: AdminCloud) -> None:
    await cloud.publish()
    set_at = await cloud.post("/kill-switches", {"task": "hello", "killed": True, "reason": "hot"})
    overview = (await cloud.get("/overview")).json()
    assert overview["kill"] == {"all": False, "tasks": ["hello"]}
    assert [row["reason"] for row in (await cloud.get("/kill-switches")).json()["items"]] == ["hot"]
    cleared = await cloud.post("/kill-switches", {"task": "hello", "killed": False})
    assert cleared.json()["epoch"] > set_at.json()["epoch"]
    assert (await cloud.get("/kill-switches")).json()["items"] == []


async def test_every_change_is_in_the_audit_log(cloud: AdminCloud) -> None:
    task, version = await cloud.publish()
    await cloud.post("/releases", {"task": task, "version": version, "start": True})
    rows = (await cloud.get("/audit?page_size=500")).json()["items"]
    actions = {row["action"] for row in rows}
    assert {"task.prepare", "task.publish", "namespace.create"} <= actions
    assert any(action.startswith("release.") for action in actions)
    report = (await cloud.get("/audit:verify")).json()
    assert (report["intact"], report["rows"], report["head"]) == (
        True,
        len(rows),
        rows[0]["row_hash"],
    )


BAD_REQUESTS = [
    ("POST", "/releases", {"task": "hello"}, 400, "ARGUMENT_INVALID", "version"),
    ("POST", "/releases", {"task": "hello", "version": 0}, 400, "ARGUMENT_INVALID", "version"),
    ("POST", "/releases", {"task": "Hello", "version": 1}, 400, "NAME_INVALID", "Hello"),
    ("POST", "/releases", {"task": "hello", "version": 9}, 409, "VERSION_NOT_PUBLISHED", "9"),
    ("POST", "/releases", {**NEW, "stage": []}, 400, "ARGUMENT_INVALID", "stage"),
    ("POST", "/releases", {**NEW, "stages": [{"share_ppm": 5}, {"share_ppm": 5}]}, 400, "RELEASE_INVALID", "stage 2"),
    ("POST", "/releases", {**NEW, "stages": [{"share_ppm": 2_000_000}]}, 400, "ARGUMENT_INVALID", "share_ppm"),
    ("POST", "/releases", {**NEW, "targeting": {"attributes": {"a": 1}}}, 400, "ARGUMENT_INVALID", "attributes"),
    ("POST", f"/releases/{RELEASE}:command", {"command": "pause"}, 404, "RELEASE_NOT_FOUND", RELEASE),
    ("POST", f"/releases/{RELEASE}:command", {"command": "explode"}, 400, "ARGUMENT_INVALID", "roll_back"),
    ("POST", "/releases/x:command", {"command": "pause"}, 400, "NAME_INVALID", "x"),
    ("GET", "/releases/nonsense", None, 400, "NAME_INVALID", "nonsense"),
    ("GET", "/tasks?page_size=501", None, 400, "ARGUMENT_INVALID", "500"),
    ("GET", "/tasks?page_size=x", None, 400, "ARGUMENT_INVALID", "page_size"),
    ("GET", "/tasks?page_token=x", None, 400, "PAGE_TOKEN_INVALID", "without one"),
    ("GET", "/tasks/hello/versions/0", None, 400, "ARGUMENT_INVALID", "version"),
    ("GET", "/tasks/nobody/versions", None, 404, "TASK_UNKNOWN", "nobody"),
    ("GET", "/tasks/hello/versions/77", None, 404, "VERSION_UNKNOWN", "77"),
    ("GET", f"/devices/{DEVICE}", None, 404, "NOT_FOUND", DEVICE),
    ("GET", "/devices/x", None, 400, "NAME_INVALID", "x"),
    ("DELETE", f"/devices/{DEVICE}", None, 404, "NOT_FOUND", DEVICE),
    ("POST", "/enrolment-tokens", {"count": 1001}, 400, "ARGUMENT_INVALID", "1000"),
    ("POST", "/enrolment-tokens", {"valid_for_s": 0}, 400, "ARGUMENT_INVALID", "valid_for_s"),
    ("POST", "/tokens", {"actor": "x", "scopes": ["task:eat"]}, 400, "ARGUMENT_INVALID", "task:eat"),
    ("POST", "/tokens", {"actor": "", "scopes": ["*"]}, 400, "ARGUMENT_INVALID", "actor"),
    ("POST", "/tasks:prepare", {"files": {"task.toml": "%"}}, 400, "ARGUMENT_INVALID", "base64"),
    ("POST", "/tasks:prepare", {"files": {"task.toml": ""}}, 400, "MANIFEST_INVALID", "task"),
    ("POST", "/tasks:prepare", {"files": {}}, 400, "ARGUMENT_INVALID", "files"),
    ("POST", "/kill-switches", {"killed": "yes", "task": "hello"}, 400, "ARGUMENT_INVALID", "killed"),
    ("POST", "/kill-switches", {"killed": True, "reason": "x" * 1025}, 400, "ARGUMENT_INVALID", "reason"),
]  # fmt: skip


async def test_bad_requests_say_what_is_wrong_and_write_nothing(cloud: AdminCloud) -> None:
    await cloud.publish()
    before = (await cloud.get("/audit:verify")).json()
    for method, path, body, status, code, said in BAD_REQUESTS:
        more: dict[str, Any] = {} if body is None else {"json": body}
        answer = await cloud.call(method, path, **more)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (status, code), (method, path, answer.text)
        assert str(said) in error["message"], (method, path, error)
        assert error["hint"]
    assert (await cloud.get("/audit:verify")).json() == before


async def test_a_bad_namespace_or_revision_is_told(cloud: AdminCloud) -> None:
    answer = await cloud.get("/api/v1/namespaces/Demo/app/tasks")
    assert answer.json()["error"]["code"] == "NAME_INVALID"
    path = f"/releases/{RELEASE}:command"
    answer = await cloud.post(path, {"command": "pause"}, headers={"If-Match": "soon"})
    assert "If-Match" in answer.json()["error"]["message"]


async def test_the_stream_begins_with_all_there_is(cloud: AdminCloud) -> None:
    task, version = await cloud.publish()
    body = {"task": task, "version": version, "start": True}
    release = (await cloud.post("/releases", body)).json()
    cloud.app.state.streams.close()  # httpx reads a whole body: the stream must end by itself
    answer = await cloud.get("/events")
    assert answer.status_code == 503
    assert release["id"]


async def test_openapi_says_what_each_route_needs(cloud: AdminCloud) -> None:
    schema = (await cloud.get("/openapi.json", token="")).json()
    assert schema["openapi"].startswith("3.1")
    for method, path, scope in routes():
        operation = schema["paths"][path][method.lower()]
        assert operation[SCOPE_KEY] == scope
        assert operation["security"] == [{"bearer": []}]
        assert operation["summary"]
        assert "422" not in operation["responses"]
        assert "#/components/schemas/Failure" in json.dumps(operation["responses"]["400"])
    assert f"{BASE}" not in json.dumps(schema)
