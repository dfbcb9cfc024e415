"""A whole cloud in this process without sockets: its REST application is called directly.

Example:
    async with open_cloud(tmp_path) as cloud:
        answer = await cloud.get("/overview")
        assert answer.json()["devices"]["total"] == 0
"""

import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from cloud.admin.rest.app import make_app
from cloud.admin.rest.console import ConsoleFiles
from cloud.admin.rest.health import Readiness
from cloud.keys.publishing import Publisher, SigningBase, sign_version
from cloud.keys.roles import TargetToSign
from cloud.server.home import CloudHome
from cloud.server.parts import CloudParts, open_parts
from cloud.server.settings import ServerSettings
from device_agent.clock import SystemClock

NAMESPACE = "demo/app"
BASE = f"/api/v1/namespaces/{NAMESPACE}"
TASK_TOML = """\
[task]
name = "{name}"
entry = "main:on_event"
summary = "Says hello"
[[triggers]]
event = 1001
[permissions]
emit = ["answer"]
"""
MAIN = """\
from shoal_task import emit


def on_event(event):
    emit("answer", b"{text}")
"""


def bundle(name: str = "hello", text: str = "hello") -> dict[str, bytes]:
    """A small task that works."""
    return {
        "task.toml": TASK_TOML.replace("{name}", name).encode(),
        "main.py": MAIN.replace("{text}", text).encode(),
    }


class AdminCloud:
    """A cloud and a client that holds the owner's token."""

    def __init__(self, parts: CloudParts, app: FastAPI, client: httpx.AsyncClient) -> None:
        self.parts = parts
        self.app = app
        self.client = client
        self.owner = parts.home.admin_token.read_text().strip()

    async def call(
        self, method: str, path: str, *, token: str | None = None, **more: Any
    ) -> httpx.Response:
        """One request; a path that begins with a noun is below the namespace."""
        url = path if path.startswith(("/api", "/openapi")) else BASE + path
        bearer = self.owner if token is None else token
        headers = {**more.pop("headers", {})}
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        return await self.client.request(method, url, headers=headers, **more)

    async def get(self, path: str, **more: Any) -> httpx.Response:
        return await self.call("GET", path, **more)

    async def post(self, path: str, body: Mapping[str, Any], **more: Any) -> httpx.Response:
        return await self.call("POST", path, json=dict(body), **more)

    async def token(self, scopes: Sequence[str], namespace: str = NAMESPACE) -> str:
        """A new token of these scopes."""
        path = f"/api/v1/namespaces/{namespace}/tokens"
        answer = await self.post(path, {"actor": "somebody", "scopes": list(scopes)})
        return str(answer.json()["token"])

    @staticmethod
    def encode(files: Mapping[str, bytes]) -> dict[str, str]:
        """Files as a request carries them."""
        return {path: base64.b64encode(data).decode() for path, data in files.items()}

    async def publish(self, files: Mapping[str, bytes] | None = None) -> tuple[str, int]:
        """Publishes a task as an operator's machine would; gives its name and version."""
        encoded = self.encode(files or bundle())
        prepared = (await self.post("/tasks:prepare", {"files": encoded})).json()
        task, version = prepared["task"], prepared["version"]
        if not prepared["already_published"]:
            roles = self.sign(prepared)
            path = f"/tasks/{task}/versions/{version}:publish"
            answer = await self.post(path, {"roles": roles})
            assert answer.status_code == 200, answer.text
        return task, version

    def sign(self, prepared: Mapping[str, Any]) -> dict[str, str]:
        """Signs what prepare answered."""
        targets = [
            TargetToSign(**{**target, "paths": tuple(target["paths"])})
            for target in prepared["targets"]
        ]
        signed = sign_version(
            Publisher.load(self.parts.home.keys, NAMESPACE),
            prepared["task"],
            SigningBase.from_json(prepared["base"]),
            targets,
            SystemClock().wall_ms(),
        )
        return {name: data.decode() for name, data in signed.roles.items()}


@asynccontextmanager
async def open_cloud(folder: Path, database_url: str = "") -> AsyncIterator[AdminCloud]:
    """Opens one in a folder, on SQLite there or on a database; the gateway follows, nothing listens."""
    home, clock = CloudHome(folder / "cloud"), SystemClock()
    settings = ServerSettings(
        home=home.path, namespaces=(NAMESPACE, "other/app"), database_url=database_url
    )
    with home.locked():
        async with open_parts(home, settings, clock) as parts:
            parts.site.url, parts.site.sync_address = "https://127.0.0.1:1", "127.0.0.1:2"
            await parts.gateway.follower.start()
            app = make_app(
                parts.admin,
                clock=clock,
                readiness=Readiness({"database": parts.database.ready}),
                console=ConsoleFiles(folder / "dist"),
            )
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://shoal") as client:
                yield AdminCloud(parts, app, client)
