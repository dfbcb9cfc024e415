"""The cloud's answers to what tasks emitted: durable until the device says that it has them.

Rules of this module:

- A reply is stored before anything is sent, and deleted only when the device names it as received. In between it is
  sent on every tunnel that the device opens: the device knows it by its id and takes it once.
- The same reply id twice is one reply: a consumer that is given a record again answers again without harm.
- Bounded by device: a device that is away for long does not fill the database.
"""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
import structlog
from shoal.telemetry.v1 import telemetry_pb2
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.store.database import Database
from cloud.store.errors import StoreError
from cloud.store.tables import replies
from cloud.store.upsert import insert_or_ignore
from cloud.telemetry.errors import RepliesFull, ReplyInvalid
from cloud.telemetry.settings import TelemetrySettings
from device_agent.clock import Clock
from device_agent.failpoint import failpoint
from device_agent.tasks.names import check_device_id, check_task_name

UID_BYTES: Final = 16
_EVENT_ID_MAX = 2**32 - 1
_log = structlog.get_logger(__name__)

type DeviceKey = tuple[str, str]


def reply_id_for(group: str, key: str) -> bytes:
    """The id of a consumer group's one answer to one record: the same each time it is given the record."""
    return hashlib.blake2b(f"{group}\n{key}".encode(), digest_size=UID_BYTES).digest()


class ReplyHub:
    """Wakes the tunnels of this process that a reply is for."""

    def __init__(self) -> None:
        self._open: dict[DeviceKey, asyncio.Event] = {}

    def open(self, key: DeviceKey) -> asyncio.Event:
        """The device's tunnel is open; the event is set when there may be replies, or when it shall end."""
        event = asyncio.Event()
        event.set()  # what was stored before
        before = self._open.get(key)
        self._open[key] = event
        if before is not None:
            before.set()
        return event

    def is_current(self, key: DeviceKey, event: asyncio.Event) -> bool:
        """Whether no newer tunnel of the device has taken its place."""
        return self._open.get(key) is event

    def close(self, key: DeviceKey, event: asyncio.Event) -> None:
        """The tunnel has ended."""
        if self.is_current(key, event):
            del self._open[key]

    def wake(self, key: DeviceKey) -> None:
        """There may be replies for the device."""
        event = self._open.get(key)
        if event is not None:
            event.set()

    @property
    def tunnels(self) -> int:
        """Open tunnels."""
        return len(self._open)


class ReplyService:
    """Stores replies and gives them out."""

    def __init__(
        self, database: Database, clock: Clock, settings: TelemetrySettings, hub: ReplyHub
    ) -> None:
        self._database = database
        self._clock = clock
        self._settings = settings
        self._hub = hub

    async def reply(
        self,
        namespace: str,
        device: str,
        task: str,
        event_id: int,
        cause_uid: bytes,
        payload: bytes,
        reply_id: bytes,
    ) -> bool:
        """Stores a reply and wakes the device's tunnel; False when it is stored already.

        Args:
            event_id: The event that the task's manifest declares for replies to the topic.
            cause_uid: Uid of the event that caused the emit.
            reply_id: 16 bytes; see `reply_id_for`.

        Raises:
            ReplyInvalid, RepliesFull: it was not stored.
        """
        async with self._database.begin() as connection:
            new = await self.reply_in(
                connection, namespace, device, task, event_id, cause_uid, payload, reply_id
            )
            failpoint("telemetry.reply.before_commit")
        self._hub.wake((namespace, device))
        return new

    async def reply_in(
        self,
        connection: AsyncConnection,
        namespace: str,
        device: str,
        task: str,
        event_id: int,
        cause_uid: bytes,
        payload: bytes,
        reply_id: bytes,
    ) -> bool:
        """`reply` in a transaction of the caller's, who calls `wake` after its commit."""
        self._check(device, task, event_id, cause_uid, payload, reply_id)
        key, name = (namespace, device), replies.c.reply_id == reply_id.hex()
        waiting = await connection.scalar(sa.select(sa.func.count()).where(*_of_device(key)))
        if (waiting or 0) >= self._settings.replies_pending_max:
            if await connection.scalar(sa.select(sa.literal(1)).where(*_of_device(key), name)):
                return False  # a repeated one takes no room
            raise RepliesFull(
                f"{waiting} replies wait for device {device}; answer it again when it was online"
            )
        row = {
            "namespace": namespace,
            "device_id": device,
            "reply_id": reply_id.hex(),
            "task": task,
            "event_id": event_id,
            "cause_uid": cause_uid.hex(),
            "payload": payload,
            "created_at_ms": self._clock.wall_ms(),
        }
        return await insert_or_ignore(connection, replies, row) == 1

    def wake(self, namespace: str, device: str) -> None:
        """Replies of a committed transaction wait for the device."""
        self._hub.wake((namespace, device))

    async def pending(self, key: DeviceKey, limit: int) -> list[telemetry_pb2.Reply]:
        """Replies that the device has not confirmed, oldest first."""
        async with self._database.read() as connection:
            rows = await connection.execute(
                sa.select(replies)
                .where(*_of_device(key))
                .order_by(replies.c.created_at_ms, replies.c.reply_id)
                .limit(limit)
            )
            return [
                telemetry_pb2.Reply(
                    reply_id=bytes.fromhex(row.reply_id),
                    task=row.task,
                    event_id=row.event_id,
                    cause_uid=bytes.fromhex(row.cause_uid),
                    payload=row.payload,
                )
                for row in rows
            ]

    async def forget(self, key: DeviceKey, reply_ids: Sequence[bytes]) -> None:
        """The device has them."""
        async with self._database.begin() as connection:
            await connection.execute(
                sa.delete(replies).where(
                    *_of_device(key), replies.c.reply_id.in_([one.hex() for one in reply_ids])
                )
            )
            failpoint("telemetry.reply.before_forget")

    async def run(self) -> None:
        """Looks for replies that other processes stored, until it is cancelled."""
        while True:
            await asyncio.sleep(self._settings.replies_poll_ms / 1000)
            if not self._hub.tunnels:
                continue
            try:
                await self._look()
            except StoreError as error:
                _log.warning("telemetry.replies_not_read", code=error.code)

    async def _look(self) -> None:
        columns = replies.c
        async with self._database.read() as connection:
            rows = await connection.execute(
                sa.select(columns.namespace, columns.device_id)
                .distinct()
                .limit(self._settings.replies_poll_max)
            )
            waiting: dict[str, list[str]] = defaultdict(list)
            for row in rows:
                waiting[row.namespace].append(row.device_id)
        for namespace, device_ids in waiting.items():
            for device_id in device_ids:
                self._hub.wake((namespace, device_id))

    def _check(
        self,
        device: str,
        task: str,
        event_id: int,
        cause_uid: bytes,
        payload: bytes,
        reply_id: bytes,
    ) -> None:
        check_device_id(device)
        check_task_name(task)
        if len(reply_id) != UID_BYTES or len(cause_uid) != UID_BYTES:
            raise ReplyInvalid(f"reply_id and cause_uid have {UID_BYTES} bytes each")
        if not 0 < event_id <= _EVENT_ID_MAX:
            raise ReplyInvalid("event_id is a number from 1 to 4294967295, as in task.toml")
        if len(payload) > self._settings.payload_bytes_max:
            raise ReplyInvalid(
                f"the payload has {len(payload)} bytes; "
                f"at most {self._settings.payload_bytes_max} fit an event"
            )


def _of_device(key: DeviceKey) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return (replies.c.namespace == key[0], replies.c.device_id == key[1])
