"""What is asked of a namespace that is not there is an error, never an empty answer."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.helpers.admin_cloud import NAMESPACE, AdminCloud, open_cloud
from tests.helpers.schema_values import Schema

NOWHERE = "/api/v1/namespaces/demo/nowhere"
# Bodies of routes that make something without a thing to begin with.
MAKES: dict[str, dict[str, Any]] = {
    "/tasks:prepare": {"files": {}},
    "/releases": {"task": "hello", "version": 1},
    "/kill-switches": {"task": "", "killed": True, "reason": "x"},
    "/enrolment-tokens": {"count": 1},
    "/tokens": {"actor": "x", "scopes": ["task:read"]},
}


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[AdminCloud]:
    async with open_cloud(tmp_path) as opened:
        yield opened


def plain_routes(schema: Schema, method: str) -> list[str]:
    """Routes of a namespace that name nothing else; streams are read by tests of their own."""
    found = [
        path.partition("{project}")[2]
        for path, methods in schema["paths"].items()
        if "{project}" in path and path.count("{") == 2 and method in methods
    ]
    return sorted(path for path in found if not path.endswith("/events"))


async def test_every_list_names_the_namespace_and_what_to_do(cloud: AdminCloud) -> None:
    routes = plain_routes(cloud.app.openapi(), "get")
    assert {"/devices", "/tasks", "/releases", "/overview", "/tokens", "/audit"} <= {*routes}
    for route in routes:
        answer = await cloud.get(NOWHERE + route)
        assert answer.status_code == 404, (route, answer.text)
        told = answer.json()["error"]
        assert told["code"] == "NAMESPACE_UNKNOWN", route
        assert "demo/nowhere" in told["message"]
        assert "shoal namespace list" in told["message"]


async def test_nothing_is_made_in_it(cloud: AdminCloud) -> None:
    assert {*plain_routes(cloud.app.openapi(), "post")} == {*MAKES}
    for route, body in MAKES.items():
        with structlog.testing.capture_logs():
            answer = await cloud.call("POST", NOWHERE + route, json=body)
        assert answer.status_code in (400, 404, 409), (route, answer.text)
        assert answer.json()["error"]["code"] != "INTERNAL", route


async def test_an_empty_page_of_a_namespace_that_is_there_is_empty(cloud: AdminCloud) -> None:
    for route in ("/devices", "/tasks", "/releases", "/kill-switches", "/enrolment-tokens"):
        answer = await cloud.get(route)
        assert (answer.status_code, answer.json()["items"]) == (200, []), (NAMESPACE, route)
