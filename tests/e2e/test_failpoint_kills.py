"""Every failpoint ends a real process once, with SIGKILL; the next process goes on, and every count is exact.

The job that goes on meanwhile: events are fed, counted, answered by a consumer, and the answers run as events; versions
are published and released; tokens are made, a kill switch is set and cleared. A process that died at one failpoint is
started again armed with the next, so that what it left lies before it.

The everyday run takes a sample, which SHOAL_CRASH_SEED chooses; SHOAL_CRASH_FAILPOINTS=all (`make test-crash`) takes
every failpoint.
"""

import contextlib
import os
import random
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from cloud.fleet.local import LocalAgent, LocalCloud, command_of
from cloud.fleet.process import LocalProcess
from tests.helpers.crash_job import SIDE_TASK, die_at, die_at_each, going_on, job_on
from tests.helpers.failpoint_kills import KILLED_IN
from tests.helpers.local_fleet import NAMESPACE, PATIENT, TASK, Fleet, local_fleet

pytestmark = pytest.mark.slow
SEED = int(os.environ.get("SHOAL_CRASH_SEED", "20261126"))
SAMPLES = {"agent": 3, "cloud": 3, "consumer": 1}
long_form = pytest.mark.skipif(
    os.environ.get("SHOAL_CRASH_FAILPOINTS") != "all",
    reason="minutes: `make test-crash` kills at every failpoint, the everyday run at a sample",
)
# --- the agent --------------------------------------------------------------------------------------------------


# Only when the cloud has everything: what it forgets, it would count again; what the device forgets is gone.
AFTER_ALL = ("agent.tunnel.renumbered", "agent.store.set_aside")
AGENT_NAMES = [name for name in KILLED_IN["agent"] if name not in AFTER_ALL]


