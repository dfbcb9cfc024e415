"""What the crash tests share: feeding a device through every death of its agent, and counting at the other end.

feeder = Feeder(agent, seed)
await feeder.feed(12)                  # returns when the agent has made them durable, however often it dies
await settled(fleet, [feeder])         # every event is counted, once
"""

import asyncio
import random
import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from redis.asyncio import Redis
from shoal_task import Event

from cloud.bus.settings import SETTINGS
from cloud.fleet.local import LocalAgent
from cloud.store.database import Database
from cloud.store.tables import bus_log
from cloud.telemetry.records import decode_record, topic_of
from device_agent.agent.home import read_status
from device_agent.events.errors import FeederUnreachable
from device_agent.events.feeder import FeederClient
from tests.helpers.local_fleet import EVENT, NAMESPACE, TASK, TOPIC, Fleet

BATCH = 3
AGAIN_SECONDS = 0.02
ACCEPTED_SECONDS_MAX = 180


class Feeder:
    """Feeds one device.

    Attributes:
        accepted: Uids that the agent said it has.
    """

    def __init__(self, agent: LocalAgent, seed: int) -> None:
        self.agent = agent
        self._random = random.Random(seed)
        self.accepted: set[bytes] = set()

    async def feed(self, count: int) -> None:
        """Feeds so many new events; while the agent is dead the same ones are tried again."""
        events = [Event(EVENT, b"some text", uid=self._random.randbytes(16)) for _ in range(count)]
        async with asyncio.timeout(ACCEPTED_SECONDS_MAX):
            for start in range(0, count, BATCH):
                await self._feed(events[start : start + BATCH])

    async def _feed(self, batch: list[Event]) -> None:
        while batch:
            try:
                answers = await asyncio.to_thread(self._ask, batch)
            except FeederUnreachable:
                await asyncio.sleep(AGAIN_SECONDS)  # the agent is another process, and dead
                continue
            taken = {one.uid for one, said in zip(batch, answers, strict=True) if said != "refused"}
            batch = [event for event in batch if event.uid not in taken]
            self.accepted |= taken

    def _ask(self, batch: Sequence[Event]) -> list[str]:
        with FeederClient(self.agent.socket) as client:
            return [answer.status for answer in client.feed(batch)]


async def counted(fleet: Fleet, topic: str = TOPIC) -> Counter[bytes]:
    """Uids of the events whose emits to a topic lie on the cloud's bus."""
    name = topic_of(NAMESPACE, TASK, topic)
    payloads = await (
        _embedded(fleet, name) if fleet.bus_url == "embedded:" else _on_redis(fleet, name)
    )
    return Counter(decode_record(payload).event_uid for payload in payloads)


async def _embedded(fleet: Fleet, topic: str) -> list[bytes]:
    """Every record: in the database a report is published in the transaction that counts it."""
    database = await Database.open(fleet.database_url)
    try:
        async with database.read() as connection:
            query = sa.select(bus_log.c.payload).where(bus_log.c.topic == topic)
            return list(await connection.scalars(query))
    finally:
        await database.close()


async def _on_redis(fleet: Fleet, topic: str) -> list[bytes]:
    """Records by key: a cloud that dies between Redis and the database publishes a key again."""
    async with Redis.from_url(fleet.bus_url, protocol=2) as redis:
        rows: Any = await redis.xrange(f"{SETTINGS.redis_prefix}stream:{topic}")
        return list({fields[b"k"]: fields[b"p"] for _, fields in rows}.values())


async def settled(fleet: Fleet, feeders: Sequence[Feeder]) -> None:
    """Waits until every event is counted.

    Raises:
        AssertionError: one was lost, or counted again; says what each device still holds.
    """
    fed = set().union(*(feeder.accepted for feeder in feeders))

    async def all_counted() -> bool:
        return (await counted(fleet)).keys() >= fed

    try:
        await fleet.until("every event is counted", all_counted)
    except AssertionError as error:
        missing = fed - (await counted(fleet)).keys()
        error.add_note(f"{len(missing)} of {len(fed)} are missing")
        for feeder in feeders:
            error.add_note(f"{feeder.agent.home.name}: {held_by(feeder.agent, missing)}")
        raise
    found = await counted(fleet)
    assert found.keys() == fed
    assert set(found.values()) == {1}


def held_by(agent: LocalAgent, uids: set[bytes]) -> str:
    """Where these events are on a device."""
    status = read_status(agent.home)
    assert status is not None
    open_rows = status.agent
    connection = sqlite3.connect(f"file:{agent.home / 'agent.db'}?mode=ro", uri=True)
    try:
        logged = {uid for (uid,) in connection.execute("SELECT uid FROM events")}
        reported = {uid for (uid,) in connection.execute("SELECT event_uid FROM reports")}
        seen = {uid for (uid,) in connection.execute("SELECT uid FROM seen")}
    finally:
        connection.close()
    return (
        f"{open_rows.events_open} events and {open_rows.reports_open} reports open; of the missing "
        f"{len(uids & logged)} wait for a run, {len(uids & reported)} are reports, {len(uids & seen)} were seen"
    )
