"""The certificate authority of one cloud: device certificates from requests, and the servers' own.

Rules of this module:

- One kind of key everywhere: ECDSA on P-256, which TLS stacks of small devices have.
- A device certificate says who: CN is the device id (the digest of its public key), O the namespace. A certificate
  whose CN is not its own key's digest is refused, whoever signed it.
- CA and server certificates are valid from 1970 to 2100; device certificates for 90 days, from a day back.
- Nothing of a request but its public key is copied into a certificate.
"""

import datetime as dt
import hashlib
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloud.keys.errors import CertificateInvalid
from cloud.keys.settings import SETTINGS, KeySettings
from device_agent.tasks.names import Namespace, check_device_id, device_id_of

_HOST = re.compile(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?")
_FOREVER = (dt.datetime(1970, 1, 1, tzinfo=dt.UTC), dt.datetime(2100, 1, 1, tzinfo=dt.UTC))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCertificate:
    """What a device certificate says.

    Attributes:
        device_id: Who.
        namespace: "app/project" that it was enrolled into.
        serial: Serial number, hex.
        expires_at_ms: End of validity.
        public_key: DER SubjectPublicKeyInfo.
        pem: The certificate.
    """

    device_id: str
    namespace: str
    serial: str
    expires_at_ms: int
    public_key: bytes
    pem: bytes


class CertificateAuthority:
    """Issues certificates with the cloud's CA key."""

    def __init__(
        self,
        key: ec.EllipticCurvePrivateKey,
        certificate: x509.Certificate,
        settings: KeySettings = SETTINGS,
    ) -> None:
        self._key = key
        self._certificate = certificate
        self._settings = settings
        self.certificate_pem = certificate.public_bytes(Encoding.PEM)
        self.fingerprint = ca_fingerprint(certificate)

    def issue_device(self, request_pem: bytes, namespace: str, now_ms: int) -> DeviceCertificate:
        """A certificate for the key that signed the request.

        Raises:
            CertificateInvalid: the request is malformed, unsigned, or for another kind of key.
        """
        public = self.request_key(request_pem)
        spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        start = now_ms - self._settings.device_certificate_backdate_ms
        end = now_ms + self._settings.device_certificate_ms
        builder = (
            self._builder(public, (_moment(start), _moment(end)))
            .subject_name(_device_name(device_id_of(spki), namespace))
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        )
        certificate = builder.sign(self._key, hashes.SHA256())
        return _describe(certificate)

    def request_key(self, request_pem: bytes) -> ec.EllipticCurvePublicKey:
        """The public key of a certificate request that its owner signed.

        Raises:
            CertificateInvalid: the request is malformed, unsigned, or for another kind of key.
        """
        if len(request_pem) > self._settings.csr_bytes_max:
            raise CertificateInvalid(
                f"the request is longer than {self._settings.csr_bytes_max} bytes"
            )
        try:
            request = x509.load_pem_x509_csr(request_pem)
            key, signed = request.public_key(), request.is_signature_valid
        except (ValueError, UnsupportedAlgorithm, InvalidSignature) as error:
            raise CertificateInvalid("the request is not a PEM certificate request") from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(
            key.curve, ec.SECP256R1
        ):
            raise CertificateInvalid("a device key must be ECDSA on P-256")
        if not signed:
            raise CertificateInvalid("the request is not signed by its own key")
        return key

    def issue_server(self, hosts: Sequence[str]) -> tuple[bytes, bytes]:
        """A new key and certificate chain (PEM both) for servers that are reached by these names or addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        builder = (
            self._builder(key.public_key(), _FOREVER)
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Shoal cloud")]))
            .add_extension(names, critical=False)
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        )
        certificate = builder.sign(self._key, hashes.SHA256())
        return private_pem(key), certificate.public_bytes(Encoding.PEM) + self.certificate_pem

    def verify(self, pem: bytes) -> DeviceCertificate:
        """Reads a certificate and checks that this authority issued it.

        Raises:
            CertificateInvalid: it did not, or the certificate is no device certificate.
        """
        described = read_device_certificate(pem)
        try:
            x509.load_pem_x509_certificate(pem).verify_directly_issued_by(self._certificate)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise CertificateInvalid("the certificate was not issued by this cloud") from error
        return described

    def _builder(
        self, public: ec.EllipticCurvePublicKey, valid: tuple[dt.datetime, dt.datetime]
    ) -> x509.CertificateBuilder:
        issuer_key = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        return (
            x509.CertificateBuilder()
            .issuer_name(self._certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(valid[0])
            .not_valid_after(valid[1])
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key.value),
                critical=False,
            )
        )


def create_authority() -> tuple[bytes, bytes]:
    """Makes the key and the self-signed certificate (PEM both) of a new authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Shoal device CA")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_FOREVER[0])
        .not_valid_after(_FOREVER[1])
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return private_pem(key), certificate.public_bytes(Encoding.PEM)


def read_device_certificate(pem: bytes) -> DeviceCertificate:
    """What a client certificate says; that TLS has checked its issuer is the caller's business.

    Raises:
        CertificateInvalid: it is no device certificate: names missing, or CN is not the digest of its key.
    """
    try:
        return _describe(x509.load_pem_x509_certificate(pem))
    except CertificateInvalid:
        raise
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateInvalid("the client certificate is not a device certificate") from error


def ca_fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 over the DER form, hex: what an enrolment code pins."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PKCS #8, unencrypted: the file's mode and folder protect it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _describe(certificate: x509.Certificate) -> DeviceCertificate:
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    organization = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    if len(common) != 1 or len(organization) != 1:
        raise CertificateInvalid("a device certificate has one CN and one O; enrol the device")
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    device_id = check_device_id(str(common[0].value))
    if device_id != device_id_of(spki):
        raise CertificateInvalid("the certificate's CN is not the digest of its key")
    return DeviceCertificate(
        device_id=device_id,
        namespace=str(Namespace.parse(str(organization[0].value))),
        serial=f"{certificate.serial_number:x}",
        expires_at_ms=int(certificate.not_valid_after_utc.timestamp() * 1000),
        public_key=spki,
        pem=certificate.public_bytes(Encoding.PEM),
    )


def _device_name(device_id: str, namespace: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, device_id),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, str(Namespace.parse(namespace))),
        ]
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        if not _HOST.fullmatch(host):
            raise CertificateInvalid(
                f"{host[:100]!r} is no host name or address; write it as DNS does, in ASCII"
            ) from None
        return x509.DNSName(host)


def _moment(at_ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(at_ms // 1000, tz=dt.UTC)
