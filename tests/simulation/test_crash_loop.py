"""Seeded deaths of the agent at its durable steps, in one process, on the in-memory cloud.

A death is a SimulatedCrash at the n-th failpoint that is passed; from then on every failpoint raises, so nothing more
is committed. The agent is dropped and made again from what lies on disk. At the end the cloud has counted every event
that was fed, once for each task that listens, and the device holds what was released.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from device_agent import failpoint
from device_agent.agent.settings import AgentSettings
from device_agent.tasks.director import Action
from tests.helpers.devices import VirtualDevice, event
from tests.helpers.fake_cloud import FakeCloud
from tests.helpers.manual_clock import ManualClock

ROOT = Path(__file__).parents[2]
FIRST = "def on_event(event): emit('answer', b'1' + event.payload)"
SECOND = "def on_event(event): emit('answer', b'2' + event.payload)"
ASKING = "def on_event(event): emit('ask' if event.event_id == 1001 else 'answer', event.payload)"
YEAR_MS = 365 * 86_400_000
# Where a device's clock may jump to: 1970, ten years on, long ago, and about right.
JUMPS_MS = (0, 1_800_000_000_000 + 10 * YEAR_MS, 1_800_000_000_000 - 3 * YEAR_MS, 1_800_000_000_000)
SEEDS = [
    int(line)
    for line in (Path(__file__).parent / "seeds.txt").read_text().splitlines()
    if not line.startswith("#")
]
CRASHES_IN_ALL = 200


class SimulatedCrash(BaseException):
    """The process died here."""


class Reaper:
    """Ends the agent at a failpoint, by number or by name."""

    def __init__(self) -> None:
        self.crashed: Counter[str] = Counter()
        self.passed: Counter[str] = Counter()
        self._left: int | None = None
        self._name: str | None = None
        self._dead = False
        failpoint.arm(self._pass)

    def after(self, steps: int) -> None:
        """Dies at the failpoint that many steps on."""
        self._left, self._dead = steps, False

    def at(self, name: str) -> None:
        """Dies when it comes to this failpoint."""
        self._name, self._dead = name, False

    def revive(self) -> None:
        """After a death: the next one waits for the failpoint that was named, if it was not passed yet."""
        self._dead = False

    def spare(self) -> None:
        """Lives."""
        self._left, self._name, self._dead = None, None, False

    def _pass(self, name: str) -> None:
        if self._dead:
            raise SimulatedCrash(name)
        self.passed[name] += 1
        if self._left is not None:
            self._left -= 1
        if self._left == 0 or name == self._name:
            self.crashed[name] += 1
            self._left, self._name, self._dead = None, None, True
            raise SimulatedCrash(name)


@pytest.fixture
def reaper() -> Iterator[Reaper]:
    yield Reaper()
    failpoint.arm(None)


class World:
    """One device, one cloud, one seed."""

    def __init__(
        self, home: Path, reaper: Reaper, seed: int, *, crash_every: int, jumps: float = 0.0
    ) -> None:
        """`jumps` is the share of turns before which the device's wall clock jumps."""
        self.jumps = jumps
        self.random = Random(seed)
        self.reaper = reaper
        self.cloud = FakeCloud(ManualClock(), seed=seed)
        self.cloud.answers["ask"] = 1002
        self.cloud.loss = 0.05
        self.crash_every = crash_every
        self.fed: dict[int, set[str]] = {}
        self._next_uid = 1
        reaper.spare()
        # These deaths are no task's fault, however often they come in the middle of a run.
        settings = AgentSettings(retry_ms_max=2_000, deaths_max=1_000_000)
        self.device = VirtualDevice(
            self.cloud, home, clock=ManualClock(wall_ms=0), seed=seed, settings=settings
        )
        self._publish()

    def _publish(self) -> None:
        publish = self.cloud.publish
        publish("echo", 1, FIRST, triggers=[1001], concurrency=3)
        publish("echo", 2, SECOND, triggers=[1001], resources={"model.bin": b"m" * 5000})
        publish("echo", 3, "raise SystemError", triggers=[1001])
        replies = {"ask": 1002}
        publish("ask", 1, ASKING, triggers=[1001], emit=("answer", "ask"), replies=replies)

    async def survive(self, step: Callable[[], Awaitable[None]]) -> None:
        """Runs a step to its end, however often the agent dies in it."""
        while True:
            if self.crash_every:
                self.reaper.after(self.random.randint(1, self.crash_every))
            try:
                await step()
            except BaseException as error:
                if not is_crash(error):
                    raise
                self._restart()
            else:
                return

    def _restart(self) -> None:
        self.device.core.close()
        while True:
            if self.crash_every:
                self.reaper.after(self.random.randint(1, self.crash_every))
            else:
                self.reaper.revive()
            try:
                self.device.reborn()
            except SimulatedCrash:
                continue
            return

    async def feed(self, count: int) -> None:
        """Feeds new events; after a death the same events are fed again, as a feeder would."""
        numbers = range(self._next_uid, self._next_uid + count)
        self._next_uid += count
        known = self.device.core.store.held.tasks()
        listeners = {task for task, row in known.items() if row.version}
        for number in numbers:
            self.fed[number] = listeners

        async def step() -> None:
            answers = self.device.core.feed([event(number) for number in numbers])
            assert {answer.status for answer in answers} <= {"accepted", "duplicate"}

        await self.survive(step)

    async def turns(self, count: int) -> None:
        for _ in range(count):
            if self.random.random() < self.jumps:
                self.device.clock.set_wall_ms(self.random.choice(JUMPS_MS))
            await self.survive(self.device.core_turn)
            self.device.clock.advance_ms(700)

    async def until(self, holds: Callable[[], bool]) -> None:
        for _ in range(400):
            if holds():
                return
            await self.turns(1)
        raise AssertionError("the agent does not get there")

    def holds(self, task: str) -> int:
        row = self.device.core.store.held.tasks().get(task)
        return row.version if row is not None and row.python_tag else 0

    async def damage_and_heal(self) -> None:
        """The bytecode of what runs is cut on disk; the agent asks for it again."""
        row = self.device.core.store.held.tasks()["echo"]
        (folder,) = (self.device.home / "bundles/echo").glob(f"{row.digest[7:]}*")
        (folder / "code.bin").write_bytes(b"cut")
        self._restart()
        await self.feed(1)
        await self.until(lambda: self.holds("echo") == row.version)
        await self.turns(3)

    async def expire(self) -> None:
        """The document ends while something is wanted and the cloud is away."""
        self.cloud.offline = True
        self.device.clock.advance_ms(self.cloud.validity_ms + 1)
        await self.turns(3)
        self.cloud.offline = False

    async def forget_reports(self) -> None:
        """The cloud is restored from an old backup: it waits for reports that it had acknowledged."""
        await self.until(lambda: not self.device.core.store.held.agent().reports_open)
        boots = len(self.device.known.report_marks)
        self.device.known.report_marks.clear()
        await self.feed(3)
        await self.until(lambda: len(self.device.known.report_marks) == boots)


