"""The bus on Redis Streams: one stream a topic, its consumer groups, its pending lists.

Rules of this module, beyond those of interface.py:

- Records of one publish are one MULTI: all or none.
- How durable an answered publish is, Redis decides: it should run with appendonly and without eviction, and `open`
  says so in the log when it does not.
- A stream is trimmed up to the oldest record that a group has not acknowledged, never by length alone.
- A group that is not there (new, or lost with Redis's disk) is made when it is read for, from the oldest record on.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import structlog
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from cloud.bus.errors import BusFull, BusUnavailable, BusUrlInvalid
from cloud.bus.interface import Backlog, Bus, Record, Records, check_names, check_records, full
from cloud.bus.redis_trim import trim_topic
from cloud.bus.settings import SETTINGS, BusSettings
from device_agent.clock import Clock
from device_agent.failpoint import failpoint

_KEY, _PAYLOAD = b"k", b"p"
# What a refusal begins with that is not the request's fault: a disk that fails, a script that runs, too few replicas.
NOT_NOW = frozenset({"MISCONF", "BUSY", "NOREPLICAS", "LOADING", "MASTERDOWN"})
_log = structlog.get_logger(__name__)


class RedisBus(Bus):
    """Topics as Redis Streams."""

    def __init__(self, redis: "Redis", clock: Clock, settings: BusSettings) -> None:
        super().__init__(settings)
        self._redis = redis
        self._clock = clock
        # (topic, group) to where the search for records that are due again goes on.
        self._cursors: dict[tuple[str, str], str] = {}

    @classmethod
    async def open(cls, url: str, clock: Clock, settings: BusSettings = SETTINGS) -> Self:
        """Connects.

        Raises:
            BusUrlInvalid: it is no URL of Redis.
            BusUnavailable: Redis does not answer.
        """
        try:
            redis = Redis.from_url(
                url,
                max_connections=settings.redis_connections_max,
                socket_connect_timeout=settings.redis_connect_s_max,
                socket_timeout=None,
                protocol=2,
            )
        except ValueError:
            raise BusUrlInvalid(
                "the bus URL cannot be read; write redis://host:port/number"
            ) from None
        bus = cls(redis, clock, settings)
        try:
            await bus.ready()
            await bus._warn_of_weak_settings()
        except BaseException:
            await bus.close()
            raise
        return bus

    async def publish(self, topic: str, records: Records) -> None:
        """See Bus."""
        check_records(topic, records, self.settings)
        if not records:
            return
        await self._refuse_when_full(topic, len(records))
        async with self._told(), self._redis.pipeline(transaction=True) as pipeline:
            pipeline.sadd(self._topics_key(), topic)
            for key, payload in records:
                pipeline.xadd(self._stream(topic), {_KEY: key.encode(), _PAYLOAD: payload})
            pipeline.xlen(self._stream(topic))
            answers = await pipeline.execute()
        self.lengths[topic] = int(answers[-1])
        self.counts.published += len(records)
        failpoint("bus.redis_publish.answered")

    async def take(
        self, topic: str, group: str, consumer: str, *, limit: int, wait_ms: int
    ) -> list[Record]:
        """See Bus."""
        check_names(topic, group, consumer)
        limit = min(limit, self.settings.take_records_max)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_ms / 1000
        while True:
            left_ms = max(0, int((deadline - loop.time()) * 1000))
            # Woken before the wait is over, to see what has become due again meanwhile.
            block_ms = min(left_ms, max(1, self.settings.visibility_ms // 2))
            patience_s = block_ms / 1000 + self.settings.redis_connect_s_max
            async with self._told(), asyncio.timeout(patience_s):
                records = await self._take_once(topic, group, consumer, limit, block_ms)
            if records or left_ms == 0:
                self.counts.note_taken(records)
                return records

    async def ack(self, *records: Record) -> None:
        """See Bus."""
        if not records:
            return
        async with self._told(), self._redis.pipeline(transaction=True) as pipeline:
            for topic, group in {(record.topic, record.group) for record in records}:
                ids = [r.id for r in records if (r.topic, r.group) == (topic, group)]
                pipeline.xack(self._stream(topic), group, *ids)
            await pipeline.execute()
        self.counts.acknowledged += len(records)
        failpoint("bus.redis_ack.answered")

    async def trim(self) -> int:
        """See Bus."""
        removed = 0
        async with self._told():
            topics: Any = await self._redis.smembers(self._topics_key())
            for name in sorted(topic.decode() for topic in topics):
                removed += await trim_topic(
                    self._redis, self._stream(name), self._clock.wall_ms(), self.settings
                )
                self.lengths[name] = int(await self._redis.xlen(self._stream(name)))
        self.counts.trimmed += removed
        return removed

    async def backlog(self, topic: str, group: str) -> Backlog:
        """See Bus."""
        async with self._told():
            await self._make_group(topic, group)
            groups = await self._redis.xinfo_groups(self._stream(topic))
            row = next(row for row in groups if row["name"] == group.encode())
            unread = row.get("lag")
            if unread is None:  # Redis does not know it after some trims: count
                after = "(" + row["last-delivered-id"].decode()
                later: Any = await self._redis.xrange(self._stream(topic), min=after)
                unread = len(later)
            return Backlog(unread=int(unread), unacknowledged=int(row["pending"]))

    async def ready(self) -> None:
        """See Bus."""
        async with self._told(), asyncio.timeout(self.settings.redis_connect_s_max):
            await self._redis.ping()

    async def close(self) -> None:
        """See Bus."""
        await self._redis.aclose()

    async def _take_once(
        self, topic: str, group: str, consumer: str, limit: int, block_ms: int
    ) -> list[Record]:
        try:
            again = await self._claim(topic, group, consumer, limit)
            if len(again) == limit:
                return again
            new = await self._read_new(
                topic, group, consumer, limit - len(again), 0 if again else block_ms
            )
            return [*again, *new]
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
        await self._make_group(topic, group)
        return []

    async def _claim(self, topic: str, group: str, consumer: str, limit: int) -> list[Record]:
        """Records that were handed out `visibility_ms` ago and not acknowledged."""
        place = (topic, group)
        answer: Any = await self._redis.xautoclaim(
            self._stream(topic),
            group,
            consumer,
            min_idle_time=self.settings.visibility_ms,
            start_id=self._cursors.get(place, "0-0"),
            count=limit,
        )
        # One call looks at a bounded part of the pending list; the next one goes on from there.
        self._cursors[place] = answer[0].decode()
        entries = answer[1]
        if not entries:
            return []
        pending = await self._redis.xpending_range(
            self._stream(topic), group, entries[0][0], entries[-1][0], limit * 10, consumer
        )
        counts = {row["message_id"]: int(row["times_delivered"]) for row in pending}
        return [_record(topic, group, id_, fields, counts.get(id_, 2)) for id_, fields in entries]

    async def _read_new(
        self, topic: str, group: str, consumer: str, limit: int, block_ms: int
    ) -> list[Record]:
        answer: Any = await self._redis.xreadgroup(
            group, consumer, {self._stream(topic): ">"}, count=limit, block=block_ms or None
        )
        entries = answer[0][1] if answer else []
        return [_record(topic, group, id_, fields, 1) for id_, fields in entries]

    async def _make_group(self, topic: str, group: str) -> None:
        try:
            await self._redis.xgroup_create(self._stream(topic), group, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def _refuse_when_full(self, topic: str, records: int) -> None:
        if self.lengths.get(topic, 0) < self.settings.topic_records_max:
            return
        async with self._told():
            await trim_topic(self._redis, self._stream(topic), self._clock.wall_ms(), self.settings)
            self.lengths[topic] = int(await self._redis.xlen(self._stream(topic)))
        if self.lengths[topic] >= self.settings.topic_records_max:
            self.counts.refused += records
            raise full(topic, self.lengths[topic])

    async def _warn_of_weak_settings(self) -> None:
        try:
            found = await self._redis.config_get("appendonly", "maxmemory-policy")
        except RedisError:
            return  # a managed Redis does not tell; its operator knows
        if found.get("appendonly") != "yes" or found.get("maxmemory-policy") != "noeviction":
            _log.warning(
                "bus.redis_not_durable",
                hint="set appendonly yes and maxmemory-policy noeviction, or a crash loses records",
                **{str(name).replace("-", "_"): value for name, value in found.items()},
            )

    def _stream(self, topic: str) -> str:
        return f"{self.settings.redis_prefix}stream:{topic}"

    def _topics_key(self) -> str:
        return f"{self.settings.redis_prefix}topics"

    @asynccontextmanager
    async def _told(self) -> AsyncIterator[None]:
        """Turns a lost connection, or a Redis that takes nothing, into BusUnavailable, and a full one into BusFull."""
        try:
            yield
        except OutOfMemoryError as error:
            raise BusFull("Redis has no memory left: start consumers, or give it more") from error
        except ResponseError as error:
            if not _is_not_now(error):
                raise
            raise BusUnavailable(
                f"Redis does not take it now ({error}); check the server"
            ) from error
        except (RedisConnectionError, RedisTimeoutError, TimeoutError, OSError) as error:
            raise BusUnavailable(
                f"Redis does not answer ({type(error).__name__}); check the server and the URL"
            ) from error


def _is_not_now(error: ResponseError) -> bool:
    """Whether Redis would take it at another time; a pipeline says first which of its commands was refused."""
    refusal = str(error).rpartition("caused error: (")[2].lstrip("'\"")
    return isinstance(error, ReadOnlyError) or refusal.partition(" ")[0] in NOT_NOW


def _record(
    topic: str, group: str, id_: bytes, fields: dict[bytes, bytes], deliveries: int
) -> Record:
    return Record(
        id=id_.decode(),
        topic=topic,
        group=group,
        key=fields[_KEY].decode(),
        payload=fields[_PAYLOAD],
        deliveries=deliveries,
    )
