"""Who is calling: the device and namespace of the client certificate that TLS has verified.

Rules of this module:

- A field of a request never says who is calling; only the certificate does.
- TLS has checked issuer and validity before this reads names; a certificate that is no device's is refused.
- Reading a certificate costs more than answering: the certificates last seen are remembered, bounded.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from cloud.keys.authority import read_device_certificate
from cloud.keys.errors import CertificateInvalid

PEERS_MAX = 65_536
_PEM = "x509_pem_cert"


@dataclass(frozen=True, slots=True)
class DevicePeer:
    """A device that TLS vouches for.

    Attributes:
        device_id: Digest of its public key.
        namespace: "app/project" that it is enrolled into.
    """

    device_id: str
    namespace: str


class CallContext(Protocol):
    """The part of grpc.aio.ServicerContext that is read here."""

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """What TLS knows of the peer."""
        ...


class PeerReader:
    """Reads peers and remembers them."""

    def __init__(self, peers_max: int = PEERS_MAX) -> None:
        self._peers_max = peers_max
        self._known: dict[bytes, DevicePeer] = {}

    def read(self, context: CallContext) -> DevicePeer:
        """The device that makes this call.

        Raises:
            CertificateInvalid: there is no client certificate, or it is no device's.
        """
        pem = next(iter(context.auth_context().get(_PEM, ())), None)
        if pem is None:
            raise CertificateInvalid("call with the device certificate that enrolment gave")
        known = self._known.get(pem)
        if known is None:
            certificate = read_device_certificate(pem)
            known = DevicePeer(certificate.device_id, certificate.namespace)
            if len(self._known) >= self._peers_max:
                self._known.clear()
            self._known[pem] = known
        return known
