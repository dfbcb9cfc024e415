"""Cloud and agents are killed with SIGKILL, over and over, while events flow and a version is replaced.

What must hold at the end, whatever the seed: the set of event uids that the feeders made equals the set that the cloud
counted, once each, and every device runs the newest version. A red run prints its seed; SHOAL_CRASH_SEED replays its
choices, SHOAL_CRASH_KILLS sets how many kills there are; `make test-crash` takes 200.
"""

import asyncio
import os
import random
from pathlib import Path

import pytest

from cloud.fleet.process import LocalProcess
from tests.helpers.crash_fleet import Feeder, settled
from tests.helpers.local_fleet import Fleet, local_fleet

DEVICES = 2
KILLS = int(os.environ.get("SHOAL_CRASH_KILLS", "40"))
SEED = int(os.environ.get("SHOAL_CRASH_SEED", "20261123"))
# Of all kills; a cloud takes longer to come back than an agent.
CLOUD_SHARE = 0.15
# So many deaths come while the process is still starting, at any moment of the seconds that this takes.
STARTING_SHARE = 0.35
AGENT_START_SECONDS, CLOUD_START_SECONDS = 1.0, 3.0
MOMENT_SECONDS = 0.1


async def kill_over_and_over(
    process: LocalProcess, feeder: Feeder, kills: int, start_seconds: float, rng: random.Random
) -> None:
    """Kills at a random moment after further events, or in the middle of a start."""
    for left in range(kills, 0, -1):
        if left < kills and rng.random() < STARTING_SHARE:
            await process.spawn()
            await asyncio.sleep(rng.uniform(0, start_seconds))
        else:
            if process.returncode is not None:
                await process.start()
            await feeder.feed(rng.randint(1, 12))
            await asyncio.sleep(rng.uniform(0, MOMENT_SECONDS))
        assert process.returncode is None, f"it ended by itself:\n{process.log_tail()}"
        await process.kill()
    await process.start()


async def survive(fleet: Fleet, kills: int, rng: random.Random) -> None:
    """Publishes, kills while events flow and a second version goes out, and checks the end."""
    cloud_kills = round(kills * CLOUD_SHARE)
    agent_kills = (kills - cloud_kills) // DEVICES
    first = await fleet.publish(fleet.write_task("first"))
    second = await fleet.publish(fleet.write_task("second"))
    release = await fleet.release(first)

    async def everywhere() -> bool:
        return await fleet.installed(release) == DEVICES

    await fleet.until("the first version is everywhere", everywhere)
    feeders = [Feeder(agent, rng.getrandbits(32)) for agent in fleet.agents]
    victims = [(agent.process, agent_kills, AGENT_START_SECONDS) for agent in fleet.agents]
    victims.append((fleet.cloud.process, cloud_kills, CLOUD_START_SECONDS))
    async with asyncio.TaskGroup() as killing:
        for number, (process, times, seconds) in enumerate(victims):
            seeded = random.Random(rng.getrandbits(32))
            feeder = feeders[number % DEVICES]
            killing.create_task(kill_over_and_over(process, feeder, times, seconds, seeded))
        release = await fleet.release(second, key="the-second-release")
    await settled(fleet, feeders)
    await fleet.until("the second version is everywhere", everywhere)


@pytest.mark.slow
async def test_no_event_is_lost_or_repeated_under_kills(tmp_path: Path) -> None:
    print(f"seed {SEED}, {KILLS} kills")
    async with local_fleet(tmp_path, DEVICES) as fleet:
        await survive(fleet, KILLS, random.Random(SEED))
