"""The main job in the order in which it happens: a cloud, five devices, a task in two versions, real digits.

Rules of this module:

- Everything goes through what an operator would use: the `shoal` command to publish, the REST API to release and watch,
  `shoal-agent` for the devices. Nothing reaches into the cloud but the two bus consumers, which are an operator's code.
- Every wait has a limit; when one runs out the demo fails and says where.
"""

import asyncio
import os
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from cloud.admin.cli.client import RestClient
from cloud.admin.cli.context import Context
from cloud.compiler.compile import compile_file
from cloud.fleet.errors import ProcessFailed
from cloud.fleet.local import LocalAgent, LocalCloud, command_of
from docs.examples.digits.dataset import held_out_fold
from docs.examples.digits.demo.feed import feed_round
from docs.examples.digits.demo.scoreboard import Scoreboard
from docs.examples.digits.demo.view import State, Summary
from docs.examples.digits.measure import Share
from docs.examples.digits.recognise import Recogniser

NAMESPACE = "demo/digits"
TASK = "digits"
EXAMPLE = Path(__file__).parents[1]
DEVICES = 5
FIRST_SHARE_PPM = 400_000
PPM = 1_000_000
WAIT_SECONDS_MAX = 60.0
POLL_SECONDS = 0.15
ROUNDS = 3
Answer = dict[str, Any]


