"""Acknowledgements into the database: batched, each counted once, durable before a device is told so.

Rules of this module:

- An acknowledgement counts when its sequence is above the high-water mark of (device, boot); mark and outcome are
  written in one transaction, so that a crash between them cannot be.
- A Sync waits for its commit, within a bound; past it the device is told that nothing is durable and sends again.
- Outcomes are the rollout's to keep: this writes them through `record`, in the same transaction.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from shoal.device.v1 import device_pb2
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.gateway.errors import GatewayBusy
from cloud.gateway.settings import RecorderSettings
from cloud.rpc.peer import DevicePeer
from cloud.store.database import Database
from cloud.store.errors import DatabaseBusy, DatabaseUnavailable
from cloud.store.group_commit import GroupCommit
from cloud.store.high_water import raise_high_water, take_high_water
from device_agent.clock import Clock
from device_agent.failpoint import failpoint

STREAM = "ack"
_OUTCOME_PREFIX = len("OUTCOME_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One acknowledgement, in the store's words.

    Attributes:
        outcome: notified | installed | removed | failed | rolled_back | deferred.
    """

    sequence: int
    release_id: str
    version: int
    outcome: str
    error_code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AckBatch:
    """What one Sync carried."""

    namespace: str
    device_id: str
    boot: str
    told: tuple[Told, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        """What sequences are counted by."""
        return (self.namespace, self.device_id, self.boot)


type Record = Callable[
    [AsyncConnection, str, Sequence[tuple[str, Sequence[Told]]], int], Awaitable[None]
]


class AckRecorder:
    """Makes acknowledgements durable.

    Args:
        record: Writes the outcomes of one namespace's devices in the given transaction.
        wake: Told which namespaces have new outcomes, after the commit.
    """

    def __init__(
        self,
        database: Database,
        record: Record,
        clock: Clock,
        settings: RecorderSettings,
        wake: Callable[[str], None] = lambda _namespace: None,
    ) -> None:
        self._record = record
        self._clock = clock
        self._settings = settings
        self._wake = wake
        self._commits: GroupCommit[AckBatch, int] = GroupCommit(
            database,
            self._apply,
            queue_max=settings.queue_max,
            batch_max=settings.batch_max,
            busy=GatewayBusy,
            committed=self._committed,
        )
        # Batches that were answered "not durable", for the metrics.
        self.put_off = 0

    @property
    def waiting(self) -> int:
        """Batches in the queue."""
        return self._commits.waiting

    async def run(self) -> None:
        """Writes until it is cancelled."""
        await self._commits.run()

    async def acknowledge(self, batch: AckBatch) -> int:
        """The highest sequence of the boot that is durable; 0 when that could not be found out in time."""
        try:
            async with asyncio.timeout(self._settings.wait_ms_max / 1000):
                return await self._commits.submit(batch)
        except (TimeoutError, GatewayBusy, DatabaseBusy, DatabaseUnavailable):
            # The device keeps them and sends them again: nothing is lost, and its Sync is answered.
            self.put_off += 1
            return 0

    async def _apply(
        self, connection: AsyncConnection, batches: Sequence[AckBatch]
    ) -> Sequence[int | Exception]:
        now_ms = self._clock.wall_ms()
        marks = await take_high_water(connection, STREAM, [batch.key for batch in batches], now_ms)
        gathered = _Gathered()
        for batch in batches:
            mark = marks[batch.key]
            new = [one for one in batch.told if one.sequence > mark]
            if new:
                gathered.add(batch, new)
                marks[batch.key] = new[-1].sequence
        for namespace, outcomes in gathered.by_namespace.items():
            await self._record(connection, namespace, outcomes, now_ms)
        await raise_high_water(
            connection, STREAM, {key: marks[key] for key in gathered.keys}, now_ms
        )
        failpoint("gateway.ack.before_commit")
        return [marks[batch.key] for batch in batches]

    def _committed(self, batches: Sequence[AckBatch]) -> None:
        failpoint("gateway.ack.committed")
        for namespace in {batch.namespace for batch in batches}:
            self._wake(namespace)


@dataclass(slots=True)
class _Gathered:
    by_namespace: dict[str, list[tuple[str, Sequence[Told]]]] = field(default_factory=dict)
    keys: set[tuple[str, str, str]] = field(default_factory=set)

    def add(self, batch: AckBatch, new: Sequence[Told]) -> None:
        self.by_namespace.setdefault(batch.namespace, []).append((batch.device_id, new))
        self.keys.add(batch.key)


def batch_of(peer: DevicePeer, request: device_pb2.SyncRequest) -> AckBatch:
    """The acknowledgements of a request that was checked."""
    told = request.acknowledgements
    return AckBatch(
        namespace=peer.namespace,
        device_id=peer.device_id,
        boot=told[0].boot.hex(),
        told=tuple(
            Told(
                sequence=one.sequence,
                release_id=one.release_id,
                version=one.version.version,
                outcome=_outcome_name(one.outcome),
                error_code=one.error_code,
            )
            for one in told
        ),
    )


def _outcome_name(outcome: int) -> str:
    try:
        return device_pb2.Outcome.Name(outcome)[_OUTCOME_PREFIX:].lower()
    except ValueError:
        # A newer device says more than this cloud knows: kept apart, so that it counts as nothing known.
        return "unspecified"
