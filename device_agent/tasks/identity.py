"""Who a device is: its key, the certificate that the cloud gave it, and what it needs to find and trust that cloud.

Rules of this module:

- The private key is made on the device, has mode 0600 and never leaves.
- Everything else lies in one file that is replaced by one rename: an identity is whole or absent.
- What is kept fits together: the certificate is for the key, and issued by the CA that is kept with it.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Self

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from device_agent.failpoint import failpoint
from device_agent.tasks.proof import make_proof
from device_agent.tasks.settings import IDENTITY, IdentitySettings
from device_agent.tasks.trust_errors import CloudUntrusted, IdentityInvalid

KEY_FILE: Final = "device.key"
IDENTITY_FILE: Final = "identity.json"


class _Stored(msgspec.Struct, frozen=True):
    """The file identity.json."""

    device_id: str
    namespace: str
    url: str
    sync_address: str
    ca_pem: str
    certificate_pem: str
    root: str


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A device that is enrolled.

    Attributes:
        device_id: First 32 hex digits of SHA-256 over the public key.
        namespace: "app/project".
        url: Address of the cloud's HTTPS face.
        sync_address: "host:port" of the cloud's gRPC face.
        ca_pem: The cloud's CA.
        certificate_pem: The device's certificate.
        key_pem: Its private key.
        root: TUF root that trust starts from.
    """

    device_id: str
    namespace: str
    url: str
    sync_address: str
    ca_pem: bytes
    certificate_pem: bytes
    key_pem: bytes
    root: bytes

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Reads the identity; None when the device is not enrolled.

        Raises:
            IdentityInvalid: there is one, but it is damaged.
        """
        path = folder / IDENTITY_FILE
        if not path.exists():
            return None
        try:
            stored = msgspec.json.decode(path.read_bytes(), type=_Stored)
            identity = cls(
                device_id=stored.device_id,
                namespace=stored.namespace,
                url=stored.url,
                sync_address=stored.sync_address,
                ca_pem=stored.ca_pem.encode(),
                certificate_pem=stored.certificate_pem.encode(),
                key_pem=(folder / KEY_FILE).read_bytes(),
                root=stored.root.encode(),
            )
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OSError) as error:
            raise IdentityInvalid(f"{path} cannot be read: {error}; enrol again") from error
        _check_certificate(identity)
        return identity

    @cached_property
    def key(self) -> ec.EllipticCurvePrivateKey:
        """The private key."""
        return _load_key(self.key_pem)

    @cached_property
    def certificate_expires_at_ms(self) -> int:
        """End of the certificate's validity."""
        certificate = x509.load_pem_x509_certificate(self.certificate_pem)
        return int(certificate.not_valid_after_utc.timestamp() * 1000)

    def needs_renewal(self, now_ms: int, settings: IdentitySettings = IDENTITY) -> bool:
        """Whether the certificate should be renewed now."""
        left_ms = self.certificate_expires_at_ms - now_ms
        return left_ms < settings.certificate_life_ms * settings.renew_share

    def proof(self, purpose: str, content: bytes, at_ms: int) -> str:
        """A proof that this device says `content` (device_agent/tasks/proof.py)."""
        return make_proof(self.key, purpose, content, at_ms)


def own_key(folder: Path) -> ec.EllipticCurvePrivateKey:
    """The device's key; makes one at the first time, before anything is sent."""
    path = folder / KEY_FILE
    if path.exists():
        return _load_key(path.read_bytes())
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    _replace(path, key_pem(key))
    return key


def keep(folder: Path, identity: Identity) -> Identity:
    """Replaces the stored identity by one that the cloud answered with.

    Raises:
        CloudUntrusted: it does not fit this device; what is stored stays.
    """
    try:
        _check_certificate(identity)
    except IdentityInvalid as error:
        raise CloudUntrusted(f"the cloud's answer was not used: {error}") from error
    stored = _Stored(
        device_id=identity.device_id,
        namespace=identity.namespace,
        url=identity.url,
        sync_address=identity.sync_address,
        ca_pem=identity.ca_pem.decode(),
        certificate_pem=identity.certificate_pem.decode(),
        root=identity.root.decode(),
    )
    _replace(folder / IDENTITY_FILE, msgspec.json.encode(stored))
    failpoint("identity.enrol.stored")
    return identity


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PKCS #8, unencrypted: the file's mode protects it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise IdentityInvalid(
            "the device key cannot be read; remove it and enrol again, as a new device"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise IdentityInvalid("the device key is no ECDSA key; remove it and enrol again")
    return key


def _check_certificate(identity: Identity) -> None:
    """Own key inside, issued by the CA."""
    try:
        certificate = x509.load_pem_x509_certificate(identity.certificate_pem)
        authority = x509.load_pem_x509_certificate(identity.ca_pem)
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise IdentityInvalid(
            "the certificate was not issued by this cloud's CA; enrol again"
        ) from error
    if certificate.public_key() != identity.key.public_key():
        raise IdentityInvalid("the certificate is for another key; enrol again")


def _replace(path: Path, data: bytes) -> None:
    """Writes a private file whole, durably."""
    working = path.with_suffix(".new")
    working.unlink(missing_ok=True)
    descriptor = os.open(working, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    failpoint("identity.file.written")
    working.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
