"""kill -9 at every durable step of the embedded bus: nothing published is lost, nothing acknowledged returns."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from cloud.bus.embedded import EmbeddedBus
from cloud.bus.settings import BusSettings
from cloud.store.database import Database
from device_agent.clock import SystemClock
from tests.helpers.crashing_bus import RECORDS, TOPIC

ROOT = Path(__file__).parents[3]
PLACES = [
    "bus.publish.before_commit:4",
    "bus.publish.committed:4",
    "bus.take.before_commit:3",
    "bus.ack.before_commit:5",
    "bus.ack.committed:5",
    "bus.trim.before_commit:2",
]


async def run(url: str, first: int, failpoint: str) -> tuple[int, set[str], set[str]]:
    """Exit code, and the keys that the process said were published and acknowledged."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.helpers.crashing_bus",
        url,
        str(first),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "SHOAL_FAILPOINT": failpoint},
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    said = [line.split() for line in out.decode().splitlines()]
    assert process.returncode is not None
    return (
        process.returncode,
        {key for what, key in said if what == "published"},
        {key for what, key in said if what == "acknowledged"},
    )


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
async def test_after_a_kill_the_next_process_goes_on(migrated_sqlite_url: str, place: str) -> None:
    code, published, acknowledged = await run(migrated_sqlite_url, 0, place)
    assert code == -signal.SIGKILL
    code, published_later, acknowledged_later = await run(migrated_sqlite_url, 100, "")
    assert code == 0
    database = await Database.open(migrated_sqlite_url)
    bus = EmbeddedBus(database, SystemClock(), BusSettings(visibility_ms=0))
    try:
        while rest := await bus.take(TOPIC, "g", "c", limit=9, wait_ms=0):
            await bus.ack(*rest)
            assert not {record.key for record in rest} & acknowledged
            acknowledged_later |= {record.key for record in rest}
        assert await bus.take(TOPIC, "g", "c", limit=9, wait_ms=0) == []
    finally:
        await database.close()
    assert len(published_later) == RECORDS
    # What the killed process was about to say may have happened too.
    done = acknowledged | acknowledged_later
    assert len((published | published_later) - done) <= (place.startswith("bus.ack.committed"))
