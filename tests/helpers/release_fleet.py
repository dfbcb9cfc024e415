"""A namespace with a task, published versions and devices that acknowledge, for tests of releases.

fleet = await ReleaseFleet.make(database, devices=10)
release = await fleet.service.create(NS, ReleaseDraft(task="digits", version=1, start=True), "ann")
await fleet.acknowledge(release, fleet.devices[:3], "installed")
"""

import dataclasses
import hashlib
from collections.abc import Iterable
from typing import Self

from cloud.rollout.release import Release
from cloud.rollout.service import ReleaseService
from cloud.rollout.settings import RolloutSettings
from cloud.store.database import Database
from cloud.targeting.bucket import bucket
from tests.helpers.manual_clock import ManualClock
from tests.helpers.release_sets import NAMESPACE, version
from tests.helpers.seed_store import Seed

TASK = "digits"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """One acknowledgement."""

    release_id: str
    version: int
    outcome: str
    error_code: str = ""


class ReleaseFleet:
    """The whole of what a ReleaseService looks at."""

    def __init__(self, database: Database, settings: RolloutSettings | None = None) -> None:
        self.database = database
        self.clock = ManualClock()
        self.epochs: list[tuple[str, int]] = []
        self.seed = Seed(database)
        self.devices: list[str] = []
        self._random = 0
        self.service = ReleaseService(
            database,
            self.clock,
            lambda namespace, epoch: self.epochs.append((namespace, epoch)),
            settings,
            self._entropy,
        )

    @classmethod
    async def make(
        cls,
        database: Database,
        devices: int = 0,
        versions: int = 2,
        settings: RolloutSettings | None = None,
    ) -> Self:
        fleet = cls(database, settings)
        await fleet.seed.namespace()
        for number in range(1, versions + 1):
            await fleet.seed.publish(version(TASK, number))
        for _ in range(devices):
            await fleet.enrol()
        return fleet

    async def enrol(self, attributes: dict[str, str] | None = None) -> str:
        device = hashlib.sha256(f"device {len(self.devices)}".encode()).hexdigest()[:32]
        await self.seed.device(device, attributes)
        self.devices.append(device)
        return device

    async def acknowledge(
        self, release: Release, devices: Iterable[str], outcome: str, **extra: int | str
    ) -> None:
        """What the gateway's recorder does; time goes on by a second."""
        ack = Ack(
            release_id=release.id,
            version=int(extra.get("version", release.version)),
            outcome=outcome,
            error_code=str(extra.get("error_code", "")),
        )
        self.clock.advance_ms(1_000)
        async with self.database.begin() as connection:
            batch = [(device, [ack]) for device in devices]
            now_ms = self.clock.wall_ms()
            await self.service.record_batch(connection, NAMESPACE, batch, now_ms)
        self.service.wake(NAMESPACE)

    def within(self, release: Release, share_ppm: int) -> list[str]:
        """The devices of a share, by the definition."""
        return [one for one in self.devices if bucket(release.salt, one) < share_ppm]

    def _entropy(self, size: int) -> bytes:
        self._random += 1
        return hashlib.sha256(str(self._random).encode()).digest()[:size]
