"""What devices said of themselves, into the database: after the answer, coalesced, bounded, and never waited for.

Rules of this module:

- The newest request of a device stands for the older ones that were not written yet: a flush writes what waited when
  it began, so that a busy fleet is written once an interval and not as fast as the disk allows.
- Full: the device is left out until its next Sync. A database that is down: kept, and written when it is back.
- What shows that two devices share a certificate (clones.py) is written with it: mark, notice and audit row together.
- A device that the store does not have is not made here: only enrolment makes devices.
"""

import asyncio
from collections.abc import Iterable
from itertools import islice
from typing import Any

import sqlalchemy as sa
import structlog
from google.protobuf.json_format import MessageToDict
from shoal.device.v1 import device_pb2

from cloud.gateway.clones import CloneWatch
from cloud.gateway.settings import RecorderSettings
from cloud.keys.device_rows import mark_clone
from cloud.rpc.peer import DevicePeer
from cloud.store.database import Database
from cloud.store.errors import StoreError
from cloud.store.tables import devices
from device_agent.failpoint import failpoint

_STATE_PREFIX = len("TASK_STATE_")
_log = structlog.get_logger(__name__)
_update = (
    sa.update(devices)
    .where(
        devices.c.namespace == sa.bindparam("in_namespace"),
        devices.c.device_id == sa.bindparam("of_device"),
    )
    .values(
        facts=sa.bindparam("facts"),
        installed=sa.bindparam("installed"),
        epoch=sa.bindparam("epoch"),
        last_seen_at_ms=sa.bindparam("last_seen_at_ms"),
    )
)


class PresenceLog:
    """Presence that waits to be written.

    Attributes:
        dropped: Syncs whose presence did not fit.
    """

    def __init__(self, database: Database, settings: RecorderSettings) -> None:
        self._database = database
        self._settings = settings
        self._waiting: dict[DevicePeer, tuple[bytes, int]] = {}
        self._clones = CloneWatch(settings)
        self.dropped = 0

    @property
    def waiting(self) -> int:
        """Devices in the queue."""
        return len(self._waiting)

    def note(self, peer: DevicePeer, data: bytes, now_ms: int) -> None:
        """Takes the request of a Sync that was answered."""
        waiting = self._waiting
        if len(waiting) >= self._settings.presence_devices_max and peer not in waiting:
            self.dropped += 1
            return
        waiting[peer] = (data, now_ms)

    def newest(self, peer: DevicePeer) -> bytes | None:
        """The device's request, when it is not written yet."""
        found = self._waiting.get(peer)
        return found[0] if found else None

    async def run(self) -> None:
        """Writes at intervals until it is cancelled, and once more then."""
        try:
            while True:
                await asyncio.sleep(self._settings.presence_interval_ms / 1000)
                await self.flush()
        finally:
            await self.flush()

    async def flush(self) -> None:
        """Writes what waits now, a batch a transaction; what comes meanwhile or fails waits on."""
        left = len(self._waiting)
        while left > 0:
            taken = self._take(left)
            left -= len(taken)
            try:
                await self._write(taken)
            except StoreError as error:
                _log.warning("gateway.presence_put_off", devices=len(taken), code=error.code)
                self._put_back(taken)
                return
            failpoint("gateway.presence.committed")

    def _take(self, left: int) -> dict[DevicePeer, tuple[bytes, int]]:
        first = list(islice(self._waiting, min(left, self._settings.presence_batch_max)))
        return {peer: self._waiting.pop(peer) for peer in first}

    def _put_back(self, taken: dict[DevicePeer, tuple[bytes, int]]) -> None:
        for peer, said in taken.items():
            self._waiting.setdefault(peer, said)

    async def _write(self, taken: dict[DevicePeer, tuple[bytes, int]]) -> None:
        requests = {
            peer: (device_pb2.SyncRequest.FromString(data), now_ms)
            for peer, (data, now_ms) in taken.items()
        }
        for peer, (request, now_ms) in requests.items():
            self._clones.heard(peer, request.session, request.session_sync, now_ms)
        found = sorted(self._clones.found, key=lambda peer: (peer.namespace, peer.device_id))
        async with self._database.begin() as connection:
            await connection.execute(_update, list(_rows(requests.items())))
            for peer in found:
                now_ms = (
                    requests[peer][1] if peer in requests else max(at for _, at in taken.values())
                )
                await mark_clone(connection, peer.namespace, peer.device_id, now_ms)
        self._clones.found.difference_update(found)


def _rows(
    taken: Iterable[tuple[DevicePeer, tuple[device_pb2.SyncRequest, int]]],
) -> Iterable[dict[str, Any]]:
    # In order of key, so that two gateways that write the same devices never wait for each other in a circle.
    for peer, (request, now_ms) in sorted(taken, key=lambda one: one[0].device_id):
        yield {
            "in_namespace": peer.namespace,
            "of_device": peer.device_id,
            "facts": MessageToDict(request.facts, preserving_proto_field_name=True),
            "installed": installed_json(request),
            "epoch": min(request.epoch, (1 << 63) - 1),
            "last_seen_at_ms": now_ms,
        }


def installed_json(request: device_pb2.SyncRequest) -> dict[str, dict[str, str | int]]:
    """The profile as the store keeps it: {task: {"version", "digest", "state"}}."""
    return {
        row.version.task: {
            "version": row.version.version,
            "digest": row.version.digest,
            "state": _state_name(row.state),
        }
        for row in request.installed
    }


def _state_name(state: int) -> str:
    try:
        return device_pb2.TaskState.Name(state)[_STATE_PREFIX:].lower()
    except ValueError:
        return "unspecified"  # a newer device knows more states
