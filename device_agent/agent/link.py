"""How the agent reaches the cloud, as an interface: gRPC in the product, in memory in simulations.

Rules of this module:

- Messages are those of the wire; whoever implements this adds no decisions.
- Errors are PeerUnreachable (try again), PeerRefused (an answer that is an error), Revoked.
"""

from collections.abc import AsyncIterator
from typing import Protocol

from shoal.device.v1.device_pb2 import GetTicketResponse, SyncRequest, SyncResponse
from shoal.telemetry.v1.telemetry_pb2 import TunnelRequest, TunnelResponse


class Link(Protocol):
    """The cloud as one device sees it."""

    async def sync(self, request: SyncRequest) -> SyncResponse:
        """One Sync."""
        ...

    def tunnel(self, requests: AsyncIterator[TunnelRequest]) -> AsyncIterator[TunnelResponse]:
        """One stream; ends when the requests end and the cloud has answered them."""
        ...

    async def get_ticket(self, digest: str) -> GetTicketResponse:
        """A ticket for one exclusive file."""
        ...

    async def close(self) -> None:
        """Lets go of connections."""
        ...
