"""The link over real gRPC with mutual TLS on loopback: messages pass, and every error has the agent's name."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from shoal.device.v1 import device_pb2, device_pb2_grpc
from shoal.telemetry.v1 import telemetry_pb2, telemetry_pb2_grpc

from cloud.keys.authority import CertificateAuthority, create_authority
from device_agent.agent.errors import PeerRefused, PeerUnreachable, ReportGap, Revoked
from device_agent.agent.grpc_link import GrpcLink, LinkIdentity
from device_agent.clock import SystemClock
from tests.helpers.device_identity import certificate_request

NOW_MS = SystemClock().wall_ms()
pytestmark = pytest.mark.slow


@dataclass
class Answers:
    """What the server says; a status instead of an answer when `fails` is set."""

    fails: tuple[grpc.StatusCode, tuple[tuple[str, str], ...]] | None = None
    seen: list[str] = field(default_factory=list)

    async def check(self, context: grpc.aio.ServicerContext) -> None:  # type: ignore[type-arg]  # unused
        self.seen.append(next(iter(context.auth_context()["x509_common_name"])).decode())
        if self.fails is not None:
            code, trailing = self.fails
            await context.abort(code, "the reason", trailing)


class Device(device_pb2_grpc.DeviceServiceServicer):
    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    async def Sync(  # named by the proto
        self,
        request: device_pb2.SyncRequest,
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]  # unused
    ) -> device_pb2.SyncResponse:
        await self._answers.check(context)
        return device_pb2.SyncResponse(epoch=request.epoch + 1, next_sync_after_ms=5)

    async def GetTicket(  # named by the proto
        self,
        request: device_pb2.GetTicketRequest,
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]  # unused
    ) -> device_pb2.GetTicketResponse:
        await self._answers.check(context)
        return device_pb2.GetTicketResponse(ticket=f"for {request.digest}")


async def _from[T](first: T, rest: AsyncIterator[T]) -> AsyncIterator[T]:
    yield first
    async for one in rest:
        yield one


class Telemetry(telemetry_pb2_grpc.TelemetryServiceServicer):
    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    async def Tunnel(  # named by the proto
        self,
        request_iterator: AsyncIterator[telemetry_pb2.TunnelRequest],
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]  # unused
    ) -> AsyncIterator[telemetry_pb2.TunnelResponse]:
        first = await anext(
            request_iterator
        )  # a refusal before it could meet the message on its way
        await self._answers.check(context)
        async for request in _from(first, request_iterator):
            last = max((report.sequence for report in request.reports), default=0)
            yield telemetry_pb2.TunnelResponse(acknowledged_sequence=last)


def make_authority() -> CertificateAuthority:
    key_pem, certificate_pem = create_authority()
    key = load_pem_private_key(key_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return CertificateAuthority(key, x509.load_pem_x509_certificate(certificate_pem))


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
async def identity(answers: Answers) -> AsyncIterator[LinkIdentity]:
    authority = make_authority()
    server_key, server_chain = authority.issue_server(("127.0.0.1",))
    server = grpc.aio.server()
    device_pb2_grpc.add_DeviceServiceServicer_to_server(Device(answers), server)  # type: ignore[no-untyped-call]  # generated
    telemetry_pb2_grpc.add_TelemetryServiceServicer_to_server(Telemetry(answers), server)  # type: ignore[no-untyped-call]  # generated
    credentials = grpc.ssl_server_credentials(
        [(server_key, server_chain)], authority.certificate_pem, require_client_auth=True
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    key = ec.generate_private_key(ec.SECP256R1())
    issued = authority.issue_device(certificate_request(key), "demo/app", NOW_MS)
    yield LinkIdentity(
        address=f"127.0.0.1:{port}",
        ca_pem=authority.certificate_pem,
        key_pem=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        certificate_pem=issued.pem,
    )
    await server.stop(0)


async def test_messages_pass_both_ways(identity: LinkIdentity, answers: Answers) -> None:
    link = GrpcLink(lambda: identity)
    assert (await link.sync(device_pb2.SyncRequest(epoch=4))).epoch == 5
    assert (await link.get_ticket("sha256:00")).ticket == "for sha256:00"

    async def requests() -> AsyncIterator[telemetry_pb2.TunnelRequest]:
        for sequence in (1, 2):
            yield telemetry_pb2.TunnelRequest(reports=[telemetry_pb2.Report(sequence=sequence)])

    got = [one.acknowledged_sequence async for one in link.tunnel(requests())]
    assert got == [1, 2]
    assert len(set(answers.seen)) == 1
    await link.close()


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, "DEVICE_REVOKED", Revoked),
        (grpc.StatusCode.PERMISSION_DENIED, "", PeerRefused),
        (grpc.StatusCode.INVALID_ARGUMENT, "FACTS_INVALID", PeerRefused),
        (grpc.StatusCode.UNAVAILABLE, "", PeerUnreachable),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "", PeerUnreachable),
    ],
)
async def test_errors_have_names(
    identity: LinkIdentity,
    answers: Answers,
    status: grpc.StatusCode,
    code: str,
    error: type[Exception],
) -> None:
    answers.fails = (status, (("shoal-error-code", code),) if code else ())
    with pytest.raises(error) as caught:
        await GrpcLink(lambda: identity).sync(device_pb2.SyncRequest())
    assert type(caught.value) is error
    assert code in str(caught.value)


async def test_a_gap_tells_what_the_cloud_expects(identity: LinkIdentity, answers: Answers) -> None:
    trailing = (("shoal-error-code", "REPORT_GAP"), ("shoal-expected-sequence", "7"))
    answers.fails = (grpc.StatusCode.FAILED_PRECONDITION, trailing)

    async def requests() -> AsyncIterator[telemetry_pb2.TunnelRequest]:
        yield telemetry_pb2.TunnelRequest()

    with pytest.raises(ReportGap) as caught:
        async for _ in GrpcLink(lambda: identity).tunnel(requests()):
            pass
    assert caught.value.expected == 7


async def test_a_device_without_certificate_or_with_another_ca_gets_nowhere(
    identity: LinkIdentity,
) -> None:
    other = make_authority()
    key = ec.generate_private_key(ec.SECP256R1())
    stranger = LinkIdentity(
        address=identity.address,
        ca_pem=identity.ca_pem,
        key_pem=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        certificate_pem=other.issue_device(certificate_request(key), "demo/app", NOW_MS).pem,
    )
    with pytest.raises(PeerUnreachable):
        await GrpcLink(lambda: stranger).sync(device_pb2.SyncRequest())


async def test_a_cloud_of_another_ca_is_not_believed(identity: LinkIdentity) -> None:
    other = make_authority()
    fooled = LinkIdentity(
        address=identity.address,
        ca_pem=other.certificate_pem,
        key_pem=identity.key_pem,
        certificate_pem=identity.certificate_pem,
    )
    with pytest.raises(PeerUnreachable):
        await GrpcLink(lambda: fooled).sync(device_pb2.SyncRequest())


async def test_nobody_listens(identity: LinkIdentity) -> None:
    nowhere = LinkIdentity(
        address="127.0.0.1:1",
        ca_pem=identity.ca_pem,
        key_pem=identity.key_pem,
        certificate_pem=identity.certificate_pem,
    )
    with pytest.raises(PeerUnreachable):
        await GrpcLink(lambda: nowhere).sync(device_pb2.SyncRequest())
