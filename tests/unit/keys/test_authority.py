"""Certificates: what is issued, to whom, and what is refused."""

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from cloud.keys.authority import (
    CertificateAuthority,
    create_authority,
    read_device_certificate,
)
from cloud.keys.errors import CertificateInvalid
from cloud.keys.settings import DAY_MS
from device_agent.tasks.names import device_id_of

NOW = 1_790_000_000_000
NAMESPACE = "demo/digits-app"


def authority() -> CertificateAuthority:
    key_pem, certificate_pem = create_authority()
    key = load_pem_private_key(key_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return CertificateAuthority(key, x509.load_pem_x509_certificate(certificate_pem))


def request(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, name: str = "x") -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    algorithm = hashes.SHA256() if isinstance(key, ec.EllipticCurvePrivateKey) else None
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM)


CA = authority()
KEY = ec.generate_private_key(ec.SECP256R1())


def test_a_device_certificate_names_the_digest_of_its_key_and_its_namespace() -> None:
    issued = CA.issue_device(request(KEY, name="someone else"), NAMESPACE, NOW)
    spki = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert issued.device_id == device_id_of(spki)
    assert issued.namespace == NAMESPACE
    assert issued.expires_at_ms == NOW + 90 * DAY_MS
    assert CA.verify(issued.pem) == issued
    certificate = x509.load_pem_x509_certificate(issued.pem)
    assert certificate.not_valid_before_utc == dt.datetime.fromtimestamp(
        (NOW - DAY_MS) / 1000, tz=dt.UTC
    )


def test_the_longest_namespace_fits() -> None:
    longest = f"{'a' * 63}/{'b' * 63}"
    assert CA.issue_device(request(KEY), longest, NOW).namespace == longest


def test_another_authority_is_noticed() -> None:
    issued = authority().issue_device(request(KEY), NAMESPACE, NOW)
    with pytest.raises(CertificateInvalid, match="not issued by this cloud"):
        CA.verify(issued.pem)


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        request(ed25519.Ed25519PrivateKey.generate()),
        request(ec.generate_private_key(ec.SECP384R1())),
        b"x" * 5000,
    ],
)
def test_a_bad_request_is_refused(pem: bytes) -> None:
    with pytest.raises(CertificateInvalid):
        CA.issue_device(pem, NAMESPACE, NOW)


def test_a_request_that_was_changed_after_signing_is_refused() -> None:
    der = x509.load_pem_x509_csr(request(KEY, name="mine")).public_bytes(Encoding.DER)
    changed = x509.load_der_x509_csr(der.replace(b"mine", b"your")).public_bytes(Encoding.PEM)
    with pytest.raises(CertificateInvalid, match="not signed"):
        CA.issue_device(changed, NAMESPACE, NOW)


def test_a_certificate_whose_name_is_not_its_keys_digest_is_refused() -> None:
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "ab" * 16),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, NAMESPACE),
        ]
    )
    forged = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(7)
        .not_valid_before(dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(dt.datetime(2030, 1, 1, tzinfo=dt.UTC))
        .sign(KEY, hashes.SHA256())
    )
    with pytest.raises(CertificateInvalid, match="digest of its key"):
        read_device_certificate(forged.public_bytes(Encoding.PEM))


@pytest.mark.parametrize("pem", [b"", b"no certificate", CA.certificate_pem])
def test_what_is_no_device_certificate_is_refused(pem: bytes) -> None:
    with pytest.raises(CertificateInvalid):
        read_device_certificate(pem)


def test_a_server_certificate_outlives_every_clock_and_names_its_hosts() -> None:
    _, chain = CA.issue_server(["localhost", "127.0.0.1", "::1"])
    leaf, root = x509.load_pem_x509_certificates(chain)
    leaf.verify_directly_issued_by(root)
    assert (leaf.not_valid_before_utc.year, leaf.not_valid_after_utc.year) == (1970, 2100)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
