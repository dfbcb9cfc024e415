"""Puts the cloud's end of the tunnel together, and runs what runs in the background."""

import asyncio
from dataclasses import dataclass

from cloud.store.database import Database
from cloud.telemetry.ingest import TelemetryIngest
from cloud.telemetry.outlet import Outlet, Publisher
from cloud.telemetry.replies import ReplyHub, ReplyService
from cloud.telemetry.settings import TelemetrySettings
from cloud.telemetry.tunnel import Admit, Tunnels
from device_agent.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryParts:
    """The tunnel's service and its background.

    Attributes:
        tunnels: For `add_telemetry_service`.
        replies: For consumers in this process.
    """

    tunnels: Tunnels
    replies: ReplyService

    @classmethod
    def build(
        cls,
        *,
        database: Database,
        bus: Publisher,
        admit: Admit,
        clock: Clock,
        settings: TelemetrySettings | None = None,
    ) -> "TelemetryParts":
        """Makes the parts; nothing runs yet.

        Args:
            admit: Raises for a device that may not speak: the gateway's Answerer.set_for.
        """
        chosen = settings or TelemetrySettings()
        hub = ReplyHub()
        replies = ReplyService(database, clock, chosen, hub)
        ingest = TelemetryIngest(database, Outlet(bus), clock, chosen)
        tunnels = Tunnels(ingest=ingest, replies=replies, hub=hub, admit=admit, settings=chosen)
        return cls(tunnels=tunnels, replies=replies)

    async def run(self) -> None:
        """Writes and looks for replies until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.tunnels.ingest.run(), name="telemetry.ingest")
            group.create_task(self.replies.run(), name="telemetry.replies")
