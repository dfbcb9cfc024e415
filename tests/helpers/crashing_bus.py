"""A process that publishes, takes and acknowledges, and is killed at the failpoint named by SHOAL_FAILPOINT.

It says on stdout what it knows to be done, one line each: "published KEY", "acknowledged KEY".
"""

import asyncio
import os
import sys

from cloud.bus.embedded import EmbeddedBus
from cloud.bus.settings import BusSettings
from cloud.store.database import Database
from device_agent.clock import SystemClock
from device_agent.failpoint import arm_from_environment

TOPIC = "demo/app/digits/answer"
RECORDS = 12


async def main(url: str, first: int) -> None:
    database = await Database.open(url)
    settings = BusSettings(visibility_ms=0, acknowledged_keep_ms=0, trim_records_max=3)
    bus = EmbeddedBus(database, SystemClock(), settings)
    for number in range(first, first + RECORDS):
        await bus.publish(TOPIC, [(f"k{number}", b"")])
        sys.stdout.write(f"published k{number}\n")
        for record in await bus.take(TOPIC, "g", "c", limit=2, wait_ms=0):
            await bus.ack(record)
            sys.stdout.write(f"acknowledged {record.key}\n")
        sys.stdout.flush()
        await bus.trim()
    await database.close()


if __name__ == "__main__":
    arm_from_environment(os.environ)
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