def is_crash(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(is_crash(inner) for inner in error.exceptions)
    return isinstance(error, SimulatedCrash)


async def life(world: World) -> None:
    """What a device goes through, in the order in which it may happen."""
    cloud = world.cloud
    cloud.release("echo", 1)
    await world.until(lambda: world.holds("echo") == 1)
    await world.feed(5)
    await world.turns(2)
    cloud.release("ask", 1)
    cloud.release("echo", 2)
    await world.feed(4)
    await world.until(lambda: (world.holds("echo"), world.holds("ask")) == (2, 1))
    await world.feed(6)
    await world.turns(1)
    await world.damage_and_heal()
    cloud.release("echo", 1, Action.ROLL_BACK)
    await world.feed(3)
    await world.until(lambda: world.holds("echo") == 1)
    cloud.tampered = dict.fromkeys([file.digest for file in cloud.versions["echo", 3].files], b"?")
    cloud.release("echo", 3)
    await world.until(lambda: any(ack.outcome == 4 for ack in world.device.known.acks))
    await world.expire()
    await world.feed(4)
    cloud.tampered.clear()
    cloud.release("echo", 2)
    await world.until(lambda: world.holds("echo") == 2)
    await world.forget_reports()


async def settle(world: World) -> None:
    """No more deaths or losses: everything that is open comes to its end."""
    world.crash_every, world.jumps = 0, 0.0
    world.reaper.spare()
    world.cloud.loss = 0.0
    store = world.device.core.store

    def settled() -> bool:
        agent = store.held.agent()
        return not (agent.events_open or agent.reports_open or store.outbox.ack_count())

    await world.until(settled)
    await world.turns(2)


def check(world: World) -> None:
    """Every event once for every task that listened when it was fed; what is held is what was released."""
    known = world.device.known
    counted: Counter[tuple[bytes, str]] = Counter()
    for (uid, task, _), times in known.runs.items():
        counted[(uid, task)] += times
    fed = {(event(number).uid, task) for number, tasks in world.fed.items() for task in tasks}
    asked = {report.event_uid for report in known.emits if report.topic == "ask"}
    fed_counts = {key: times for key, times in counted.items() if key in fed}
    assert set(fed_counts) == fed
    assert set(counted.values()) == {1}
    # Besides the events that were fed, the task saw one answer for each question.
    assert len(counted) - len(fed) == len(asked)
    assert known.outcomes == {"ok": len(counted)}
    assert len(known.emits) == len(counted)
    assert (world.holds("echo"), world.holds("ask")) == (2, 1)
    assert not any(path.is_file() for path in (world.device.home / "staging").rglob("*"))
    assert {notice.code for notice in known.notices} == {"CLOCK_MENDED", "DIRECTOR_EXPIRED"}


async def run_life(
    home: Path, reaper: Reaper, seed: int, *, crash_every: int, jumps: float = 0.0
) -> World:
    world = World(home, reaper, seed, crash_every=crash_every, jumps=jumps)
    try:
        async with asyncio.timeout(50):
            await life(world)
            await settle(world)
            world.device.core.installer.clean_up()
            check(world)
    finally:
        world.device.core.close()
    return world


@pytest.mark.slow
async def test_200_seeded_deaths_lose_nothing_and_repeat_nothing(
    tmp_path: Path, reaper: Reaper
) -> None:
    for seed in SEEDS:
        try:
            await run_life(tmp_path / str(seed), reaper, seed, crash_every=40)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
    assert reaper.crashed.total() >= CRASHES_IN_ALL


@pytest.mark.slow
@pytest.mark.parametrize("crash_every", [0, 60], ids=["alive", "dying"])
async def test_a_clock_that_jumps_loses_nothing_and_repeats_nothing(
    tmp_path: Path, reaper: Reaper, crash_every: int
) -> None:
    """To 1970, ten years on and back again, with and without deaths between."""
    for seed in SEEDS[::4]:
        try:
            home = tmp_path / str(seed)
            world = await run_life(home, reaper, seed, crash_every=crash_every, jumps=0.1)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        assert abs(world.device.core.clock.wall_ms() - world.cloud.clock.wall_ms()) < YEAR_MS


@pytest.mark.slow
async def test_a_death_at_each_failpoint_of_the_agent(tmp_path: Path, reaper: Reaper) -> None:
    names = {
        name
        for path in (ROOT / "device_agent/agent").rglob("*.py")
        for name in re.findall(r'failpoint\("(agent\.[a-z_.]+)"\)', path.read_text())
    } - PROCESS_ONLY
    for number, name in enumerate(sorted(names)):
        world = World(tmp_path / str(number), reaper, 1000 + number, crash_every=0)
        try:
            reaper.at(name)
            await life(world)
            await settle(world)
            check(world)
        except BaseException as error:
            error.add_note(f"failpoint {name}")
            raise
        finally:
            reaper.spare()
            world.device.core.close()
    assert set(reaper.crashed) >= names


# Passed only by a real process (loop.py, main.py), or by a device that forgets everything; tests/e2e kills those.
PROCESS_ONLY = frozenset({"agent.loop.started", "agent.store.set_aside", "agent.worn.noted"})