class Demo:
    """One run of the main job below one folder."""

    def __init__(self, root: Path) -> None:
        fold = held_out_fold()
        self.payloads = fold.payloads()
        self.board = Scoreboard(labels=[int(label) for label in fold.labels])
        self.state = State(digits=ROUNDS * len(self.payloads))
        self.cloud = LocalCloud(
            root / "cloud",
            namespace=NAMESPACE,
            # Five devices may ask often; a fleet of millions is paced by the minute.
            environment={
                "SHOAL_CLOUD_SYNC_INTERVAL_MS": "1000",
                "SHOAL_CLOUD_SYNC_STEPPING_INTERVAL_MS": "500",
            },
        )
        self.agents = [LocalAgent(root / "devices" / str(n + 1)) for n in range(DEVICES)]
        self._root = root
        self._client: RestClient | None = None
        self._started = time.monotonic()

    # --- the story ----------------------------------------------------------------------------------------------

    async def run(self, cloud_side: Callable[["Demo"], Awaitable[None]]) -> Summary:
        """Plays the whole story; `cloud_side` answers escalations and fills the scoreboard until it is cancelled.

        Raises:
            ProcessFailed: a process ended by itself, or something did not happen in time.
        """
        self._step("starting the cloud")
        await self.cloud.process.start()
        await self._enrol()
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._watch())
            consuming = group.create_task(_forever(cloud_side(self)))
            first = await self._release(1, "first 40 % of the fleet, then all")
            self._step("feeding version 1 the test fold, round 1")
            await feed_round(1, self._sockets, self.payloads, self.board)
            second = await self._replace_while_running()
            self._step("feeding version 2 the test fold, round 3")
            await feed_round(3, self._sockets, self.payloads, self.board)
            await self._until("every digit is answered", lambda: self.board.waiting == 0)
            summary = await self._sum_up({1: first, 2: second})
            watching.cancel()
            consuming.cancel()
        return summary

    async def stop(self) -> None:
        """Ends all processes, the devices first."""
        await asyncio.gather(*(agent.process.stop() for agent in self.agents))
        await self.cloud.process.stop()

    async def _enrol(self) -> None:
        self._step(f"enrolling {DEVICES} devices")
        made = await self._post(
            "/enrolment-tokens", {"attributes": {}, "valid_for_s": 600, "count": DEVICES}
        )
        codes = [item["code"] for item in made["items"]]
        pairs = zip(self.agents, codes, strict=True)
        await asyncio.gather(*(agent.enrol(code) for agent, code in pairs))
        await asyncio.gather(*(agent.process.start() for agent in self.agents))

    async def _release(self, version: int, says: str) -> str:
        self._step(f"publishing version {version}")
        await self._publish(version)
        self._step(f"releasing version {version}: {says}")
        stages = [
            {"share_ppm": FIRST_SHARE_PPM, "promote_at_ppm": 0},
            {"share_ppm": PPM, "promote_at_ppm": PPM},
        ]
        body = {"task": TASK, "version": version, "stages": stages, "start": True}
        release = await self._post("/releases", body, secrets.token_hex(16))
        await self._installed(release["id"])
        await self._post(
            f"/releases/{release['id']}:command", {"command": "promote", "reason": "demo"}
        )
        await self._installed(release["id"])
        return str(release["id"])

    async def _replace_while_running(self) -> str:
        """Version 2 goes out while the devices are busy with the second round."""
        feeding = asyncio.create_task(
            feed_round(2, self._sockets, self.payloads, self.board, pause_seconds=0.25)
        )
        try:
            second = await self._release(2, "while version 1 is at work")
            await feeding
        finally:
            feeding.cancel()
        return second

    async def _installed(self, release_id: str) -> None:
        async def reached() -> bool:
            coverage = (await self._get(f"/releases/{release_id}"))["coverage"]
            return bool(coverage["installed"] >= coverage["targeted"])

        await self._until(f"release {release_id} is installed", reached)

    async def _publish(self, version: int) -> None:
        bundle = self._root / "bundles" / f"v{version}"
        shutil.copytree(EXAMPLE / f"v{version}", bundle)
        model = EXAMPLE / "models" / f"device_v{version}.onnx"
        await asyncio.to_thread(compile_file, model, bundle / "digits.shoalmodel")
        process = await asyncio.create_subprocess_exec(
            command_of("shoal"),
            *("task", "publish", str(bundle), "--keys", str(self.cloud.publishing_keys)),
            env={**os.environ, **self._environment()},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        if process.returncode != 0:
            raise ProcessFailed(
                f"shoal task publish ended with {process.returncode}:\n{out.decode()}"
            )

    # --- the summary --------------------------------------------------------------------------------------------

    async def _sum_up(self, releases: Mapping[int, str]) -> Summary:
        self._step("counting")
        coverage, install_ms = {}, {}
        for version, release_id in releases.items():
            release = await self._get(f"/releases/{release_id}")
            points = (await self._get(f"/releases/{release_id}/coverage"))["points"]
            start = release["started_at_ms"]
            coverage[version] = _curve(points, start)
            install_ms[version] = await self._install_times(release_id, start)
        overview = await self._get("/overview")
        return Summary(
            coverage=coverage,
            install_ms=install_ms,
            runs=[row for row in overview["runs"] if row["task"] == TASK],
            cloud_only=self._cloud_only(),
            seconds=time.monotonic() - self._started,
            console=f"{self.cloud.addresses.console}#token={self.cloud.admin_token}",
        )

    async def _install_times(self, release_id: str, start_ms: int) -> tuple[float, float]:
        rows = (await self._get(f"/releases/{release_id}/devices"))["items"]
        times = sorted(row["installed_at_ms"] - start_ms for row in rows if row["installed_at_ms"])
        return _quantile(times, 0.5), _quantile(times, 0.99)

    def _cloud_only(self) -> Share:
        """The cloud's model on every digit of the test fold."""
        recogniser = Recogniser(self.cloud_model())
        hits = sum(
            recogniser.read(payload)[0] == label
            for payload, label in zip(self.payloads, self.board.labels, strict=True)
        )
        return Share(hits=hits, total=len(self.payloads))

    def cloud_model(self) -> Path:
        """File of the bigger model, compiled for the cloud-side copy of the devices' engine."""
        path = self._root / "cloud.shoalmodel"
        if not path.exists():
            compile_file(EXAMPLE / "models" / "cloud.onnx", path)
        return path

    # --- talking to the cloud -----------------------------------------------------------------------------------

    @property
    def _sockets(self) -> list[Path]:
        return [agent.socket for agent in self.agents]

    def _environment(self) -> dict[str, str]:
        return {
            "SHOAL_ADDRESS": self.cloud.addresses.rest,
            "SHOAL_TOKEN": self.cloud.admin_token,
            "SHOAL_NAMESPACE": NAMESPACE,
        }

    def _rest(self) -> RestClient:
        if self._client is None:
            address, token = self.cloud.addresses.rest, self.cloud.admin_token
            self._client = RestClient(Context(address=address, token=token, namespace=NAMESPACE))
        return self._client

    async def _get(self, path: str) -> Answer:
        client = self._rest()
        return await asyncio.to_thread(client.get, client.context.path(path))

    async def _post(self, path: str, body: Mapping[str, object], key: str = "") -> Answer:
        client = self._rest()
        return await asyncio.to_thread(
            client.post, client.context.path(path), body, idempotency_key=key
        )

    async def _watch(self) -> None:
        """Keeps the view's state current."""
        while True:
            self.state.devices = (await self._get("/devices"))["items"]
            self.state.releases = list(reversed((await self._get("/releases"))["items"]))
            await asyncio.sleep(2 * POLL_SECONDS)

    async def _until(self, what: str, holds: Callable[[], bool | Awaitable[bool]]) -> None:
        try:
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                while not await _truth(holds()):
                    self._check_processes()
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise ProcessFailed(
                f"waited {WAIT_SECONDS_MAX:g} s, but it is not so that {what}"
            ) from None

    def _check_processes(self) -> None:
        for process in (self.cloud.process, *(agent.process for agent in self.agents)):
            if process.returncode is not None:
                raise ProcessFailed(f"ended with {process.returncode}:\n{process.log_tail()}")

    def _step(self, text: str) -> None:
        self.state.step = text


async def _forever(work: Awaitable[None]) -> None:
    await work
    raise ProcessFailed("the cloud's side of the example ended by itself")


async def _truth(value: bool | Awaitable[bool]) -> bool:
    return value if isinstance(value, bool) else await value


def _curve(points: list[Answer], start_ms: int) -> list[tuple[float, int]]:
    """Points at which the number of installed devices grew."""
    grown: list[tuple[float, int]] = []
    for point in points:
        if not grown or point["installed"] > grown[-1][1]:
            grown.append(((point["at_ms"] - start_ms) / 1000, point["installed"]))
    return grown


def _quantile(values: list[int], share: float) -> float:
    return float(values[min(len(values) - 1, round(share * (len(values) - 1)))]) if values else 0.0
