"""The link over gRPC with mutual TLS.

Rules of this module:

- A connection lives as long as one call or one conversation: a device that has nothing to say holds none.
- The certificate is looked up for each connection, so a renewed one is used at once.
- Errors of gRPC leave as the agent's own: unreachable, refused (with the cloud's code), revoked.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import grpc
from shoal.device.v1.device_pb2 import (
    GetTicketRequest,
    GetTicketResponse,
    SyncRequest,
    SyncResponse,
)
from shoal.device.v1.device_pb2_grpc import DeviceServiceStub
from shoal.telemetry.v1.telemetry_pb2 import TunnelRequest, TunnelResponse
from shoal.telemetry.v1.telemetry_pb2_grpc import TelemetryServiceStub

from device_agent.agent.errors import PeerRefused, PeerUnreachable, ReportGap, Revoked

UNREACHABLE = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
    }
)
CALL_TIMEOUT_S = 20.0
MESSAGE_BYTES_MAX = 4 * 1024 * 1024
SEQUENCE_CHARS_MAX = 20  # of 64 bits
ERROR_CODE = "shoal-error-code"
EXPECTED_SEQUENCE = "shoal-expected-sequence"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkIdentity:
    """What one connection is made with.

    Attributes:
        address: host:port of the cloud's gRPC face.
        ca_pem: The cloud's own certificate authority; no other is trusted.
        key_pem: The device's key.
        certificate_pem: The device's certificate.
    """

    address: str
    ca_pem: bytes
    key_pem: bytes
    certificate_pem: bytes


class GrpcLink:
    """Implements device_agent.agent.link.Link."""

    def __init__(self, identity: Callable[[], LinkIdentity]) -> None:
        self._identity = identity

    async def sync(self, request: SyncRequest) -> SyncResponse:
        """One Sync on a connection of its own."""
        async with self._channel() as channel:
            with _named_errors():
                answer: SyncResponse = await _device(channel).Sync(request, timeout=CALL_TIMEOUT_S)
                return answer

    async def tunnel(self, requests: AsyncIterator[TunnelRequest]) -> AsyncIterator[TunnelResponse]:
        """One stream on a connection of its own."""
        async with self._channel() as channel:
            with _named_errors():
                stub = TelemetryServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
                call = stub.Tunnel(requests)
                async for response in call:
                    yield response

    async def get_ticket(self, digest: str) -> GetTicketResponse:
        """A ticket for one exclusive file."""
        async with self._channel() as channel:
            with _named_errors():
                answer: GetTicketResponse = await _device(channel).GetTicket(
                    GetTicketRequest(digest=digest), timeout=CALL_TIMEOUT_S
                )
                return answer

    async def close(self) -> None:
        """Holds nothing between calls."""

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[grpc.aio.Channel]:
        identity = self._identity()
        credentials = grpc.ssl_channel_credentials(
            root_certificates=identity.ca_pem,
            private_key=identity.key_pem,
            certificate_chain=identity.certificate_pem,
        )
        options = [
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            ("grpc.enable_retries", 0),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.keepalive_time_ms", 60_000),
        ]
        async with grpc.aio.secure_channel(identity.address, credentials, options) as channel:
            yield channel


def _device(channel: grpc.aio.Channel) -> DeviceServiceStub:
    return DeviceServiceStub(channel)  # type: ignore[no-untyped-call]  # generated


@contextmanager
def _named_errors() -> Iterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise named_error(error) from error


def named_error(error: grpc.aio.AioRpcError) -> PeerUnreachable | PeerRefused:
    """The agent's error for an answer of gRPC."""
    trailing = dict(error.trailing_metadata() or ())
    code = str(trailing.get(ERROR_CODE, ""))
    text = f"{error.code().name} {code}: {error.details()}"
    if code == "DEVICE_REVOKED":
        return Revoked(f"{text}; enrol this device again")
    expected = str(trailing.get(EXPECTED_SEQUENCE, "0"))
    if code == "REPORT_GAP" and len(expected) <= SEQUENCE_CHARS_MAX and expected.isdecimal():
        return ReportGap(text, expected=int(expected))
    if error.code() in UNREACHABLE and not code:
        return PeerUnreachable(f"{text}; what is held goes on, and the agent tries again")
    return PeerRefused(text)
