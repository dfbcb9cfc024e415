"""Where keys lie, and how a key file is written and read.

Rules of this module:

- Three folders for three places: `offline/` (root and targets keys: a safe), `publish/` (one key a namespace: the
  operators' machines) and `online/` (all that a server needs). A server never needs the first two.
- Private files have mode 0600, are written whole and never overwritten.
- Offline and publishing keys may be encrypted with a passphrase; a wrong one is an error that says so.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner

from cloud.keys.errors import KeysExist, KeysMissing, KeysUnreadable
from device_agent.tasks.names import Namespace

PASSPHRASE_VARIABLE: Final = "SHOAL_KEYS_PASSPHRASE"
PRIVATE_MODE: Final = 0o600


class KeyFolder:
    """Names of the files of one set of keys."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offline = path / "offline"
        self.publish = path / "publish"
        self.online = path / "online"

    def root_key(self, number: int) -> Path:
        """A root key, counted from 1."""
        return self.offline / f"root-{number}.pem"

    @property
    def targets_key(self) -> Path:
        """The key of the top-level targets role."""
        return self.offline / "targets.pem"

    def publishing_key(self, namespace: str) -> Path:
        """The key of a namespace's roles."""
        return self.publish / f"{Namespace.parse(namespace).dotted}.pem"


def write_new(path: Path, data: bytes, mode: int = PRIVATE_MODE) -> None:
    """Writes a file that must not exist, durably; what could not be written whole is taken away again.

    Raises:
        KeysExist: it does.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError as error:
        raise KeysExist(f"{path} exists; keys are never overwritten") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # a full disk does not say whose file it was
        raise


def sync_folder(path: Path) -> None:
    """Makes the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_file(path: Path) -> bytes:
    """Content of a key file.

    Raises:
        KeysMissing: there is none.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise KeysMissing(f"{path} is not there; make keys with `shoal keys init`") from error


def encode_signing_key(key: ed25519.Ed25519PrivateKey, passphrase: str | None) -> bytes:
    """PKCS #8 PEM, encrypted when there is a passphrase."""
    encryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def load_signing_key(path: Path, passphrase: str | None = None) -> ed25519.Ed25519PrivateKey:
    """Reads an Ed25519 key.

    Raises:
        KeysMissing: there is no such file.
        KeysUnreadable: wrong passphrase, or another kind of key.
    """
    with _unreadable(path):
        key = load_pem_private_key(read_file(path), passphrase.encode() if passphrase else None)
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise KeysUnreadable(f"{path} does not hold an Ed25519 key")
    return key


def load_tls_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Reads an unencrypted P-256 key; raises as `load_signing_key`."""
    with _unreadable(path):
        key = load_pem_private_key(read_file(path), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise KeysUnreadable(f"{path} does not hold an ECDSA key")
    return key


def load_signer(path: Path, passphrase: str | None = None) -> CryptoSigner:
    """Reads an Ed25519 key as a signer of TUF metadata; raises as `load_signing_key`."""
    return CryptoSigner(load_signing_key(path, passphrase))


@contextmanager
def _unreadable(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError) as error:
        # TypeError: encrypted without a passphrase, or a passphrase for a key that has none.
        raise KeysUnreadable(
            f"{path} cannot be opened: set {PASSPHRASE_VARIABLE} to its passphrase, or unset it when it has none"
        ) from error
