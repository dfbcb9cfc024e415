"""Cloud and agents are killed with SIGKILL, over and over, while events flow and a version is replaced.

What must hold at the end, whatever the seed: the set of event uids that the feeders made equals the set that the cloud
counted, once each, and every device runs the newest version. A red run prints its seed; SHOAL_CRASH_SEED replays its
choices, SHOAL_CRASH_KILLS sets how many kills there are; `make test-crash` takes 200.
"""

import asyncio
import os
import random
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa
from shoal_task import Event

from cloud.fleet.local import LocalAgent
from cloud.fleet.process import LocalProcess
from cloud.store.database import Database
from cloud.store.tables import bus_log
from cloud.telemetry.records import decode_record, topic_of
from device_agent.events.errors import FeederUnreachable
from device_agent.events.feeder import FeederClient
from tests.helpers.local_fleet import EVENT, NAMESPACE, TASK, TOPIC, Fleet, local_fleet

DEVICES = 2
KILLS = int(os.environ.get("SHOAL_CRASH_KILLS", "40"))
SEED = int(os.environ.get("SHOAL_CRASH_SEED", "20261123"))
# Of all kills; a cloud takes longer to come back than an agent.
CLOUD_SHARE = 0.2
BATCH = 3
PAUSE_SECONDS = 0.02


class Feeder:
    """Feeds one device for as long as it is told to, through every death of its agent."""

    def __init__(self, agent: LocalAgent, seed: int) -> None:
        self._agent = agent
        self._random = random.Random(seed)
        self.accepted: set[bytes] = set()
        self.grew = asyncio.Condition()
        self.enough = False

    async def run(self) -> None:
        batch: list[Event] = []
        while not (self.enough and not batch):
            if not batch:
                uids = [self._random.randbytes(16) for _ in range(BATCH)]
                batch = [Event(EVENT, b"some text", uid=uid) for uid in uids]
            try:
                answers = await asyncio.to_thread(self._feed, batch)
            except FeederUnreachable:
                await asyncio.sleep(PAUSE_SECONDS)  # the agent is dead; the same events again
                continue
            taken = {one.uid for one, said in zip(batch, answers, strict=True) if said != "refused"}
            batch = [event for event in batch if event.uid not in taken]
            async with self.grew:
                self.accepted |= taken
                self.grew.notify_all()
            await asyncio.sleep(PAUSE_SECONDS)

    async def until(self, accepted: int) -> None:
        """Waits until so many events were accepted."""
        async with asyncio.timeout(120), self.grew:
            await self.grew.wait_for(lambda: len(self.accepted) >= accepted)

    def _feed(self, batch: list[Event]) -> list[str]:
        with FeederClient(self._agent.socket) as client:
            return [answer.status for answer in client.feed(batch)]


async def kill_over_and_over(
    process: LocalProcess, feeder: Feeder, kills: int, rng: random.Random
) -> None:
    """Kills after a random number of further events, and starts again."""
    for _ in range(kills):
        wanted = len(feeder.accepted) + rng.randint(1, 12)
        await feeder.until(wanted)
        await process.kill()
        await process.start()


async def counted(fleet: Fleet) -> Counter[bytes]:
    """Uids of the events whose results lie on the cloud's bus."""
    database = await Database.open(fleet.cloud.database_url)
    try:
        topic = topic_of(NAMESPACE, TASK, TOPIC)
        async with database.read() as connection:
            rows = await connection.scalars(
                sa.select(bus_log.c.payload).where(bus_log.c.topic == topic)
            )
            return Counter(decode_record(payload).event_uid for payload in rows)
    finally:
        await database.close()


@pytest.mark.slow
async def test_no_event_is_lost_or_repeated_under_kills(tmp_path: Path) -> None:
    print(f"seed {SEED}, {KILLS} kills")
    rng = random.Random(SEED)
    cloud_kills = round(KILLS * CLOUD_SHARE)
    agent_kills = (KILLS - cloud_kills) // DEVICES
    async with local_fleet(tmp_path, DEVICES) as fleet:
        first = await fleet.publish(fleet.write_task("first"))
        second = await fleet.publish(fleet.write_task("second"))
        release = await fleet.release(first)

        async def everywhere() -> bool:
            return await fleet.installed(release) == DEVICES

        await fleet.until("the first version is everywhere", everywhere)
        feeders = [Feeder(agent, rng.getrandbits(32)) for agent in fleet.agents]
        async with asyncio.TaskGroup() as feeding:
            for feeder in feeders:
                feeding.create_task(feeder.run())
            async with asyncio.TaskGroup() as killing:
                for agent, feeder in zip(fleet.agents, feeders, strict=True):
                    seeded = random.Random(rng.getrandbits(32))
                    killing.create_task(
                        kill_over_and_over(agent.process, feeder, agent_kills, seeded)
                    )
                seeded = random.Random(rng.getrandbits(32))
                killing.create_task(
                    kill_over_and_over(fleet.cloud.process, feeders[0], cloud_kills, seeded)
                )
                release = await fleet.release(second, key="the-second-release")
            for feeder in feeders:
                feeder.enough = True
        fed = feeders[0].accepted | feeders[1].accepted

        async def all_counted() -> bool:
            return (await counted(fleet)).keys() >= fed

        await fleet.until("every event is counted", all_counted)
        await fleet.until("the second version is everywhere", everywhere)
        found = await counted(fleet)
    assert found.keys() == fed
    assert set(found.values()) == {1}
