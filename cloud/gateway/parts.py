"""Puts a gateway together from a database and keys, and runs what runs in the background."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from cloud.artifacts.tickets import TicketSigner
from cloud.gateway.answer import Answerer, Signer
from cloud.gateway.follower import Follower
from cloud.gateway.presence import PresenceLog
from cloud.gateway.recorder import AckRecorder, Record
from cloud.gateway.service import Gateway
from cloud.gateway.settings import GatewaySettings
from cloud.store.database import Database
from device_agent.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayParts:
    """A gateway and its background.

    Attributes:
        follower: Its `on_epoch` is what a ReleaseService in this process shall call.
        gateway: For `add_device_service`.
    """

    follower: Follower
    gateway: Gateway

    @classmethod
    def build(
        cls,
        *,
        database: Database,
        signer: Signer,
        tickets: TicketSigner,
        record: Record,
        clock: Clock,
        wake: Callable[[str], None] = lambda _namespace: None,
        settings: GatewaySettings | None = None,
    ) -> "GatewayParts":
        """Makes the parts; nothing runs yet.

        Args:
            record: Writes outcomes: ReleaseService.record_batch.
            wake: Told after their commit: ReleaseService.wake.
        """
        chosen = settings or GatewaySettings()
        follower = Follower(database, clock, chosen.follower)
        gateway = Gateway(
            database=database,
            follower=follower,
            answerer=Answerer(follower, signer, chosen),
            recorder=AckRecorder(database, record, clock, chosen.recorder, wake),
            presence=PresenceLog(database, chosen.recorder),
            tickets=tickets,
            clock=clock,
            settings=chosen,
        )
        return cls(follower=follower, gateway=gateway)

    async def run(self, started: asyncio.Event | None = None) -> None:
        """Loads the release sets, then follows and writes until it is cancelled.

        Raises:
            DatabaseBusy, DatabaseUnavailable: the first look at the database failed.
        """
        await self.follower.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.follower.run(), name="gateway.follower")
            group.create_task(self.gateway.recorder.run(), name="gateway.recorder")
            group.create_task(self.gateway.presence.run(), name="gateway.presence")
            if started is not None:
                started.set()
