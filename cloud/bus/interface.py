"""The bus: topics of records, read by groups of consumers.

Rules of this module, which every implementation keeps (tests/conformance/test_bus.py):

- Durable: `publish` and `ack` return after the record, or its acknowledgement, will survive a crash of this process.
- At least once: each group is handed each record of a topic, and again `visibility_ms` after it was handed out,
  until it is acknowledged. Which consumer of the group gets it does not matter.
- In order: a group is handed records for the first time in the order in which the topic took them.
- A new group begins with the oldest record that the topic still holds.
- Nothing unread is dropped to make room: a topic that is full refuses to publish. What every group has acknowledged
  goes after a while; what nobody reads at all goes after a long while.
"""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import NoReturn

import structlog

from cloud.bus.errors import BusFull, RecordRefused
from cloud.bus.settings import BusSettings
from device_agent.errors import ShoalError

TOPIC_CHARS_MAX = 256
KEY_CHARS_MAX = 128
GROUP_CHARS_MAX = 64

type Records = Sequence[tuple[str, bytes]]
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record as a consumer gets it.

    Attributes:
        id: Names it inside its topic; grows, in the implementation's own form.
        topic: Topic.
        group: Group that it was handed to.
        key: From the publisher.
        payload: From the publisher.
        deliveries: How often the group was handed it, this time included.
    """

    id: str
    topic: str
    group: str
    key: str
    payload: bytes
    deliveries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """How far a group is behind.

    Attributes:
        unread: Records that it was never handed.
        unacknowledged: Records that it was handed and has not acknowledged.
    """

    unread: int
    unacknowledged: int


@dataclass(slots=True, kw_only=True)
class BusCounts:
    """What a bus has done in this process since it was opened, in records.

    Attributes:
        published: Handed to the bus; those of a transaction that failed then are counted too.
        refused: Not taken because their topic was full.
        taken: Handed out, for the first time.
        taken_again: Handed out again.
        acknowledged: Acknowledged.
        trimmed: Removed.
    """

    published: int = 0
    refused: int = 0
    taken: int = 0
    taken_again: int = 0
    acknowledged: int = 0
    trimmed: int = 0

    def note_taken(self, records: Sequence[Record]) -> None:
        """Counts records that are handed out."""
        first = sum(record.deliveries == 1 for record in records)
        self.taken += first
        self.taken_again += len(records) - first


class Bus(ABC):
    """Topics of records; see the rules of this module.

    Attributes:
        settings: Its limits.
        counts: What it has done.
        lengths: Topic to how many records it held when last looked at.
    """

    def __init__(self, settings: BusSettings) -> None:
        self.settings = settings
        self.counts = BusCounts()
        self.lengths: dict[str, int] = {}

    @abstractmethod
    async def publish(self, topic: str, records: Records) -> None:
        """Appends records, all or none, durably.

        Args:
            topic: At most 256 characters, beginning with its namespace ("app/project/…").
            records: (key, payload) pairs, in order.

        Raises:
            RecordRefused: a topic, key or payload breaks a limit.
            BusFull: the topic's consumers are too far behind.
        """

    @abstractmethod
    async def take(
        self, topic: str, group: str, consumer: str, *, limit: int, wait_ms: int
    ) -> list[Record]:
        """Hands out up to `limit` records, those that are due again first.

        Args:
            topic: Topic.
            group: Group; made when it is new.
            consumer: Which member of the group asks.
            limit: Records at most; `take_records_max` of the settings bounds it.
            wait_ms: How long to wait for the first record; then the list is empty.
        """

    @abstractmethod
    async def ack(self, *records: Record) -> None:
        """Their group needs them no more; durable when it returns. Repeating it changes nothing."""

    @abstractmethod
    async def trim(self) -> int:
        """Removes what may go; gives how many records."""

    @abstractmethod
    async def backlog(self, topic: str, group: str) -> Backlog:
        """How far a group is behind."""

    @abstractmethod
    async def ready(self) -> None:
        """Readiness probe. Raises BusUnavailable or an error of the database."""

    @abstractmethod
    async def close(self) -> None:
        """Ends connections; who waits in `take` is told by an error."""

    async def subscribe(self, topic: str, group: str, consumer: str) -> AsyncGenerator[Record]:
        """Records as they come, for as long as the caller takes them; outlives outages of the bus.

        A record that was not acknowledged when the caller left comes to another consumer, or to this one again.
        """
        wait_ms = self.settings.retry_ms
        while True:
            try:
                records = await self.take(
                    topic,
                    group,
                    consumer,
                    limit=self.settings.take_records_max,
                    wait_ms=self.settings.visibility_ms,
                )
            except ShoalError as error:
                if error.status not in {"UNAVAILABLE", "RESOURCE_EXHAUSTED"}:
                    raise
                _log.warning("bus.away", topic=topic, group=group, reason=str(error))
                await asyncio.sleep(wait_ms / 1000)
                wait_ms = min(2 * wait_ms, self.settings.retry_ms_max)
                continue
            wait_ms = self.settings.retry_ms
            for record in records:
                yield record

    async def run_trimming(self) -> NoReturn:
        """Trims now and then, until it is cancelled."""
        while True:
            try:
                while await self.trim() >= self.settings.trim_records_max:
                    pass
            except ShoalError as error:
                _log.warning("bus.trim_failed", reason=str(error))
            await asyncio.sleep(self.settings.trim_every_ms / 1000)


def full(topic: str, length: int) -> BusFull:
    """The error of a publisher whose topic holds as much as it may."""
    return BusFull(
        f"topic {topic} holds {length} records; start consumers, or see which group is not read for"
    )


def check_records(topic: str, records: Records, settings: BusSettings) -> None:
    """Raises RecordRefused unless topic and records are within the limits."""
    check_names(topic)
    if len(records) > settings.publish_records_max:
        raise RecordRefused(
            f"{len(records)} records in one publish; send at most {settings.publish_records_max}"
        )
    for key, payload in records:
        if not 0 < len(key) <= KEY_CHARS_MAX:
            raise RecordRefused(f"a key has 1 to {KEY_CHARS_MAX} characters, not {len(key)}")
        if len(payload) > settings.payload_bytes_max:
            raise RecordRefused(
                f"a payload of {len(payload)} bytes; send at most {settings.payload_bytes_max}"
            )


def check_names(topic: str, group: str = "-", consumer: str = "-") -> None:
    """Raises RecordRefused unless topic, group and consumer are names within the limits."""
    for what, name, most in (
        ("topic", topic, TOPIC_CHARS_MAX),
        ("group", group, GROUP_CHARS_MAX),
        ("consumer", consumer, GROUP_CHARS_MAX),
    ):
        if not 0 < len(name) <= most or not name.isascii() or not name.isprintable():
            raise RecordRefused(f"a {what} has 1 to {most} printable ASCII characters: {name!r}")


async def wait_for(event: asyncio.Event, wait_ms: float) -> None:
    """Waits until the event is set, at most `wait_ms`."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(wait_ms / 1000):
            await event.wait()