class Before:
    """What must lie in the home of a dead agent so that its next life comes to a failpoint."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def of(self, name: str) -> Callable[[], object]:
        found: dict[str, Callable[[], object]] = {
            "trust.director_keys.written": self._forget_director_keys,
            "agent.run.broken": self._cut_bytecode,
            "agent.sync.clock_mended": lambda: self._sql("clock_offset_ms = 315360000000"),
            "agent.expiry.told": lambda: self._sql("document_expires_at_ms = 1, expiry_told = 0"),
        }
        return found.get(name, lambda: None)

    def opt_out(self) -> None:
        """The owner of the device does not want the side task: its installation is put off, again and again."""
        self._write(f"INSERT INTO opted_out (task) VALUES ('{SIDE_TASK}')")

    def damage(self) -> None:
        """Its database is no database any more."""
        (self._home / "agent.db").write_bytes(b"not a database " * 4096)

    async def has_task(self) -> bool:
        """Whether its events find the task."""
        with contextlib.closing(sqlite3.connect(self._home / "agent.db", timeout=30)) as connection:
            query = "SELECT count(*) FROM triggers WHERE task = ?"
            (found,) = connection.execute(query, (TASK,)).fetchone()
        return bool(found)

    def _sql(self, change: str) -> None:
        self._write(f"UPDATE agent SET {change}")

    def _write(self, statement: str) -> None:
        with contextlib.closing(sqlite3.connect(self._home / "agent.db")) as connection:
            connection.execute(statement)
            connection.commit()

    def _forget_director_keys(self) -> None:
        (self._home / "tuf" / "director-keys.json").unlink()

    def _cut_bytecode(self) -> None:
        for path in (self._home / "bundles" / TASK).glob("*/code.bin"):
            path.write_bytes(b"cut")


def forget_reports(fleet: Fleet) -> None:
    """The cloud comes from an old backup: it does not know what it has acknowledged."""
    path = fleet.cloud.home / "shoal.db"
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection:
        connection.execute("DELETE FROM device_streams WHERE stream = 'report'")
        connection.commit()


@long_form
async def test_the_agent_is_killed_at_each_failpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with job_on(tmp_path, monkeypatch) as job:
        before = Before(job.agent.home)
        await job.agent.process.kill()
        before.opt_out()
        await job.publish_and_release(SIDE_TASK)
        async with going_on(job.operate, job.feed):
            await die_at_each(job.agent.process, AGENT_NAMES, before.of)
        await job.end()
        forget_reports(job.fleet)
        async with going_on(job.feed):
            await die_at(job.agent.process, "agent.tunnel.renumbered")
            await job.agent.process.start()
        await job.end()
        await die_at(job.agent.process, "agent.store.set_aside", before.damage)
        await job.agent.process.start()
        # What comes before a device has a task again, no task wants.
        await job.fleet.until("the task is there again", before.has_task)
        await job.end()


@long_form
async def test_enrolment_is_killed_at_each_failpoint(tmp_path: Path) -> None:
    async with local_fleet(tmp_path / "fleet", devices=1) as fleet:
        cloud = fleet.cloud
        body: dict[str, object] = {"attributes": {}, "valid_for_s": 600, "count": 1}
        code = (await fleet.post("/enrolment-tokens", body))["items"][0]["code"]
        late = LocalAgent(tmp_path / "late")
        words = [command_of("shoal-agent"), "enrol", "--home", str(late.home), "--code", code]
        enrolling = LocalProcess(words, log=tmp_path / "late.log", ready=lambda _: True)
        for name in KILLED_IN["enrolment"]:
            await die_at(enrolling, name)
        await cloud.process.kill()
        await cloud.process.start({"SHOAL_FAILPOINT": "keys.enrol.before_commit"})
        (late.home / "identity" / "identity.json").unlink(missing_ok=True)
        await enrolling.spawn()
        assert await enrolling.wait() == 4, enrolling.log_tail()
        assert await cloud.process.wait() == -signal.SIGKILL
        await cloud.process.start()
        await late.enrol(code)
        await late.process.start()

        async def both() -> bool:
            devices = await fleet.patiently(lambda: fleet.get("/devices"))
            return len(devices["items"]) == 2

        await fleet.until("two devices are known, each once", both)
        await late.process.kill()


# --- the cloud --------------------------------------------------------------------------------------------------


# The other one is passed when a device enrols.
CLOUD_NAMES = [name for name in KILLED_IN["cloud"] if name != "keys.enrol.before_commit"]


def before(fleet: Fleet, name: str) -> Callable[[], object]:
    """What must lie in the database of a dead cloud so that its next life comes to a failpoint."""

    def old_record() -> None:
        change = "INSERT INTO bus_log (topic, key, payload, at_ms) VALUES ('demo/fleet/old/old', 'k', x'', 0)"
        with contextlib.closing(sqlite3.connect(fleet.cloud.home / "shoal.db", timeout=30)) as db:
            db.execute(change)
            db.commit()

    return old_record if name == "bus.trim.before_commit" else lambda: None


@long_form
async def test_the_cloud_is_killed_at_each_failpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with job_on(tmp_path, monkeypatch) as job:
        async with going_on(job.operate, job.feed):
            await die_at_each(
                job.fleet.cloud.process, CLOUD_NAMES, lambda name: before(job.fleet, name)
            )
        await job.end()


@long_form
async def test_the_first_start_is_killed_at_each_failpoint(tmp_path: Path) -> None:
    cloud = LocalCloud(tmp_path / "cloud", namespace=NAMESPACE, settings=PATIENT)
    for name in KILLED_IN["first start"]:
        await die_at(cloud.process, name)
    try:
        await cloud.process.start()
        fleet = Fleet(tmp_path, devices=0)
        assert (await fleet.get("/tasks"))["items"] == []
        left = [path.name for path in cloud.home.rglob(".*")]
        assert left == [], "secrets that nobody uses must not stay"
    finally:
        await cloud.process.kill()


@long_form
async def test_a_consumer_is_killed_at_each_failpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with job_on(tmp_path, monkeypatch) as job:
        async with going_on(job.feed):
            await die_at_each(job.consumer, KILLED_IN["consumer"])
        await job.end()


# --- a sample of all --------------------------------------------------------------------------------------------


async def test_agent_cloud_and_consumer_are_killed_at_a_sample_of_the_failpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    async with job_on(tmp_path, monkeypatch) as job:
        agent_home, cloud = Before(job.agent.home), job.fleet.cloud.process
        await job.agent.process.kill()
        agent_home.opt_out()
        await job.publish_and_release(SIDE_TASK)
        async with going_on(job.operate, job.feed):
            chosen = rng.sample(AGENT_NAMES, SAMPLES["agent"])
            await die_at_each(job.agent.process, chosen, agent_home.of)
            chosen = rng.sample(CLOUD_NAMES, SAMPLES["cloud"])
            await die_at_each(cloud, chosen, lambda name: before(job.fleet, name))
            await die_at_each(job.consumer, rng.sample(KILLED_IN["consumer"], SAMPLES["consumer"]))
        await job.end()
