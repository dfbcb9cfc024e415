"""A cloud that really listens, with the built console and a fleet that has a past; for tests in a browser.

Example:
    async with open_console(tmp_path) as console:
        await console.past()
        await page.goto(console.login)

Devices are rows and acknowledgements that the product's own functions write; the past is made by a clock that begins
a quarter of an hour ago and has arrived at the present when `past` returns.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
import uvicorn

from cloud.admin.rest.app import make_app
from cloud.admin.rest.console import ConsoleFiles
from cloud.admin.rest.health import Readiness
from cloud.server.home import CloudHome
from cloud.server.parts import CloudParts, open_parts
from cloud.server.settings import ServerSettings
from cloud.store.tables import devices, notices, run_counts
from cloud.targeting.bucket import bucket
from device_agent.clock import SystemClock
from tests.helpers.admin_cloud import NAMESPACE, AdminCloud, bundle
from tests.helpers.conditions import until
from tests.helpers.release_fleet import Ack

DIST = Path(__file__).parents[2] / "cloud/console/dist"
PAST_MS = 15 * 60_000
MODELS = ("pixel-9", "iphone-17", "raspberry-pi-5", "galaxy-s26")
REGIONS = ("eu-central", "eu-west", "us-east")


class LateClock:
    """The system's clock, some time behind until it is told to catch up."""

    def __init__(self, behind_ms: int) -> None:
        self._system = SystemClock()
        self._behind_ms = behind_ms

    def wall_ms(self) -> int:
        return self._system.wall_ms() - self._behind_ms

    def monotonic_ns(self) -> int:
        return self._system.monotonic_ns()

    def advance_ms(self, ms: int) -> None:
        self._behind_ms = max(0, self._behind_ms - ms)


