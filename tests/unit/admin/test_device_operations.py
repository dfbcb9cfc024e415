"""Devices as operators see them: status, why, revoking, forgetting, and the counts of the overview."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cloud.admin.operations.devices import status_of
from cloud.admin.settings import AdminSettings
from cloud.store.tables import devices, notices, release_devices, run_counts
from device_agent.clock import SystemClock
from tests.helpers.admin_cloud import NAMESPACE, AdminCloud, open_cloud

HOUR_MS = 3_600_000
FACTS = {
    "agent_version": "0.1.0",
    "guest_api": 1,
    "op_set": 1,
    "python_tag": "cpython-313-3571",
    "os": "linux",
}


@pytest.fixture
async def cloud(tmp_path: Path, database_url: str) -> AsyncIterator[AdminCloud]:
    async with open_cloud(tmp_path, database_url) as opened:
        yield opened


def device_id(number: int) -> str:
    return f"{number:032x}"


async def add_device(cloud: AdminCloud, number: int, **values: Any) -> str:
    now_ms = SystemClock().wall_ms()
    row = {
        "namespace": NAMESPACE,
        "device_id": device_id(number),
        "public_key": b"key",
        "certificate_serial": "1",
        "certificate_expires_at_ms": now_ms + HOUR_MS,
        "enrolled_at_ms": now_ms,
        "revoked_at_ms": None,
        "attributes": {"ring": "a"},
        "facts": FACTS,
        "installed": {},
        "epoch": 0,
        "last_seen_at_ms": now_ms,
        **values,
    }
    async with cloud.parts.database.begin() as conn:
        await conn.execute(sa.insert(devices).values(row))
    return device_id(number)


@pytest.mark.parametrize(
    ("age_ms", "revoked", "status"),
    [
        (0, None, "online"),
        (119_999, None, "online"),
        (120_000, None, "stale"),
        (HOUR_MS - 1, None, "stale"),
        (HOUR_MS, None, "offline"),
        (None, None, "offline"),
        (0, 1, "revoked"),
    ],
)
def test_status_follows_from_when_it_was_seen(
    age_ms: int | None, revoked: int | None, status: str
) -> None:
    now_ms = 10 * HOUR_MS
    seen = None if age_ms is None else now_ms - age_ms
    assert status_of(seen, revoked, now_ms, AdminSettings()) == status


@pytest.mark.slow
async def test_devices_are_listed_page_by_page_and_counted_once(cloud: AdminCloud) -> None:
    now_ms = SystemClock().wall_ms()
    seen = [now_ms, now_ms - 600_000, now_ms - 2 * HOUR_MS, None]
    for number, at_ms in enumerate(seen):
        await add_device(cloud, number, last_seen_at_ms=at_ms)
    await add_device(cloud, 4, revoked_at_ms=now_ms)
    page = (await cloud.get("/devices?page_size=3")).json()
    rest = (await cloud.get(f"/devices?page_size=3&page_token={page['next_page_token']}")).json()
    shown = [*page["items"], *rest["items"]]
    assert [row["id"] for row in shown] == [device_id(number) for number in range(5)]
    assert [row["status"] for row in shown] == ["online", "stale", "offline", "offline", "revoked"]
    counts = (await cloud.get("/overview")).json()["devices"]
    assert counts == {"total": 5, "online": 1, "stale": 1, "offline": 2, "revoked": 1}


@pytest.mark.slow
async def test_the_overview_counts_the_version_that_a_device_has_now(cloud: AdminCloud) -> None:
    task, version = await cloud.publish()
    body = {"task": task, "version": version, "start": True}
    older = (await cloud.post("/releases", body)).json()["id"]
    newer = (await cloud.post("/releases", body)).json()["id"]
    outcomes = [
        (older, 1, "installed", 1),
        (newer, 1, "installed", 2),
        (older, 2, "installed", 1),
        (newer, 2, "removed", 2),
        (newer, 3, "failed", 2),
    ]
    async with cloud.parts.database.begin() as conn:
        for release, number, outcome, at_ms in outcomes:
            row = {
                "namespace": NAMESPACE,
                "release_id": release,
                "device_id": device_id(number),
                "outcome": outcome,
                "error_code": "",
                "updated_at_ms": at_ms,
            }
            await conn.execute(sa.insert(release_devices).values(row))
        counted = {"namespace": NAMESPACE, "task": task, "version": 1, "outcome": "ok"}
        await conn.execute(sa.insert(run_counts).values(**counted, runs=7, wall_us=70))
    overview = (await cloud.get("/overview")).json()
    assert overview["versions"] == [{"task": task, "version": 1, "devices": 1}]
    assert overview["runs"] == [
        {"task": task, "version": 1, "outcome": "ok", "runs": 7, "wall_us": 70}
    ]
    shown = (await cloud.get(f"/releases/{newer}/devices")).json()["items"]
    assert [row["outcome"] for row in shown] == ["installed", "removed", "failed"]


@pytest.mark.slow
async def test_why_tells_what_decides_and_what_does_not(cloud: AdminCloud) -> None:
    task, version = await cloud.publish()
    here = await add_device(cloud, 1)
    there = await add_device(cloud, 2, attributes={"ring": "b"})
    targeting = {"attributes": {"ring": "a"}}
    body = {"task": task, "version": version, "start": True, "targeting": targeting}
    release = (await cloud.post("/releases", body)).json()["id"]
    await cloud.parts.gateway.follower.look()
    told = (await cloud.get(f"/devices/{here}/why?task={task}")).json()
    assert told["decision"] == "install hello version 1", told
    assert told["instruction"]["release_id"] == release
    assert [(row["included"], row["decides"]) for row in told["releases"]] == [(True, True)]
    other = (await cloud.get(f"/devices/{there}/why?task={task}")).json()
    assert (other["decision"], other["instruction"]) == (
        "the device is told nothing of this task",
        None,
    )
    assert "targeting" in other["releases"][0]["reason"]


@pytest.mark.slow
async def test_a_device_is_revoked_and_forgotten_with_a_reason(cloud: AdminCloud) -> None:
    device = await add_device(cloud, 1)
    revoked = await cloud.post(f"/devices/{device}:revoke", {"reason": "stolen"})
    assert revoked.json()["status"] == "revoked"
    gone = await cloud.call("DELETE", f"/devices/{device}", params={"reason": "scrapped"})
    assert gone.json()["device_id"] == device
    assert (await cloud.get(f"/devices/{device}")).status_code == 404
    rows = (await cloud.get("/audit")).json()["items"]
    told = {row["action"]: row["detail"].get("reason") for row in rows}
    assert (told["device.revoke"], told["device.forget"]) == ("stolen", "scrapped")


@pytest.mark.slow
async def test_notices_are_listed_newest_first_also_of_one_device(cloud: AdminCloud) -> None:
    async with cloud.parts.database.begin() as conn:
        for number, device in zip(range(4), itertools.cycle((1, 2)), strict=False):
            row = {
                "namespace": NAMESPACE,
                "device_id": device_id(device),
                "at_ms": number,
                "code": "CLOCK_MENDED",
                "message": "",
            }
            await conn.execute(sa.insert(notices).values(row))
    listed = (await cloud.get("/notices")).json()["items"]
    assert [row["at_ms"] for row in listed] == [3, 2, 1, 0]
    of_one = (await cloud.get(f"/notices?device={device_id(2)}")).json()["items"]
    assert [row["at_ms"] for row in of_one] == [3, 1]
