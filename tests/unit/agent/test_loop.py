"""The loops in real time on the in-memory cloud: from release to report without a hand, and a clean stop."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from device_agent.agent.conditions import Conditions, FixedConditions
from device_agent.agent.core import AgentCore
from device_agent.agent.loop import AgentLoop, wait
from device_agent.agent.settings import AgentSettings
from device_agent.clock import SystemClock
from device_agent.events.feeder import FeederClient
from device_agent.events.server import FeederServer
from tests.helpers.devices import event
from tests.helpers.fake_cloud import FakeCloud, FakeDevice, facts
from tests.helpers.fake_pool import FakePool
from tests.helpers.odd_pools import SlowPool

pytestmark = pytest.mark.slow
ECHO = "def on_event(event): emit('answer', event.payload)"
SETTINGS = AgentSettings(hurry_ms_max=20, tunnel_idle_ms=200, retry_ms_min=20, drain_ms_max=2_000)


class Agent:
    """A core, its loop and the task that runs it."""

    def __init__(self, cloud: FakeCloud, home: Path, pool: FakePool | None = None) -> None:
        self.known: FakeDevice = cloud.enrol()
        self.socket = home / "agent.sock"
        self.stop = asyncio.Event()
        self.upkeeps = 0
        conditions = FixedConditions(Conditions())
        from random import Random

        self.core = AgentCore(
            home=home,
            link=self.known.link,
            supply=self.known.supply,
            pool=pool or FakePool(),
            clock=SystemClock(),
            random=Random(1),
            facts=facts(),
            settings=SETTINGS,
        )
        server = FeederServer(self.socket, self.core)
        self.loop = AgentLoop(self.core, server=server, conditions=conditions, upkeep=self._keep_up)
        self.task = asyncio.create_task(self.loop.run(self.stop))

    async def _keep_up(self) -> None:
        self.upkeeps += 1

    async def until(self, holds: Callable[[], bool], within_s: float = 60.0) -> None:
        async with asyncio.timeout(within_s):
            while not holds():
                assert not self.task.done(), self.task
                await asyncio.sleep(0.005)

    async def end(self) -> None:
        self.stop.set()
        await asyncio.wait_for(self.task, 10)
        self.core.close()


@pytest.fixture
def cloud() -> FakeCloud:
    cloud = FakeCloud(SystemClock())
    cloud.next_sync_after_ms = 100
    cloud.publish("echo", 1, ECHO, triggers=[1001])
    cloud.publish("echo", 2, ECHO + "  #", triggers=[1001])
    return cloud


@pytest.fixture
async def agent(cloud: FakeCloud, tmp_path: Path) -> AsyncIterator[Agent]:
    agent = Agent(cloud, tmp_path)
    yield agent
    if not agent.task.done():
        await agent.end()


async def test_from_release_to_report_through_the_real_socket(
    cloud: FakeCloud, agent: Agent
) -> None:
    cloud.release("echo", 1)
    await agent.until(lambda: any(ack.outcome == 2 for ack in agent.known.acks))

    def feed() -> None:
        with FeederClient(agent.socket) as feeder:
            feeder.feed([event(number) for number in range(50)])

    await asyncio.to_thread(feed)
    await agent.until(lambda: len(agent.known.emits) == 50)
    cloud.release("echo", 2)
    await agent.until(lambda: agent.known.installed.get("echo", (0, 0))[0] == 2)
    assert agent.upkeeps >= 1
    await agent.end()
    assert not agent.socket.exists()


async def test_a_cloud_that_comes_back_hears_everything(cloud: FakeCloud, agent: Agent) -> None:
    cloud.release("echo", 1)
    await agent.until(lambda: any(ack.outcome == 2 for ack in agent.known.acks))
    cloud.offline = True
    agent.core.feed([event(number) for number in range(5)])
    await agent.until(lambda: agent.core.store.held.agent().reports_open == 10)
    await agent.until(lambda: agent.core.syncer.last_error != "")
    cloud.offline = False
    await agent.until(lambda: agent.core.store.held.agent().reports_open == 0)
    assert set(agent.known.runs.values()) == {1}


async def test_answers_come_while_the_stream_is_open(cloud: FakeCloud, tmp_path: Path) -> None:
    source = "def on_event(event): emit('ask' if event.event_id == 1 else 'answer', event.payload)"
    cloud.answers["ask"] = 2
    cloud.publish("ask", 1, source, triggers=[1], emit=("ask", "answer"), replies={"ask": 2})
    cloud.release("ask", 1)
    agent = Agent(cloud, tmp_path)
    await agent.until(lambda: any(ack.outcome == 2 for ack in agent.known.acks))
    agent.core.feed([event(1, event_id=1)])
    await agent.until(lambda: [report.topic for report in agent.known.emits] == ["ask", "answer"])
    await agent.end()


async def test_stopping_lets_a_run_finish_and_says_the_rest(
    cloud: FakeCloud, tmp_path: Path
) -> None:
    pool = SlowPool()
    cloud.release("echo", 1)
    agent = Agent(cloud, tmp_path, pool)
    await agent.until(lambda: any(ack.outcome == 2 for ack in agent.known.acks))
    agent.core.feed([event(1)])
    await asyncio.wait_for(pool.begun.wait(), 5)
    agent.stop.set()
    await asyncio.sleep(0)
    pool.release.set()
    await agent.end()
    assert sum(agent.known.runs.values()) == 1


async def test_an_error_that_nobody_expected_ends_the_process(
    cloud: FakeCloud, tmp_path: Path
) -> None:
    agent = Agent(cloud, tmp_path)
    await agent.until(lambda: agent.known.facts_seen != [])
    agent.core.store.close()
    with pytest.raises(ExceptionGroup):
        await asyncio.wait_for(agent.task, 10)


async def test_waiting_takes_a_signal_back_or_gives_up() -> None:
    signal = asyncio.Event()
    started = time.monotonic()
    assert not await wait(signal, 10)
    assert time.monotonic() - started >= 0.01
    signal.set()
    assert await wait(signal, None)
    assert not signal.is_set()
