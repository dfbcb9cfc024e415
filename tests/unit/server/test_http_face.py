"""The operators' HTTP socket with its event stream, over a real connection."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from cloud.server.faces import HttpFace
from tests.helpers.admin_cloud import BASE, AdminCloud, open_cloud

pytestmark = pytest.mark.slow
WAIT_S = 30


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[AdminCloud]:
    async with open_cloud(tmp_path) as opened:
        yield opened


@asynccontextmanager
async def served(cloud: AdminCloud) -> AsyncIterator[tuple[HttpFace, httpx.AsyncClient]]:
    face = HttpFace(cloud.app, "127.0.0.1", 0, drain_ms=5_000)
    headers = {"Authorization": f"Bearer {cloud.owner}"}
    async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as group:
        group.create_task(face.serve())
        url = f"http://127.0.0.1:{face.port}"
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=WAIT_S) as client:
            yield face, client
        cloud.app.state.streams.close()
        face.drain()


async def events(answer: httpx.Response) -> AsyncIterator[tuple[str, dict[str, object]]]:
    name = ""
    async for line in answer.aiter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        if line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


async def test_a_stream_shows_what_is_there_and_then_what_changes(cloud: AdminCloud) -> None:
    task, version = await cloud.publish()
    body = {"task": task, "version": version, "start": True}
    release = (await cloud.post("/releases", body)).json()
    async with (
        served(cloud) as (_, client),
        client.stream("GET", f"{BASE}/events") as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        stream = events(answer)
        first = [await anext(stream), await anext(stream)]
        assert [name for name, _ in first] == ["overview", "release"]
        assert first[1][1]["state"] == "running"
        await cloud.post(f"/releases/{release['id']}:command", {"command": "pause"})
        async for name, data in stream:
            if name == "release":
                assert (data["id"], data["state"]) == (release["id"], "paused")
                break


async def test_a_draining_face_ends_its_streams_and_itself(cloud: AdminCloud) -> None:
    async with served(cloud) as (face, client), client.stream("GET", f"{BASE}/events") as answer:
        stream = events(answer)
        await anext(stream)
        cloud.app.state.streams.close()
        face.drain()
        assert [name async for name, _ in stream if name == "error"] == []
