"""PostgreSQL, Redis and the cloud on them are killed with SIGKILL while the job goes on: nothing lost, nothing twice.

A server comes back on its data; the cloud that runs on it stays up and goes on by itself. This takes minutes:
`make test-crash` runs it.
"""

import asyncio
import os
import random
from pathlib import Path

import pytest

from tests.helpers.crash_job import Job, die_at_each, going_on, job_on
from tests.helpers.mortal_servers import MortalServer, mortal_postgres, mortal_redis

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.environ.get("SHOAL_CRASH_FAILPOINTS") != "all",
        reason="minutes: `make test-crash` kills PostgreSQL and Redis",
    ),
]
SEED = int(os.environ.get("SHOAL_CRASH_SEED", "20261125"))
SERVER_KILLS = 3
OUTAGE_SECONDS = 0.5
# Where the bus and the database are two: what is published may be published again, and is counted once.
CLOUD_NAMES = (
    "telemetry.ingest.published",
    "bus.redis_publish.answered",
    "telemetry.ingest.before_commit",
    "telemetry.ingest.committed",
    "telemetry.reply.before_forget",
    "registry.publish.signed",
    "rollout.step.written",
    "gateway.ack.before_commit",
    "store.transaction.committed",
)
CONSUMER_NAMES = (
    "telemetry.consume.before_commit",
    "telemetry.consume.committed",
    "bus.redis_publish.answered",
    "bus.redis_ack.answered",
)


async def outages(job: Job, server: MortalServer, rng: random.Random) -> None:
    """Kills a server after some events, leaves it away for a moment, and starts it on its data."""
    for _ in range(SERVER_KILLS):
        await job.feeder.feed(rng.randint(2, 9))
        await asyncio.sleep(rng.uniform(0, 0.2))
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(rng.uniform(0, OUTAGE_SECONDS))
        await asyncio.to_thread(server.start)


async def test_killed_servers_and_clouds_lose_nothing_and_repeat_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(SEED)
    with mortal_postgres() as postgres, mortal_redis() as redis:
        urls = {"database_url": postgres.url, "bus_url": redis.url}
        async with job_on(tmp_path, monkeypatch, **urls) as job:
            cloud = job.fleet.cloud.process
            async with going_on(job.operate, job.feed):
                await die_at_each(cloud, CLOUD_NAMES)
                await die_at_each(job.consumer, CONSUMER_NAMES)
                pid = cloud.pid
                for server in rng.sample((postgres, redis), 2):
                    await outages(job, server, rng)
                    assert cloud.returncode is None, cloud.log_tail()
            await job.end()
            assert (cloud.pid, cloud.returncode) == (pid, None), cloud.log_tail()
            assert job.consumer.returncode is None, job.consumer.log_tail()
    assert (postgres.kills, redis.kills) == (SERVER_KILLS + 1, SERVER_KILLS + 1)
