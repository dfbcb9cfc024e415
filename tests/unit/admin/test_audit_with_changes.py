"""Every route that changes something writes its audit row in the transaction of the change: all of it, or none."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import structlog

from cloud.store.tables import audit_log, devices, metadata
from tests.helpers.admin_cloud import NAMESPACE, AdminCloud, bundle, open_cloud
from tests.helpers.schema_values import Schema

pytestmark = pytest.mark.slow
DEVICE = "0" * 32
NO_AUDIT = (
    "CREATE TRIGGER no_audit BEFORE INSERT ON audit_log BEGIN SELECT RAISE(ABORT, 'disk full'); END"
)
# Route, body, and the action that the log shows.
CHANGES: list[tuple[str, str, dict[str, Any] | None, str]] = [
    ("POST", "/tasks:prepare", {"files": {}}, "task.prepare"),
    ("POST", "/tasks/{task}/versions/{version}:publish", {"roles": {}}, "task.publish"),
    ("POST", "/releases", {"task": "hello", "version": 1, "start": True}, "release.create"),
    ("POST", "/releases/{release_id}:command", {"command": "pause", "reason": "x"}, "release.pause"),
    ("POST", "/kill-switches", {"task": "hello", "killed": True, "reason": "x"}, "kill.set"),
    ("POST", "/enrolment-tokens", {"count": 1}, "device.token.create"),
    ("POST", "/tokens", {"actor": "x", "scopes": ["task:read"]}, "token.create"),
    ("POST", "/tokens/{token_id}:revoke", {}, "token.revoke"),
    ("POST", "/devices/{device_id}:revoke", {"reason": "x"}, "device.revoke"),
    ("DELETE", "/devices/{device_id}", None, "device.forget"),
]  # fmt: skip


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[AdminCloud]:
    async with open_cloud(tmp_path) as opened:
        yield opened


def changing(schema: Schema) -> set[tuple[str, str]]:
    """Routes of a namespace that change something."""
    return {
        (method.upper(), path.partition("{project}")[2])
        for path, methods in schema["paths"].items()
        for method in methods
        if method != "get" and "{project}" in path
    }


async def everything(cloud: AdminCloud) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables."""
    async with cloud.parts.database.read() as connection:
        return {
            table.name: sorted(map(tuple, await connection.execute(sa.select(table))), key=repr)
            for table in metadata.sorted_tables
        }


async def ready(cloud: AdminCloud) -> tuple[dict[str, str], dict[str, Any]]:
    """One of each thing to change, and the bodies that only a publisher can write."""
    task, version = await cloud.publish()
    release = (
        await cloud.post("/releases", {"task": task, "version": version, "start": True})
    ).json()
    token = (await cloud.post("/tokens", {"actor": "x", "scopes": ["task:read"]})).json()
    files = AdminCloud.encode(bundle(text="second"))
    prepared = (await cloud.post("/tasks:prepare", {"files": files})).json()
    row = {
        "namespace": NAMESPACE, "device_id": DEVICE, "public_key": b"", "certificate_serial": "1",
        "certificate_expires_at_ms": 1, "enrolled_at_ms": 1, "attributes": {}, "facts": {}, "installed": {}, "epoch": 0,
    }  # fmt: skip
    async with cloud.parts.database.begin() as connection:
        await connection.execute(sa.insert(devices).values(row))
    names = {
        "task": task,
        "version": str(prepared["version"]),
        "release_id": release["id"],
        "token_id": token["view"]["id"],
        "device_id": DEVICE,
    }
    third = AdminCloud.encode(bundle(text="third"))
    return names, {
        "task.prepare": {"files": third},
        "task.publish": {"roles": cloud.sign(prepared)},
    }


async def test_no_route_is_missing(cloud: AdminCloud) -> None:
    assert {(method, path) for method, path, _, _ in CHANGES} == changing(cloud.app.openapi())


async def test_without_its_audit_row_no_change_is_made_and_with_it_both_are(
    cloud: AdminCloud,
) -> None:
    names, bodies = await ready(cloud)
    for method, path, body, action in CHANGES:
        for name, value in names.items():
            path = path.replace("{" + name + "}", value)
        more: dict[str, Any] = {"json": bodies.get(action, body)} if body is not None else {}
        async with cloud.parts.database.begin() as connection:
            await connection.exec_driver_sql(NO_AUDIT)
        before = await everything(cloud)
        with structlog.testing.capture_logs():
            answer = await cloud.call(method, path, **more)
        assert answer.status_code >= 500, (action, answer.text)
        assert "disk full" not in answer.text
        assert await everything(cloud) == before, action
        async with cloud.parts.database.begin() as connection:
            await connection.exec_driver_sql("DROP TRIGGER no_audit")
        answer = await cloud.call(method, path, **more)
        assert answer.status_code < 300, (action, answer.text)
        async with cloud.parts.database.read() as connection:
            newest = await connection.execute(
                sa.select(audit_log.c.action, audit_log.c.actor).order_by(audit_log.c.id)
            )
            rows = [tuple(row) for row in newest][len(before["audit_log"]) :]
        assert (action, "owner") in rows, action
