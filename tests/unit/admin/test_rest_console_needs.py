"""What the console asks of REST beyond the CLI: devices by status and id, stages counted, steps placed."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cloud.store.tables import devices
from tests.helpers.admin_cloud import NAMESPACE, AdminCloud, open_cloud

pytestmark = pytest.mark.slow
HOUR_MS = 3_600_000


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[AdminCloud]:
    async with open_cloud(tmp_path) as opened:
        now_ms = opened.parts.clock.wall_ms()
        seen = {"a": now_ms, "b": now_ms - HOUR_MS // 2, "c": now_ms - 2 * HOUR_MS, "d": None}
        rows: list[dict[str, Any]] = [
            {
                "namespace": NAMESPACE,
                "device_id": letter * 32,
                "public_key": b"",
                "certificate_serial": letter,
                "certificate_expires_at_ms": now_ms,
                "enrolled_at_ms": now_ms,
                "revoked_at_ms": now_ms if letter == "e" else None,
                "attributes": {},
                "facts": {},
                "installed": {},
                "epoch": 0,
                "last_seen_at_ms": seen.get(letter, now_ms),
            }
            for letter in "abcde"
        ]
        async with opened.parts.database.begin() as connection:
            await connection.execute(sa.insert(devices), rows)
        yield opened


@pytest.mark.parametrize(
    ("status", "letters"),
    [("online", "a"), ("stale", "b"), ("offline", "cd"), ("revoked", "e"), ("", "abcde")],
)
async def test_devices_by_status_are_those_that_show_it(
    cloud: AdminCloud, status: str, letters: str
) -> None:
    found = (await cloud.get("/devices", params={"status": status})).json()["items"]
    assert [row["id"][0] for row in found] == list(letters)
    if status:
        assert {row["status"] for row in found} == {status}
        assert (await cloud.get("/overview")).json()["devices"][status] == len(letters)


async def test_devices_by_the_beginning_of_their_id(cloud: AdminCloud) -> None:
    found = (await cloud.get("/devices", params={"id_prefix": "bb"})).json()["items"]
    assert [row["id"] for row in found] == ["b" * 32]
    both = {"id_prefix": "b", "status": "online"}
    assert (await cloud.get("/devices", params=both)).json()["items"] == []


@pytest.mark.parametrize("query", [{"status": "asleep"}, {"id_prefix": "%"}, {"id_prefix": "B"}])
async def test_a_filter_that_cannot_be_is_refused(cloud: AdminCloud, query: dict[str, str]) -> None:
    answer = await cloud.get("/devices", params=query)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "ARGUMENT_INVALID"


async def test_a_release_counts_each_stage_and_places_each_step(cloud: AdminCloud) -> None:
    task, version = await cloud.publish()
    stages = [{"share_ppm": 500_000}, {"share_ppm": 1_000_000}]
    body = {"task": task, "version": version, "stages": stages, "start": True}
    release = (await cloud.post("/releases", body)).json()
    counted = release["coverage"]["stages"]
    assert [set(row) for row in counted] == [{"targeted", "notified", "installed", "failed"}] * 2
    assert counted[0]["targeted"] == release["coverage"]["targeted"]
    assert counted[1]["targeted"] == 4  # the revoked one is nobody's
    events = (await cloud.get(f"/releases/{release['id']}/events")).json()["items"]
    assert [(one["state"], one["stage_index"]) for one in events] == [("draft", -1), ("running", 0)]
