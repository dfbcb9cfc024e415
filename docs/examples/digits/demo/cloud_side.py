"""The operator's own code in the cloud: answers escalations, and keeps the score.

Rules of this module:

- It meets the control plane at the bus and at the replies only, as any consumer would.
- The scoreboard reads each record at least once; what it keeps is by uid, so a record that comes again changes nothing
  but the count of repetitions it is there to make: records are told apart by their report's key.
"""

import asyncio

from cloud.bus.opening import open_bus
from cloud.store.database import Database
from cloud.telemetry.consumer import Consumer
from cloud.telemetry.replies import ReplyHub, ReplyService
from cloud.telemetry.settings import TelemetrySettings
from device_agent.clock import SystemClock
from docs.examples.digits.demo.story import NAMESPACE, TASK, Demo
from docs.examples.digits.recognise import GROUP, Answerer, Recogniser


async def cloud_side(demo: Demo) -> None:
    """Answers and counts until it is cancelled."""
    clock = SystemClock()
    database = await Database.open(demo.cloud.database_url)
    bus = await open_bus("embedded:", database, clock)
    replies = ReplyService(database, clock, TelemetrySettings(), ReplyHub())
    answerer = Answerer(Recogniser(demo.cloud_model()), replies, NAMESPACE)

    def consumer(topic: str, group: str) -> Consumer:
        return Consumer(bus, namespace=NAMESPACE, task=TASK, topic=topic, group=group, name="demo")

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(answerer.run(consumer("escalate", GROUP)))
            group.create_task(_hear_escalations(demo, consumer("escalate", "scoreboard")))
            group.create_task(_hear_answers(demo, consumer("answer", "scoreboard")))
    finally:
        await bus.close()
        await database.close()


async def _hear_answers(demo: Demo, consumer: Consumer) -> None:
    heard: set[str] = set()
    async for delivery in consumer:
        if delivery.key not in heard:
            heard.add(delivery.key)
            demo.board.hear_answer(delivery.record.payload, delivery.record.version)
        await delivery.done()


async def _hear_escalations(demo: Demo, consumer: Consumer) -> None:
    async for delivery in consumer:
        demo.board.hear_escalation(delivery.record.payload, delivery.record.version)
        await delivery.done()
