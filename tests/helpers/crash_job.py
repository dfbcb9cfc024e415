"""The job that goes on while processes die, and how one dies at a failpoint.

async with job_on(tmp_path, monkeypatch) as job, going_on(job.operate, job.feed):
    await die_at(job.agent.process, "agent.run.marked")
await job.end()                        # nothing was lost, nothing counted twice
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cloud.admin.cli.errors import ServerAway, ServerFailed
from cloud.admin.cli.main import run as run_shoal
from cloud.fleet.local import LocalAgent
from cloud.fleet.process import LocalProcess, python_command
from tests.helpers.crash_consumer import REPLY_EVENT
from tests.helpers.crash_fleet import Feeder, counted, settled
from tests.helpers.local_fleet import EVENT, NAMESPACE, TASK, Fleet, local_fleet

DEATH_SECONDS_MAX = 120
# A cloud that dies over and over lets a publication through only when it lives long enough.
PUBLISHED_SECONDS_MAX = 900
FEED_SECONDS = 0.7
# A second task, for what operators and owners of devices do to tasks; nobody counts its runs.
SIDE_TASK = "side"
SIDE_EVENT = 2001
REPLIES = '[permissions]\nemit = ["counted", "answered"]\n\n[[replies]]\ntopic = "counted"\nevent = 1002\n'
MAIN = f"""
from shoal_task import Event, emit

def on_event(event: Event) -> None:
    if event.event_id == {REPLY_EVENT}:
        emit("answered", event.payload)
    else:
        emit("counted", event.payload)
