"""Makes the keys of a new cloud and signs its first metadata.

Rules of this module:

- All or nothing: everything is written beside the folder and moved into place by one rename.
- Nothing is overwritten, ever.
- The first metadata lies in online/metadata, because the server loads it; root and targets keys stay offline.
"""

import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Role, Root, Snapshot, TargetFile, Targets, Timestamp

from cloud.keys.authority import CertificateAuthority, create_authority
from cloud.keys.director import director_keys_target
from cloud.keys.errors import KeysExist
from cloud.keys.files import (
    KeyFolder,
    encode_signing_key,
    load_tls_key,
    sync_folder,
    write_new,
)
from cloud.keys.publishing import (
    Publisher,
    delegate_namespaces,
    first_namespace_role,
    sign_root,
)
from cloud.keys.roles import SPEC_VERSION, expiry, to_bytes
from cloud.keys.settings import SETTINGS, KeySettings
from device_agent.failpoint import failpoint
from device_agent.tasks.trust import DIRECTOR_TARGET

TICKET_SECRET_BYTES: Final = 32
PUBLIC_MODE: Final = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKeys:
    """The signers of a new repository, before they are written."""

    roots: tuple[Ed25519PrivateKey, ...]
    targets: Ed25519PrivateKey
    online: Ed25519PrivateKey
    director: Ed25519PrivateKey
    publishers: dict[str, Ed25519PrivateKey]

    @classmethod
    def generate(cls, namespaces: Sequence[str], settings: KeySettings) -> "NewKeys":
        """Fresh keys from the system's random source."""
        generate = Ed25519PrivateKey.generate
        return cls(
            roots=tuple(generate() for _ in range(settings.root_keys)),
            targets=generate(),
            online=generate(),
            director=generate(),
            publishers={namespace: generate() for namespace in namespaces},
        )


def init_keys(
    folder: Path,
    *,
    namespaces: Sequence[str],
    hosts: Sequence[str] = ("localhost", "127.0.0.1"),
    now_ms: int,
    passphrase: str | None = None,
    settings: KeySettings = SETTINGS,
) -> KeyFolder:
    """Makes a whole set of keys in a new folder.

    Args:
        folder: Must not exist, or be empty.
        namespaces: "app/project" of each namespace that may publish from the start.
        hosts: Names and addresses that devices reach the servers by.
        now_ms: Wall clock.
        passphrase: Encrypts offline and publishing keys when given.
        settings: Lifetimes and thresholds.

    Raises:
        KeysExist: there is something in the folder.
    """
    if folder.exists() and any(folder.iterdir()):
        raise KeysExist(f"{folder} is not empty; keys are never overwritten, choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    working = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    try:
        _write_all(KeyFolder(working), namespaces, hosts, now_ms, passphrase, settings)
        failpoint("keys.init.written")
        os.rename(working, folder)  # replaces an empty folder, refuses a full one
    except BaseException:
        shutil.rmtree(working, ignore_errors=True)
        raise
    sync_folder(folder.parent)
    return KeyFolder(folder)


def first_metadata(
    keys: NewKeys, now_ms: int, settings: KeySettings = SETTINGS
) -> dict[str, bytes]:
    """First versions of all roles but snapshot and timestamp, by file name, and the director's target."""
    director = director_keys_target(keys.director.public_key())
    target = TargetFile.from_data(DIRECTOR_TARGET, director, ["sha256"])
    targets = Targets(
        1,
        SPEC_VERSION,
        expiry(now_ms, settings.targets_lifetime_ms),
        {DIRECTOR_TARGET: target},
    )
    publishers = [Publisher(name, CryptoSigner(key)) for name, key in keys.publishers.items()]
    delegate_namespaces(targets, publishers)
    top = Metadata(targets)
    top.sign(CryptoSigner(keys.targets))
    root_signers = [CryptoSigner(key) for key in keys.roots]
    files = {
        "1.root.json": sign_root(_first_root(keys, settings), root_signers, now_ms, settings),
        "1.targets.json": to_bytes(top),
        "director": director,
    }
    for publisher in publishers:
        for role, data in first_namespace_role(publisher, now_ms, settings).roles.items():
            files[f"1.{role}.json"] = data
    return files


def _first_root(keys: NewKeys, settings: KeySettings) -> Root:
    roots = [CryptoSigner(key).public_key for key in keys.roots]
    targets, online = CryptoSigner(keys.targets).public_key, CryptoSigner(keys.online).public_key
    return Root(
        1,
        SPEC_VERSION,
        keys={key.keyid: key for key in (*roots, targets, online)},
        roles={
            Root.type: Role([key.keyid for key in roots], settings.root_threshold),
            Targets.type: Role([targets.keyid], 1),
            Snapshot.type: Role([online.keyid], 1),
            Timestamp.type: Role([online.keyid], 1),
        },
        consistent_snapshot=True,
    )


def _write_all(
    folder: KeyFolder,
    namespaces: Sequence[str],
    hosts: Sequence[str],
    now_ms: int,
    passphrase: str | None,
    settings: KeySettings,
) -> None:
    keys = NewKeys.generate(namespaces, settings)
    metadata = folder.online / "metadata"
    for path in (folder.path, folder.offline, folder.publish, folder.online, metadata):
        path.mkdir(mode=0o700)
    for number, key in enumerate(keys.roots, 1):
        write_new(folder.root_key(number), encode_signing_key(key, passphrase))
    write_new(folder.targets_key, encode_signing_key(keys.targets, passphrase))
    for namespace, key in keys.publishers.items():
        write_new(folder.publishing_key(namespace), encode_signing_key(key, passphrase))
    write_new(folder.online / "online.pem", encode_signing_key(keys.online, None))
    write_new(folder.online / "director.pem", encode_signing_key(keys.director, None))
    write_new(folder.online / "tickets.secret", secrets.token_bytes(TICKET_SECRET_BYTES))
    _write_certificates(folder, hosts, settings)
    for name, data in first_metadata(keys, now_ms, settings).items():
        write_new(metadata / name, data, PUBLIC_MODE)
    for path in (metadata, folder.online, folder.publish, folder.offline, folder.path):
        sync_folder(path)


def _write_certificates(folder: KeyFolder, hosts: Sequence[str], settings: KeySettings) -> None:
    key_pem, certificate_pem = create_authority()
    write_new(folder.online / "ca.pem", key_pem)
    write_new(folder.online / "ca.crt", certificate_pem, PUBLIC_MODE)
    authority = CertificateAuthority(
        load_tls_key(folder.online / "ca.pem"),
        x509.load_pem_x509_certificate(certificate_pem),
        settings,
    )
    tls_key, chain = authority.issue_server(hosts)
    write_new(folder.online / "tls.pem", tls_key)
    write_new(folder.online / "tls.crt", chain, PUBLIC_MODE)
