"""A business's process that answers what devices count: python -m tests.helpers.crash_consumer DATABASE BUS.

Each record's answer and "consumed" commit together; then the answer is given a second time, as a process would that
does not know whether it did, and the key goes to a topic of its own. SHOAL_FAILPOINT ends it where it says.
"""

import asyncio
import os
import sys
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.bus.interface import Bus
from cloud.bus.opening import open_bus
from cloud.bus.settings import BusSettings
from cloud.store.database import Database
from cloud.telemetry.consumer import Consumer, Delivery
from cloud.telemetry.exactly_once import ExactlyOnce
from cloud.telemetry.records import EmitRecord, topic_of
from cloud.telemetry.replies import ReplyHub, ReplyService, reply_id_for
from cloud.telemetry.settings import TelemetrySettings
from device_agent.clock import SystemClock
from device_agent.errors import ShoalError
from device_agent.failpoint import arm_from_environment

NAMESPACE, TASK, ASKED, DONE = "demo/fleet", "counter", "counted", "done"
GROUP = "answers"
REPLY_EVENT = 1002
# What a killed consumer was handed comes again soon.
VISIBILITY_MS = 1_000
AGAIN_SECONDS = 0.2


class Answerer:
    """Answers each record."""

    def __init__(self, database: Database, bus: Bus) -> None:
        clock = SystemClock()
        topic = topic_of(NAMESPACE, TASK, ASKED)
        self._once = ExactlyOnce(database, clock, topic=topic, group=GROUP)
        self._replies = ReplyService(database, clock, TelemetrySettings(), ReplyHub())
        self._bus = bus

    async def answer(self, delivery: Delivery) -> None:
        """Answers one record, twice."""
        record, answer_id = delivery.record, reply_id_for(GROUP, delivery.key)

        async def work(connection: AsyncConnection, records: Sequence[EmitRecord]) -> None:
            for one in records:
                await self._replies.reply_in(
                    connection,
                    NAMESPACE,
                    one.device,
                    TASK,
                    REPLY_EVENT,
                    one.event_uid,
                    one.event_uid,
                    answer_id,
                )

        again = (REPLY_EVENT, record.event_uid, record.event_uid, answer_id)
        await self._replies.reply(NAMESPACE, record.device, TASK, *again)
        await self._bus.publish(topic_of(NAMESPACE, TASK, DONE), [(delivery.key, record.event_uid)])
        await self._once.apply([delivery], work)


async def serve(database_url: str, bus_url: str) -> None:
    """Answers until something is away."""
    database = await Database.open(database_url)
    try:
        settings = BusSettings(visibility_ms=VISIBILITY_MS)
        bus = await open_bus(bus_url, database, SystemClock(), settings)
        answerer = Answerer(database, bus)
        name = f"worker-{os.getpid()}"
        consumer = Consumer(
            bus, namespace=NAMESPACE, task=TASK, topic=ASKED, group=GROUP, name=name
        )
        async for delivery in consumer:
            await answerer.answer(delivery)
    finally:
        await database.close()


async def main(database_url: str, bus_url: str) -> None:
    """Answers until it is killed; begins anew when a server was away."""
    while True:
        try:
            await serve(database_url, bus_url)
        except ShoalError as error:
            sys.stderr.write(f"{error.code}: {error}\n")
            await asyncio.sleep(AGAIN_SECONDS)


if __name__ == "__main__":
    arm_from_environment(os.environ)
    asyncio.run(main(sys.argv[1], sys.argv[2]))
