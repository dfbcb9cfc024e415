"""A whole cloud whose REST face listens, the `shoal` command against it, and devices that read its metadata.

Example:
    async with open_trust_site(tmp_path, monkeypatch) as site:
        assert await site.shoal("keys", "rotate", "root", "1") == 0
        await site.device("a").refresh(site.now_ms)
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from cloud.admin.cli.main import run
from cloud.keys.files import KeyFolder, load_signer
from cloud.server.faces import HttpFace
from device_agent.clock import SystemClock
from device_agent.tasks.trust import TrustStore
from tests.helpers.admin_cloud import NAMESPACE, AdminCloud, open_cloud
from tests.helpers.memory_fetcher import Answer, Ask, LoopFetcher


class TrustSite:
    """A cloud, its operator and its devices.

    Attributes:
        lies: Metadata by file name that devices get instead of what the repository has.
    """

    def __init__(self, cloud: AdminCloud, folder: Path) -> None:
        self.cloud = cloud
        self.folder = folder
        self.keys = KeyFolder(cloud.parts.home.keys)
        self.repository = cloud.parts.repository
        self.first_root = self.repository.root()
        self.lies: dict[str, bytes] = {}

    @property
    def now_ms(self) -> int:
        return SystemClock().wall_ms()

    async def shoal(self, *arguments: str, keys: Path | None = None) -> int:
        """Runs a command that takes --keys; gives its exit code."""
        return await self.plain(*arguments, "--keys", str(keys or self.keys.path))

    async def plain(self, *arguments: str) -> int:
        """Runs a command."""
        return await asyncio.to_thread(run, arguments)

    def device(self, name: str) -> TrustStore:
        """A device that was enrolled when the cloud was new."""
        fetcher = LoopFetcher(asyncio.get_running_loop(), self.answer)
        return TrustStore(self.folder / name, self.first_root, fetcher)

    def disk(self, name: str) -> dict[str, bytes]:
        """What a device has stored."""
        return {
            path.name: path.read_bytes()
            for path in (self.folder / name).rglob("*")
            if path.is_file()
        }

    async def answer(self, ask: Ask) -> Answer:
        kind, _, name = ask.path.removeprefix("/tuf/").partition("/")
        if name in self.lies:
            return Answer(200, self.lies[name])
        found = await (
            self.repository.metadata(name) if kind == "metadata" else self.repository.target(name)
        )
        return Answer(404) if found is None else Answer(200, found)

    def signer(self, *place: str) -> CryptoSigner:
        """A key as it is now: keep it, and it is the old one after a rotation."""
        return load_signer(self.keys.path.joinpath(*place))

    async def publish(self, text: str) -> str:
        """Publishes a version of a task; gives one of its targets."""
        task, version = await self.cloud.publish(
            {
                "task.toml": b'[task]\nname = "hello"\nentry = "main:run"\n[[triggers]]\nevent = 1\n',
                "main.py": f"def run(event):\n    return {text!r}\n".encode(),
            }
        )
        path = f"/tasks/{task}/versions/{version}"
        files = (await self.cloud.get(path)).json()["files"]
        return next(str(file["target"]) for file in files if file["kind"] == "bytecode")


@asynccontextmanager
async def open_trust_site(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[TrustSite]:
    """Opens one in a folder; the environment is that of its owner."""
    async with open_cloud(folder) as cloud:
        face = HttpFace(cloud.app, "127.0.0.1", 0, drain_ms=1000)
        serving = asyncio.create_task(face.serve())
        monkeypatch.setenv("SHOAL_ADDRESS", f"http://127.0.0.1:{face.port}")
        monkeypatch.setenv("SHOAL_TOKEN", cloud.owner)
        monkeypatch.setenv("SHOAL_NAMESPACE", NAMESPACE)
        monkeypatch.delenv("SHOAL_KEYS_PASSPHRASE", raising=False)
        try:
            yield TrustSite(cloud, folder)
        finally:
            face.drain()
            await serving
