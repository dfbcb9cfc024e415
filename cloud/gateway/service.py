"""shoal.device.v1.DeviceService over grpc.aio: the thin shell around Answerer, AckRecorder and PresenceLog.

Rules of this module:

- Device and namespace are the client certificate's. Requests and answers pass through as bytes: they are parsed once,
  by the answerer.
- A Sync without acknowledgements touches no database; one with acknowledgements waits for their commit, within a bound.
- Acknowledgements are written before the answer, presence after it; neither can fail the answer.
- A device that this gateway has not met yet is read first, once, within a bound.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import grpc
import sqlalchemy as sa
from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from shoal.device.v1 import device_pb2

from cloud.artifacts.tickets import TicketSigner
from cloud.gateway.answer import Answerer, Outcome, acknowledged
from cloud.gateway.checks import check_acknowledgements
from cloud.gateway.entitled import is_entitled
from cloud.gateway.errors import FileNotAssigned, SyncInvalid
from cloud.gateway.follower import Follower
from cloud.gateway.presence import PresenceLog
from cloud.gateway.profile import DeviceView
from cloud.gateway.recorder import AckRecorder, batch_of
from cloud.gateway.settings import GatewaySettings
from cloud.keys.errors import DeviceUnknown
from cloud.rpc.answering import Context, answering
from cloud.rpc.peer import DevicePeer, PeerReader
from cloud.store.database import Database
from cloud.store.tables import devices
from device_agent.clock import Clock
from device_agent.errors import ShoalError
from device_agent.tasks.names import check_digest

SERVICE = "shoal.device.v1.DeviceService"
_tracer = trace.get_tracer("shoal.gateway")
_propagator = TraceContextTextMapPropagator()


class Gateway:
    """The device service.

    Attributes:
        answerer: What answers; its counts are metrics.
    """

    def __init__(
        self,
        *,
        database: Database,
        follower: Follower,
        answerer: Answerer,
        recorder: AckRecorder,
        presence: PresenceLog,
        tickets: TicketSigner,
        clock: Clock,
        settings: GatewaySettings,
    ) -> None:
        self.answerer = answerer
        self.recorder = recorder
        self.presence = presence
        self._database = database
        self._follower = follower
        self._tickets = tickets
        self._clock = clock
        self._settings = settings

    async def sync(self, peer: DevicePeer, data: bytes) -> bytes:
        """Answers a Sync.

        Raises:
            ShoalError: the device gets no answer, but this error.
        """
        try:
            request = self.answerer.read(data)
            self.answerer.set_for(peer)
            if self._follower.enrolled(peer.namespace, peer.device_id) is None:
                await self._meet(peer)
            if not request.acknowledgements:
                return self._answer(peer, data, request)
            with _span(request.acknowledgements):
                return await self._answer_acknowledged(peer, data, request)
        except ShoalError:
            self.answerer.counts[Outcome.REFUSED] += 1
            raise

    def _answer(self, peer: DevicePeer, data: bytes, request: device_pb2.SyncRequest) -> bytes:
        now_ms = self._clock.wall_ms()
        answer = self.answerer.answer(peer, data, request, now_ms)
        self.presence.note(peer, data, now_ms)
        return answer

    async def _answer_acknowledged(
        self, peer: DevicePeer, data: bytes, request: device_pb2.SyncRequest
    ) -> bytes:
        check_acknowledgements(request, self._settings.sync)
        sequence = await self.recorder.acknowledge(batch_of(peer, request))
        return self._answer(peer, data, request) + acknowledged(sequence)

    async def _meet(self, peer: DevicePeer) -> None:
        if await self._follower.meet(peer.namespace, peer.device_id) is False:
            raise DeviceUnknown("this cloud does not know the device; enrol it again")

    async def get_ticket(
        self, peer: DevicePeer, request: device_pb2.GetTicketRequest
    ) -> device_pb2.GetTicketResponse:
        """Opens one exclusive file to the device.

        Raises:
            FileNotAssigned, NameInvalid, DeviceRevoked: it does not.
        """
        release_set = self.answerer.set_for(peer)
        digest = check_digest(request.digest)
        view = await self.view_of(peer)
        if not is_entitled(release_set, view, digest):
            raise FileNotAssigned(
                "no version that the device shall hold has this exclusive file; sync first"
            )
        expires_at_ms = self._clock.wall_ms() + self._settings.sync.ticket_valid_ms
        ticket = self._tickets.issue(peer.device_id, digest, expires_at_ms)
        return device_pb2.GetTicketResponse(ticket=ticket, expires_at_ms=expires_at_ms)

    async def view_of(self, peer: DevicePeer) -> DeviceView:
        """The device as it last synced, here or at another gateway."""
        enrolled = self._follower.enrolled(peer.namespace, peer.device_id) or {}
        newest = self.presence.newest(peer)
        if newest is not None:
            request = self.answerer.read(newest)
            return DeviceView(peer.device_id, newest, request, enrolled)
        columns = devices.c
        async with self._database.read() as connection:
            rows = await connection.execute(
                sa.select(columns.facts, columns.installed, columns.attributes).where(
                    columns.namespace == peer.namespace, columns.device_id == peer.device_id
                )
            )
            row = rows.first()
        if row is None:
            raise DeviceUnknown("this cloud does not know the device; enrol it again")
        return DeviceView.of(peer.device_id, _stored(row.facts, row.installed), row.attributes)


def _stored(
    facts: dict[str, object], installed: dict[str, dict[str, object]]
) -> device_pb2.SyncRequest:
    """The request that presence.py stored."""
    request = device_pb2.SyncRequest()
    ParseDict(facts, request.facts, ignore_unknown_fields=True)
    for task, row in installed.items():
        version = {"task": task, "version": row["version"], "digest": row["digest"]}
        state = f"TASK_STATE_{str(row['state']).upper()}"
        ParseDict(
            {"version": version, "state": state},
            request.installed.add(),
            ignore_unknown_fields=True,
        )
    return request


def _span(
    told: Sequence[device_pb2.Acknowledgement],
) -> AbstractContextManager[object]:
    """A span in the trace of the release that was acknowledged first; none when tracing is off."""
    traceparent = next((one.traceparent for one in told if one.traceparent), "")
    if not traceparent:
        return nullcontext()
    parent = _propagator.extract({"traceparent": traceparent})
    return _tracer.start_as_current_span("shoal.gateway.acknowledge", context=parent)


def add_device_service(server: grpc.aio.Server, gateway: Gateway, peers: PeerReader) -> None:
    """Puts the service on a server. Its client certificates must have been required."""

    async def sync(data: bytes, context: Context) -> bytes:
        return await gateway.sync(peers.read(context), data)

    async def get_ticket(data: bytes, context: Context) -> bytes:
        peer = peers.read(context)
        try:
            request = device_pb2.GetTicketRequest.FromString(data)
        except DecodeError as error:
            raise SyncInvalid("the request is no GetTicketRequest") from error
        return (await gateway.get_ticket(peer, request)).SerializeToString()

    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Sync": grpc.unary_unary_rpc_method_handler(answering(sync)),
        "GetTicket": grpc.unary_unary_rpc_method_handler(answering(get_ticket)),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