"""


class Job:
    """What goes on while processes die."""

    def __init__(self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fleet = fleet
        self.feeder = Feeder(fleet.agents[0], 1)
        self.consumer = LocalProcess(
            [
                *python_command("tests.helpers.crash_consumer"),
                fleet.database_url,
                fleet.bus_url,
            ],
            log=fleet.root / "consumer.log",
            ready=lambda _: True,
        )
        self._versions = 0
        self.release = ""
        monkeypatch.setenv("SHOAL_ADDRESS", fleet.cloud.addresses.rest)
        monkeypatch.setenv("SHOAL_TOKEN", fleet.cloud.admin_token)
        monkeypatch.setenv("SHOAL_NAMESPACE", NAMESPACE)

    @property
    def agent(self) -> LocalAgent:
        return self.fleet.agents[0]

    def write_task(self, name: str = TASK) -> Path:
        """The next version of the task that asks and is answered."""
        self._versions += 1
        folder = self.fleet.write_task()
        head = (folder / "task.toml").read_text().partition("[permissions]")[0]
        if name == SIDE_TASK:
            head = head.replace(f'"{TASK}"', f'"{name}"').replace(str(EVENT), str(SIDE_EVENT))
        (folder / "task.toml").write_text(head + REPLIES)
        # Not in a comment: the bytecode must be another, or nothing is downloaded.
        (folder / "main.py").write_text(f"{MAIN}\nVERSION = {self._versions}\n")
        return folder

    async def publish_and_release(self, name: str = TASK) -> None:
        """A new version goes out; asks again, with the same words, while the cloud is dead."""
        folder = self.write_task(name)
        words = ("task", "publish", str(folder), "--keys", str(self.fleet.cloud.publishing_keys))
        async with asyncio.timeout(PUBLISHED_SECONDS_MAX):
            while await asyncio.to_thread(run_shoal, words) != 0:  # noqa: ASYNC110
                await asyncio.sleep(0.2)  # the cloud is another process, and dead
        tasks = (await self.fleet.patiently(lambda: self.fleet.get("/tasks")))["items"]
        (version,) = [row["latest_version"] for row in tasks if row["name"] == name]
        self.release = await self.fleet.release(version, task=name)

    async def operate(self) -> None:
        """What operators do, once."""
        await self.publish_and_release()
        token: dict[str, object] = {"actor": "somebody", "scopes": ["device:read"]}
        await self._post("/tokens", token)
        for killed in (True, False):
            switch: dict[str, object] = {"task": SIDE_TASK, "killed": killed}
            await self._post("/kill-switches", switch)

    async def feed(self) -> None:
        """Some events, at a pace that the consumer keeps: what it has not answered, the end waits for."""
        await self.feeder.feed(2)
        await asyncio.sleep(FEED_SECONDS)

    async def _post(self, path: str, body: dict[str, object]) -> None:
        """Once; it comes round again."""
        with contextlib.suppress(ServerAway, ServerFailed, FileNotFoundError):
            await self.fleet.post(path, body)

    async def installed(self) -> bool:
        return await self.fleet.installed(self.release) == 1

    async def end(self) -> None:
        """Everything runs again; then nothing was lost or counted twice, and the newest version is there."""
        for process in (self.fleet.cloud.process, self.agent.process, self.consumer):
            if process.returncode is not None:
                await process.start()
        await self.feeder.feed(3)
        await settled(self.fleet, [self.feeder])
        # An answer is an event whose payload is the uid of the one that asked.
        fed = len(self.feeder.accepted)

        async def all_answered() -> bool:
            return (await counted(self.fleet, "answered")).total() >= fed

        await self.fleet.until("every answer has run", all_answered)
        answers = await counted(self.fleet, "answered")
        assert (answers.total(), set(answers.values())) == (fed, {1})
        await self.fleet.until("the newest version is there", self.installed)


@asynccontextmanager
async def job_on(
    root: Path, monkeypatch: pytest.MonkeyPatch, *, database_url: str = "", bus_url: str = ""
) -> AsyncIterator[Job]:
    """A fleet of one device with a version installed and a consumer that answers."""
    async with local_fleet(root, 1, database_url=database_url, bus_url=bus_url) as fleet:
        job = Job(fleet, monkeypatch)
        try:
            await job.consumer.start()
            await job.publish_and_release(SIDE_TASK)
            await job.publish_and_release()
            await fleet.until("the first version is there", job.installed)
            yield job
        finally:
            await job.consumer.kill()


@asynccontextmanager
async def going_on(
    *rounds: Callable[[], Coroutine[object, object, None]],
) -> AsyncIterator[None]:
    """Repeats rounds beside the block, and ends when each is through the one that it is in.

    A round is not cancelled: what the other side has taken, it must be able to note.
    """
    over = asyncio.Event()

    async def repeat(one: Callable[[], Coroutine[object, object, None]]) -> None:
        while not over.is_set():
            await one()

    async with asyncio.TaskGroup() as group:
        for one in rounds:
            group.create_task(repeat(one))
        yield
        over.set()


async def die_at(
    process: LocalProcess, name: str, prepare: Callable[[], object] = lambda: None
) -> None:
    """Kills the process, starts the process armed with a failpoint, and waits until it died of it."""
    await process.kill()
    prepare()
    await process.spawn({"SHOAL_FAILPOINT": name})
    try:
        async with asyncio.timeout(DEATH_SECONDS_MAX):
            code = await process.wait()
    except TimeoutError:
        raise AssertionError(f"{name} was not passed:\n{process.log_tail()}") from None
    assert code == -signal.SIGKILL, f"{name}: ended with {code}:\n{process.log_tail()}"


async def die_at_each(
    process: LocalProcess,
    names: Sequence[str],
    prepare: Callable[[str], Callable[[], object]] = lambda _: lambda: None,
) -> None:
    """Dies at one after the other, and starts again at the end; tells of all that were not passed."""
    missed: list[AssertionError] = []
    for name in names:
        try:
            await die_at(process, name, prepare(name))
        except AssertionError as error:
            missed.append(error)
    await process.kill()
    await process.start()
    if missed:
        raise ExceptionGroup(f"{len(missed)} of {len(names)} failpoints", missed)
