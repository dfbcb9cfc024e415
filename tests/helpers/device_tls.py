"""Mutual TLS for tests: a cloud's CA, its server credentials, and devices with certificates of it.

cloud = TlsCloud()
port = server.add_secure_port("127.0.0.1:0", cloud.server_credentials())
device = cloud.enrol("demo/digits-app")
channel = device.channel(port)
"""

from dataclasses import dataclass

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from cloud.keys.authority import CertificateAuthority, create_authority
from cloud.rpc.peer import DevicePeer
from device_agent.clock import SystemClock


@dataclass(frozen=True, slots=True)
class TlsDevice:
    """A device's key and certificate."""

    peer: DevicePeer
    key: ec.EllipticCurvePrivateKey
    certificate_pem: bytes
    ca_pem: bytes

    def channel(self, port: int) -> grpc.aio.Channel:
        key_pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        credentials = grpc.ssl_channel_credentials(self.ca_pem, key_pem, self.certificate_pem)
        return grpc.aio.secure_channel(f"localhost:{port}", credentials)


class TlsCloud:
    """One CA."""

    def __init__(self) -> None:
        key_pem, certificate_pem = create_authority()
        key = load_pem_private_key(key_pem, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self.authority = CertificateAuthority(key, x509.load_pem_x509_certificate(certificate_pem))

    @property
    def ca_pem(self) -> bytes:
        return self.authority.certificate_pem

    def server_credentials(self, *, require_client: bool = True) -> grpc.ServerCredentials:
        key_pem, chain_pem = self.authority.issue_server(["localhost", "127.0.0.1"])
        return grpc.ssl_server_credentials(
            [(key_pem, chain_pem)], self.ca_pem, require_client_auth=require_client
        )

    def enrol(self, namespace: str) -> TlsDevice:
        key = ec.generate_private_key(ec.SECP256R1())
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        pem = request.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
        certificate = self.authority.issue_device(pem, namespace, SystemClock().wall_ms())
        peer = DevicePeer(certificate.device_id, namespace)
        return TlsDevice(peer, key, certificate.pem, self.ca_pem)
