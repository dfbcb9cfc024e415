"""shoal.telemetry.v1.TelemetryService: one stream a device, reports up, acknowledgements and replies down.

Rules of this module:

- One message is taken at a time: the next is read when the one before is durable, so a device that is faster than
  the database is held back by HTTP/2 and not by our memory.
- A device has one tunnel: a newer one ends the older. Silence longer than the idle limit ends it, without an error.
- Replies are sent within a window: so many on the way and not yet confirmed, no more.
- Who was revoked while the tunnel stood open is refused at its next message.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import structlog
from shoal.telemetry.v1 import telemetry_pb2

from cloud.rpc.answering import Context, refuse
from cloud.rpc.peer import DevicePeer, PeerReader
from cloud.store.errors import StoreError
from cloud.telemetry.checks import check_message
from cloud.telemetry.errors import TelemetryBusy
from cloud.telemetry.ingest import TelemetryIngest
from cloud.telemetry.replies import ReplyHub, ReplyService
from cloud.telemetry.settings import TelemetrySettings
from cloud.telemetry.tally import ReportBatch

SERVICE = "shoal.telemetry.v1.TelemetryService"
_log = structlog.get_logger(__name__)

type Admit = Callable[[DevicePeer], object]
type Write = Callable[[telemetry_pb2.TunnelResponse], Any]


class Tunnels:
    """All tunnels of one server.

    Args:
        admit: Raises when the device may not (or no longer) speak: revoked, unknown namespace.

    Attributes:
        replies_sent: How often a reply was sent, repeats included.
    """

    def __init__(
        self,
        *,
        ingest: TelemetryIngest,
        replies: ReplyService,
        hub: ReplyHub,
        admit: Admit,
        settings: TelemetrySettings,
    ) -> None:
        self.ingest = ingest
        self.replies = replies
        self.hub = hub
        self._admit = admit
        self._settings = settings
        self.replies_sent = 0

    async def serve(
        self,
        peer: DevicePeer,
        requests: AsyncIterator[telemetry_pb2.TunnelRequest],
        write: Write,
    ) -> None:
        """One tunnel, from its first message to its end.

        Raises:
            ShoalError: the device is refused; what was acknowledged stays.
        """
        self._admit(peer)
        if self.hub.tunnels >= self._settings.tunnels_max:
            raise TelemetryBusy("this server has as many tunnels as it takes; try again later")
        tunnel = _Tunnel(self, peer, write, self._settings)
        try:
            async with asyncio.TaskGroup() as group:
                pushing = group.create_task(tunnel.push())
                reading = group.create_task(tunnel.read(requests, self._admit))
                await asyncio.wait((pushing, reading), return_when=asyncio.FIRST_COMPLETED)
                pushing.cancel()
                reading.cancel()
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            tunnel.close()


class _Tunnel:
    def __init__(
        self, tunnels: Tunnels, peer: DevicePeer, write: Write, settings: TelemetrySettings
    ) -> None:
        self._tunnels = tunnels
        self._peer = peer
        self._key = (peer.namespace, peer.device_id)
        self._write = write
        self._settings = settings
        # gRPC takes one write at a time.
        self._writing = asyncio.Lock()
        self._sent: set[bytes] = set()
        self._awake = tunnels.hub.open(self._key)

    def close(self) -> None:
        self._tunnels.hub.close(self._key, self._awake)

    async def read(
        self, requests: AsyncIterator[telemetry_pb2.TunnelRequest], admit: Admit
    ) -> None:
        """Takes messages until the device ends the stream or falls silent."""
        iterator = aiter(requests)
        while True:
            try:
                async with asyncio.timeout(self._settings.idle_ms_max / 1000):
                    message = await anext(iterator, None)
            except TimeoutError:
                return
            if message is None:
                return
            admit(self._peer)
            await self._take(message)

    async def _take(self, message: telemetry_pb2.TunnelRequest) -> None:
        check_message(message, self._settings)
        if message.received_reply_ids:
            await self._forget(list(message.received_reply_ids))
        if message.reports:
            batch = ReportBatch(
                peer=self._peer, boot=message.boot.hex(), reports=tuple(message.reports)
            )
            sequence = await self._tunnels.ingest.ingest(batch)
            await self._send(telemetry_pb2.TunnelResponse(acknowledged_sequence=sequence))

    async def _forget(self, reply_ids: list[bytes]) -> None:
        await self._tunnels.replies.forget(self._key, reply_ids)
        self._sent.difference_update(reply_ids)
        self._awake.set()  # the window has moved

    async def push(self) -> None:
        """Sends replies as they come, until a newer tunnel takes over."""
        while True:
            await self._awake.wait()
            self._awake.clear()
            if not self._tunnels.hub.is_current(self._key, self._awake):
                return
            try:
                await self._push_pending()
            except StoreError as error:
                # They stay stored; the next look at the database wakes this again.
                _log.warning("telemetry.replies_put_off", code=error.code)

    async def _push_pending(self) -> None:
        window = self._settings.replies_window
        pending = await self._tunnels.replies.pending(self._key, window)
        new = [reply for reply in pending if reply.reply_id not in self._sent]
        for reply in new[: max(0, window - len(self._sent))]:
            await self._send(telemetry_pb2.TunnelResponse(replies=[reply]))
            self._sent.add(reply.reply_id)
            self._tunnels.replies_sent += 1

    async def _send(self, response: telemetry_pb2.TunnelResponse) -> None:
        async with self._writing:
            await self._write(response)


def add_telemetry_service(server: grpc.aio.Server, tunnels: Tunnels, peers: PeerReader) -> None:
    """Puts the service on a server. Its client certificates must have been required."""

    async def tunnel(
        requests: AsyncIterator[telemetry_pb2.TunnelRequest], context: Context
    ) -> None:
        try:
            await tunnels.serve(peers.read(context), requests, context.write)
        except (grpc.aio.AbortError, grpc.aio.BaseError):
            raise
        except Exception as error:
            await refuse(context, error)

    handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
        tunnel,
        telemetry_pb2.TunnelRequest.FromString,
        telemetry_pb2.TunnelResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {"Tunnel": handler}),)
    )
