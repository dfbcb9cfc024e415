"""The REST face against its own OpenAPI: whatever is sent, the answer is one that the schema promises."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.admin.error_catalogue import every_error
from tests.helpers.admin_cloud import AdminCloud, open_cloud
from tests.helpers.schema_values import HOSTILE, Schema, values

pytestmark = pytest.mark.slow
EXAMPLES = 150
NAMES = {
    "app": "demo",
    "project": "app",
    "task": "hello",
    "version": "1",
    "role": "targets",
    "kind": "online",
}
# Of HTTP itself, not of the catalogue.
OF_HTTP = {"METHOD_NOT_ALLOWED"}
type Call = tuple[str, str, dict[str, Any]]


def operations(schema: Schema) -> list[tuple[str, str, Schema]]:
    """Every operation but the endless one and those without a token."""
    return [
        (method, path, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
        if path.startswith("/api") and not path.endswith("{project}/events")
    ]


@st.composite
def calls(draw: st.DrawFn, schema: Schema, known: Mapping[str, str]) -> Call:
    """A request to some operation: path, query, headers and body from the schema, each now and then hostile."""
    method, path, operation = draw(st.sampled_from(operations(schema)))
    more: dict[str, Any] = {"params": {}, "headers": {}}
    for parameter in operation.get("parameters", ()):
        name, place = parameter["name"], parameter["in"]
        if place == "path":
            good = st.just(known[name])
            odd = st.sampled_from([str(one) for one in HOSTILE if one != "../.."])
            part = draw(good if name in ("app", "project") else st.one_of(good, good, good, odd))
            path = path.replace("{" + name + "}", quote(part.encode(errors="replace"), safe=""))
        elif place == "query" and (parameter.get("required") or draw(st.booleans())):
            text = str(draw(values(schema, parameter["schema"])))
            more["params"][name] = text.encode(errors="replace").decode()
        elif place == "header" and draw(st.booleans()):
            more["headers"][name] = draw(st.sampled_from(['"1"', "", "é".encode(), "x" * 129, "k"]))
    if "requestBody" in operation:
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        more["content"] = json.dumps(draw(values(schema, body)))
        more["headers"]["Content-Type"] = "application/json"
    return method.upper(), path, more


def check(answer: httpx.Response, asked: Call, codes: frozenset[str]) -> None:
    """An answer is a success, or a failure in the one form with a code of the catalogue."""
    assert answer.status_code < 500, (asked, answer.text)
    assert answer.headers["shoal-request-id"]
    if answer.status_code < 300 or answer.status_code == 307:
        return  # 307: the same path without the slash that an empty name left at its end
    assert answer.status_code in (400, 401, 403, 404, 405, 409, 412, 413, 429), (asked, answer.text)
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "hint"}
    assert error["code"] in codes, asked
    assert error["message"], asked
    assert error["hint"], asked


async def test_whatever_is_sent_the_answer_is_one_that_is_promised(
    tmp_path: Path, database_url: str
) -> None:
    loop, codes = asyncio.get_running_loop(), frozenset(every_error()) | OF_HTTP
    async with open_cloud(tmp_path, database_url) as cloud:
        known = await past(cloud)
        schema = cloud.app.openapi()

        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
        @given(calls(schema, known))
        def holds(asked: Call) -> None:
            method, path, more = asked
            sent = cloud.call(method, path, **more)
            answer = asyncio.run_coroutine_threadsafe(sent, loop).result()
            check(answer, asked, codes)

        with structlog.testing.capture_logs():
            await asyncio.to_thread(holds)
        assert (await cloud.get("/audit:verify")).json()["intact"]


HALF = "\ud800"  # of a surrogate pair: JSON can say it, UTF-8 cannot


@pytest.mark.parametrize(
    "body",
    [
        {"roles": {HALF: "{}"}},
        {"roles": {"targets": HALF}},
        {"root": HALF, "roles": {"targets": "{}"}},
        {"roles": {"targets": "{}"}, "director_keys": HALF},
        {"namespace": "new/app", "roles": {"targets": HALF}},
        {"namespace": "new/app", "roles": {HALF: "{}"}},
        {"namespace": HALF, "roles": {"targets": "{}"}},
        {"actor": "x", "scopes": [HALF]},
    ],
)
async def test_text_that_no_file_can_hold_is_the_callers_mistake(
    tmp_path: Path, database_url: str, body: dict[str, object]
) -> None:
    codes = frozenset(every_error()) | OF_HTTP
    path = "/api/v1/namespaces" if "namespace" in body else "/api/v1/trust"
    path = "/api/v1/namespaces/demo/app/tokens" if "scopes" in body else path
    sent: dict[str, Any] = {
        "content": json.dumps(body),
        "headers": {"Content-Type": "application/json"},
    }
    async with open_cloud(tmp_path, database_url) as cloud:
        answer = await cloud.call("POST", path, **sent)
    check(answer, ("POST", path, sent), codes)
    assert answer.status_code in (400, 403), answer.text


async def past(cloud: AdminCloud) -> dict[str, str]:
    """Something of each kind, so that requests get further than "not found"; gives the path's names."""
    task, version = await cloud.publish()
    release = await cloud.post("/releases", {"task": task, "version": version, "start": True})
    token = await cloud.post("/tokens", {"actor": "x", "scopes": ["task:read"]})
    return {
        **NAMES,
        "release_id": release.json()["id"],
        "device_id": "0" * 32,
        "token_id": token.json()["view"]["id"],
    }