class ConsoleCloud:
    """The cloud, its address, and a client with the owner's token."""

    def __init__(self, parts: CloudParts, api: AdminCloud, clock: LateClock, url: str) -> None:
        self.parts = parts
        self.api = api
        self.url = url
        self.devices: list[str] = []
        self._clock = clock

    @property
    def login(self) -> str:
        return f"{self.url}/console/#token={self.api.owner}"

    def page(self, path: str = "") -> str:
        return f"{self.url}/console/{NAMESPACE}{path}"

    async def enrol(self, number: int) -> None:
        """Devices that have synced once; a few of them long ago."""
        now_ms = self._clock.wall_ms()
        rows = [self._device(n, now_ms) for n in range(number)]
        async with self.parts.database.begin() as connection:
            await connection.execute(sa.insert(devices), rows)
        self.devices = sorted(row["device_id"] for row in rows)

    async def odd_device(self, device: str) -> None:
        """Lets one say of itself what is as long as it may be, without a blank, at a time that no calendar has."""
        said = {"k" * 64: "v" * 256, "shop": "x" * 60, "region": "eu-central"}
        row = {
            "namespace": NAMESPACE,
            "device_id": device,
            "at_ms": 2**62,
            "code": "A" * 64,
            "message": "word " * 40 + "x" * 300,
        }
        async with self.parts.database.begin() as connection:
            chosen = sa.update(devices).where(devices.c.device_id == device)
            await connection.execute(chosen.values(attributes=said))
            await connection.execute(sa.insert(notices), [row])

    async def release(self, version: int, stages: Sequence[tuple[int, int]]) -> dict[str, Any]:
        body = {
            "task": "hello",
            "version": version,
            "stages": [{"share_ppm": s, "promote_at_ppm": p} for s, p in stages],
            "start": True,
        }
        answer = await self.api.post("/releases", body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def command(self, release: str, name: str, reason: str) -> None:
        body = {"command": name, "reason": reason}
        answer = await self.api.post(f"/releases/{release}:command", body)
        assert answer.status_code == 200, answer.text

    async def acknowledge(
        self, release: dict[str, Any], who: Sequence[str], outcome: str, error_code: str = ""
    ) -> None:
        """Devices answer; some seconds go by."""
        ack = Ack(
            release_id=release["id"],
            version=release["version"],
            outcome=outcome,
            error_code=error_code,
        )
        self._clock.advance_ms(7_000)
        async with self.parts.database.begin() as connection:
            batch = [(device, [ack]) for device in who]
            now_ms = self._clock.wall_ms()
            await self.parts.releases.record_batch(connection, NAMESPACE, batch, now_ms)
            if outcome == "installed":
                await self._hold(connection, who, release)
        self.parts.releases.wake(NAMESPACE)

    async def spread(self, release: dict[str, Any], who: Sequence[str], pace: int) -> None:
        """Devices notice and install it, a few at a time."""
        for start in range(0, len(who) + pace, pace):
            await self.acknowledge(release, who[start : start + pace], "notified")
            await self.acknowledge(release, who[max(0, start - pace) : start], "installed")

    def within(self, release: dict[str, Any], share_ppm: int) -> list[str]:
        """The devices of a share, shuffled as a fleet would answer."""
        mine = [one for one in self.devices if bucket(release["id"], one) < share_ppm]
        return sorted(mine, key=lambda one: hashlib.sha256(one.encode()).digest())

    async def past(self) -> dict[str, Any]:
        """Version 1 reached everyone; version 2 is on its way. Gives the running release."""
        await self.api.publish(bundle(text="hello"))
        await self.api.publish(bundle(text="hello again"))
        await self.enrol(60)
        first = await self.release(1, [(1_000_000, 1_000_000)])
        await self.spread(first, self.within(first, 1_000_000), 12)
        await self._moved()
        second = await self.release(
            2, [(100_000, 900_000), (400_000, 950_000), (1_000_000, 990_000)]
        )
        early = self.within(second, 100_000)
        await self.spread(second, early, 2)
        await self._moved()
        later = [one for one in self.within(second, 400_000) if one not in early]
        await self.spread(second, later[: len(later) * 2 // 3], 3)
        await self.acknowledge(second, later[-3:], "notified")
        await self.acknowledge(second, later[-1:], "failed", "FILE_DAMAGED")
        await self._reports(later[-1])
        self._clock.advance_ms(PAST_MS)
        return second

    async def _moved(self) -> None:
        """Until a release went on by itself; its counts may be a moment old."""
        async with asyncio.timeout(10):
            while not await self.parts.releases.tick():  # noqa: ASYNC110 - a count's age has no event
                await asyncio.sleep(0.05)

    def _device(self, number: int, now_ms: int) -> dict[str, Any]:
        unseen = {7: None, 8: now_ms - 86_400_000, 9: now_ms - 86_400_000}
        facts = {
            "agent_version": "0.1.0",
            "guest_api": 1,
            "op_set": 1,
            "python_tag": "cpython-313-3571",
            "cpu_features": ["avx2", "fma"],
            "os": "linux",
            "os_version": "6.1",
            "attributes": {"model": MODELS[number % len(MODELS)]},
        }
        return {
            "namespace": NAMESPACE,
            "device_id": hashlib.sha256(f"device {number}".encode()).hexdigest()[:32],
            "public_key": b"",
            "certificate_serial": str(number),
            "certificate_expires_at_ms": now_ms + 90 * 86_400_000,
            "enrolled_at_ms": now_ms,
            "attributes": {"region": REGIONS[number % len(REGIONS)]},
            "facts": {} if number == 7 else facts,
            "installed": {},
            "epoch": 0,
            "last_seen_at_ms": unseen.get(number, now_ms + PAST_MS - number * 1_000)
            if number % 11
            else now_ms,
        }

    async def _hold(self, connection: Any, who: Sequence[str], release: dict[str, Any]) -> None:
        held = {
            release["task"]: {
                "version": release["version"],
                "digest": "sha256:" + "0" * 64,
                "state": "installed",
            }
        }
        await connection.execute(
            sa.update(devices)
            .where(devices.c.namespace == NAMESPACE, devices.c.device_id.in_(who))
            .values(installed=held)
        )

    async def _reports(self, device: str) -> None:
        runs = [
            ("hello", 1, "ok", 48_211),
            ("hello", 1, "WALL_LIMIT", 12),
            ("hello", 2, "ok", 7_604),
        ]
        async with self.parts.database.begin() as connection:
            await connection.execute(
                sa.insert(run_counts),
                [
                    {"namespace": NAMESPACE, "task": task, "version": version}
                    | {"outcome": outcome, "runs": number, "wall_us": number * (410 + version)}
                    for task, version, outcome, number in runs
                ],
            )
            await connection.execute(
                sa.insert(notices).values(
                    namespace=NAMESPACE,
                    device_id=device,
                    at_ms=self._clock.wall_ms(),
                    code="FILE_DAMAGED",
                    message="code.bin of hello 2 does not have its digest; version 1 keeps running",
                )
            )


@asynccontextmanager
async def open_console(folder: Path) -> AsyncIterator[ConsoleCloud]:
    """Opens one in a folder, on a port of the system's choice, with the built console."""
    assert (DIST / "index.html").is_file(), "build the console first: make console"
    async with open_listening(folder) as opened:
        yield opened


@asynccontextmanager
async def open_listening(folder: Path) -> AsyncIterator[ConsoleCloud]:
    """Opens one in a folder, on a port of the system's choice; the console's files may be missing."""
    home, clock = CloudHome(folder / "cloud"), LateClock(PAST_MS)
    with home.locked():
        settings = ServerSettings(home=home.path, namespaces=(NAMESPACE,))
        async with open_parts(home, settings, clock) as parts:
            parts.site.url, parts.site.sync_address = "https://127.0.0.1:1", "127.0.0.1:2"
            await parts.gateway.follower.start()
            following = asyncio.create_task(parts.gateway.follower.run())
            readiness = Readiness({"database": parts.database.ready})
            app = make_app(
                parts.admin, clock=clock, readiness=readiness, console=ConsoleFiles(DIST)
            )
            config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off")
            async with _listening(uvicorn.Server(config)) as url:
                # A connection that rested may be closed just as it is used again.
                alone = httpx.Limits(max_keepalive_connections=0)
                async with httpx.AsyncClient(base_url=url, limits=alone) as client:
                    yield ConsoleCloud(parts, AdminCloud(parts, app, client), clock, url)
                # Open event streams would hold the server's end up.
                app.state.streams.close()
            following.cancel()
            await asyncio.wait([following])


@asynccontextmanager
async def _listening(server: uvicorn.Server) -> AsyncIterator[str]:
    # No TaskGroup: a fixture is entered and left by two tasks.
    running = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started, 10)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await running
