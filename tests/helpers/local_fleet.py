"""A real cloud and real agents in processes of their own, with a task published: for end-to-end tests.

async with local_fleet(tmp_path, devices=2) as fleet:
    release = await fleet.release(await fleet.publish(fleet.write_task(version=1)))
    await fleet.until("it is installed", lambda: ...)
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cloud.admin.cli.client import RestClient
from cloud.admin.cli.context import Context
from cloud.admin.cli.errors import ServerAway, ServerFailed
from cloud.admin.cli.template import write_template
from cloud.fleet.local import LocalAgent, LocalCloud, command_of
from cloud.fleet.settings import LocalFleetSettings

NAMESPACE = "demo/fleet"
TASK = "counter"
TOPIC = "counted"
EVENT = 1001
UNTIL_SECONDS_MAX = 120.0
LOOK_SECONDS = 0.1
# A machine that runs much else at the same time starts a process slowly.
PATIENT = LocalFleetSettings(start_seconds_max=180.0)
FAST_SYNCS = {
    "SHOAL_CLOUD_SYNC_INTERVAL_MS": "400",
    "SHOAL_CLOUD_SYNC_STEPPING_INTERVAL_MS": "300",
}
Answer = dict[str, Any]


class Fleet:
    """A cloud, its agents, and what an operator does with them."""

    def __init__(
        self,
        root: Path,
        devices: int,
        cloud_arguments: Sequence[str] = (),
        *,
        database_url: str = "",
        bus_url: str = "",
    ) -> None:
        self.root = root
        servers = {"--database-url": database_url, "--bus-url": bus_url}
        given = [word for flag, url in servers.items() if url for word in (flag, url)]
        self.cloud = LocalCloud(
            root / "cloud",
            namespace=NAMESPACE,
            arguments=[*cloud_arguments, *given],
            environment=FAST_SYNCS,
            settings=PATIENT,
        )
        self.database_url = database_url or self.cloud.database_url
        self.bus_url = bus_url or "embedded:"
        self.agents = [
            LocalAgent(root / f"device-{number}", settings=PATIENT) for number in range(devices)
        ]
        for agent in self.agents:
            agent.home.mkdir(parents=True)
            # Deaths come from outside here; safe mode would blame the task that was running. A cloud that dies over and
            # over comes back each time: nobody has to be spared.
            limits = "[limits]\ndeaths_max = 100000\nretry_ms_max = 2000\n"
            (agent.home / "agent.toml").write_text(limits)

    @property
    def rest(self) -> RestClient:
        """A client with the owner's token."""
        return RestClient(
            Context(
                address=self.cloud.addresses.rest, token=self.cloud.admin_token, namespace=NAMESPACE
            )
        )

    async def start(self) -> None:
        """Starts the cloud, enrols and starts the agents."""
        await self.cloud.process.start()
        body = {"attributes": {}, "valid_for_s": 600, "count": len(self.agents)}
        made = await self.post("/enrolment-tokens", body)
        codes = [item["code"] for item in made["items"]]
        pairs = zip(self.agents, codes, strict=True)
        await asyncio.gather(*(agent.enrol(code) for agent, code in pairs))
        await asyncio.gather(*(agent.process.start() for agent in self.agents))

    async def stop(self) -> None:
        """Ends all processes."""
        await asyncio.gather(*(agent.process.kill() for agent in self.agents))
        await self.cloud.process.kill()

    def write_task(self, remark: str = "") -> Path:
        """A task that counts letters; another remark is another version."""
        folder = self.root / f"task-{secrets.token_hex(4)}"
        write_template(folder, TASK)
        with (folder / "main.py").open("a") as file:
            file.write(f"# {remark}\n")
        return folder

    async def publish(self, folder: Path) -> int:
        """Publishes with the `shoal` command; gives the version."""
        process = await asyncio.create_subprocess_exec(
            command_of("shoal"),
            *("task", "publish", str(folder), "--keys", str(self.cloud.publishing_keys)),
            env={
                **os.environ,
                "SHOAL_ADDRESS": self.cloud.addresses.rest,
                "SHOAL_TOKEN": self.cloud.admin_token,
                "SHOAL_NAMESPACE": NAMESPACE,
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        assert process.returncode == 0, out.decode()
        tasks = await self.get("/tasks")
        return int(tasks["items"][0]["latest_version"])

    async def release(self, version: int, key: str = "", task: str = TASK) -> str:
        """Releases a version to everybody; asks again, with the same key, while the cloud is away."""
        body = {"task": task, "version": version, "start": True}
        once = key or secrets.token_hex(8)
        made = await self.patiently(lambda: self.post("/releases", body, once))
        return str(made["id"])

    async def installed(self, release_id: str) -> int:
        """Devices that installed a release."""
        found = await self.patiently(lambda: self.get(f"/releases/{release_id}"))
        return int(found["coverage"]["installed"])

    async def get(self, path: str) -> Answer:
        client = self.rest
        return await asyncio.to_thread(client.get, client.context.path(path))

    async def post(self, path: str, body: dict[str, object], key: str = "") -> Answer:
        client = self.rest
        return await asyncio.to_thread(
            client.post, client.context.path(path), body, idempotency_key=key
        )

    async def patiently(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Asks until the cloud is there to answer."""
        async with asyncio.timeout(UNTIL_SECONDS_MAX):
            while True:
                try:
                    return await ask()
                except (ServerAway, FileNotFoundError):
                    await asyncio.sleep(LOOK_SECONDS)
                except ServerFailed as error:
                    if error.http_status < 500:
                        raise
                    await asyncio.sleep(LOOK_SECONDS)

    async def until(self, what: str, holds: Callable[[], Awaitable[bool]]) -> None:
        """Waits for a condition.

        Raises:
            AssertionError: it did not come true in time.
        """
        try:
            async with asyncio.timeout(UNTIL_SECONDS_MAX):
                while not await holds():  # noqa: ASYNC110  what is waited for lies in another process
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            raise AssertionError(f"not within {UNTIL_SECONDS_MAX:g} s: {what}") from None


@asynccontextmanager
async def local_fleet(
    root: Path, devices: int, *, database_url: str = "", bus_url: str = ""
) -> AsyncIterator[Fleet]:
    """A fleet that is ended whatever happens; on servers of its own when URLs are given."""
    fleet = Fleet(root, devices, database_url=database_url, bus_url=bus_url)
    try:
        await fleet.start()
        yield fleet
    finally:
        await fleet.stop()
