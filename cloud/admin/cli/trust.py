"""`shoal keys status|renew|rotate|revoke`: what devices trust, looked at and replaced while the cloud runs.

Rules of this module:

- Private keys stay where they are: this machine signs, the server verifies and publishes; the server's own new keys
  are made on the server.
- A step that broke off is repeated with the same command: keys that were made and not named yet are used again.
- What a server calls current is checked before anything is signed on top of it (cloud/keys/rotation.py).
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cyclopts import App, Parameter
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata, Root, Targets

from cloud.admin.cli.client import Answer, RestClient
from cloud.admin.cli.errors import UsageWrong
from cloud.admin.cli.output import (
    EXIT_DONE,
    EXIT_FAILED,
    Column,
    field,
    show,
    show_rows,
    time_field,
)
from cloud.admin.cli.where import HERE, Where
from cloud.keys.files import PASSPHRASE_VARIABLE, KeyFolder
from cloud.keys.offline import OfflineKeys
from cloud.keys.publishing import Publisher, renew_role
from cloud.keys.rotation import (
    check_roles,
    renew_root,
    resign_targets,
    rotate_director_key,
    rotate_publishing_key,
    rotate_role_key,
    rotate_root_key,
)
from cloud.keys.successors import KeyFile
from device_agent.clock import SystemClock
from device_agent.errors import ShoalError
from device_agent.tasks.names import Namespace

TRUST = "/api/v1/trust"
ROOT = "root"
SIGNED_BY_HAND = ("root", "targets", "namespace", "task")
DAY_MS = 24 * 3600 * 1000
KeysFlag = Annotated[Path, Parameter(help="folder of keys that `shoal keys init` made")]

rotate = App(name="rotate", help="Replace a key; devices follow by themselves.")
STATUS_COLUMNS = (
    field("NAME", "name"),
    field("STATE", "state"),
    time_field("EXPIRES (UTC)", "expires_at_ms"),
    field("VERSION", "version"),
    Column("SIGNED BY", lambda row: " ".join(keyid[:12] for keyid in _list(row.get("keyids")))),
)


class PublishedTrust:
    """The trust of a running cloud, seen from here."""

    def __init__(self, client: RestClient) -> None:
        self._client = client

    def rows(self) -> list[Answer]:
        """Each role and certificate."""
        return list(self._client.get(TRUST)["items"])

    def role(self, name: str) -> bytes:
        """Published metadata of a role."""
        return str(self._client.get(f"{TRUST}/roles/{name}")["text"]).encode()

    def successor(self, kind: str) -> Ed25519PublicKey:
        """The key that the server has made to follow its own."""
        made = self._client.post(f"{TRUST}/successors/{kind}", {})
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(made["public_hex"]))

    def publish(
        self, root: bytes = b"", roles: Mapping[str, bytes] | None = None, director: bytes = b""
    ) -> None:
        """Sends what was signed."""
        texts = {name: data.decode() for name, data in (roles or {}).items()}
        body = {"root": root.decode(), "roles": texts, "director_keys": director.decode()}
        self._client.post(TRUST, body)


def offline_keys(folder: Path) -> OfflineKeys:
    """The keys of a folder, opened with the passphrase of the environment."""
    return OfflineKeys(KeyFolder(folder), os.environ.get(PASSPHRASE_VARIABLE) or None)


def _list(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []


def _now_ms() -> int:
    return SystemClock().wall_ms()


def status(*, where: Where = HERE) -> None:
    """Show when each role and certificate expires, and which keys sign it."""
    with where.client() as client:
        show_rows(PublishedTrust(client).rows(), STATUS_COLUMNS, where.output)


def renew(
    roles: list[str] | None = None,
    /,
    *,
    keys: KeysFlag,
    due: Annotated[
        bool, Parameter(help="all that expire soon, as far as keys are at hand")
    ] = False,
    where: Where = HERE,
) -> int:
    """Sign roles again before they expire: root, targets, app/project or app/project/task."""
    if bool(roles) == due:
        raise UsageWrong("name roles to sign anew, or pass --due")
    with where.client() as client:
        trust = PublishedTrust(client)
        names = _due(trust.rows()) if due else [one.replace("/", ".") for one in roles or []]
        done, left = _renew_each(trust, offline_keys(keys), names, due)
    lines = [f"signed anew: {name}" for name in done] + [f"left: {why}" for why in left]
    show({"renewed": done, "left": left}, where.output, "\n".join(lines) or "nothing is due")
    return EXIT_FAILED if left else EXIT_DONE


def _due(rows: Iterable[Mapping[str, object]]) -> list[str]:
    return [
        str(row["name"]) for row in rows if row["state"] != "ok" and row["kind"] in SIGNED_BY_HAND
    ]


def _renew_each(
    trust: PublishedTrust, offline: OfflineKeys, names: Iterable[str], go_on: bool
) -> tuple[list[str], list[str]]:
    done: list[str] = []
    left: list[str] = []
    for name in names:
        try:
            _renew(trust, offline, name)
        except ShoalError as error:
            if not go_on:
                raise
            left.append(f"{name}: {error}")
        else:
            done.append(name)
    return done, left


def _renew(trust: PublishedTrust, offline: OfflineKeys, name: str) -> None:
    current = trust.role(name)
    if name == ROOT:
        trust.publish(root=renew_root(current, offline.root_signers(current), _now_ms()))
        return
    if name == Targets.type:
        signer = offline.targets_signer()
        _check_own_targets(signer, current)
        trust.publish(roles=resign_targets(current, signer, _now_ms()).roles)
        return
    parts = name.split(".")
    publisher = offline.publisher(str(Namespace.parse("/".join(parts[:2]))))
    trust.publish(roles=renew_role(publisher, name, current, _now_ms()).roles)


def _check_own_targets(signer: CryptoSigner, current: bytes) -> None:
    metadata = Metadata[Targets].from_bytes(current)
    Publisher("shoal/targets", signer).check_own(metadata, Targets.type)


@rotate.command(name="root")
def rotate_root(
    retired: Annotated[str, Parameter(help="number of its file, or its id when it is lost")],
    /,
    *,
    keys: KeysFlag,
    where: Where = HERE,
) -> None:
    """Replace one root key; root keys at hand must reach the threshold without what is lost."""
    offline = offline_keys(keys)
    with where.client() as client:
        trust = PublishedTrust(client)
        current = trust.role(ROOT)
        signers = offline.root_signers(current)
        slot, keyid = offline.root_slot(current, retired)
        fresh = CryptoSigner(slot.prepare())
        if fresh.public_key.keyid not in _keyids(current, ROOT):
            trust.publish(root=rotate_root_key(current, signers, keyid, fresh, _now_ms()))
        slot.adopt()
    _say_rotated(where, slot, f"root key {keyid[:12]} is trusted no more")


@rotate.command(name="targets")
def rotate_targets(*, keys: KeysFlag, where: Where = HERE) -> None:
    """Replace the key of the top-level targets role; needs the root keys."""
    offline = offline_keys(keys)
    with where.client() as client:
        trust = PublishedTrust(client)
        root, targets = trust.role(ROOT), trust.role(Targets.type)
        signers = offline.root_signers(root)
        file = offline.targets
        fresh = CryptoSigner(file.prepare())
        if fresh.public_key.keyid not in _keyids(root, Targets.type):
            new_root = rotate_role_key(root, signers, [Targets.type], fresh.public_key, _now_ms())
            check_roles(_read_root(root), {Targets.type: targets})
            roles = resign_targets(targets, fresh, _now_ms()).roles
            trust.publish(root=new_root, roles=roles)
        file.adopt()
    _say_rotated(where, file, "the targets key before it is trusted no more")


@rotate.command(name="online")
def rotate_online(*, keys: KeysFlag, where: Where = HERE) -> None:
    """Replace the server's key of snapshot and timestamp; the server makes the new one, the root keys name it."""
    offline = offline_keys(keys)
    with where.client() as client:
        trust = PublishedTrust(client)
        root = trust.role(ROOT)
        signers = offline.root_signers(root)
        key = SSlibKey.from_crypto(trust.successor("online"))
        online = ["snapshot", "timestamp"]
        trust.publish(root=rotate_role_key(root, signers, online, key, _now_ms()))
    show({"keyid": key.keyid}, where.output, f"snapshot and timestamp are signed by {key.keyid}")


@rotate.command(name="director")
def rotate_director(*, keys: KeysFlag, where: Where = HERE) -> None:
    """Replace the server's key of per-device documents; the server makes the new one, the targets key names it."""
    signer = offline_keys(keys).targets_signer()
    with where.client() as client:
        trust = PublishedTrust(client)
        targets = trust.role(Targets.type)
        _check_own_targets(signer, targets)
        key = trust.successor("director")
        signed, content = rotate_director_key(targets, signer, [key], _now_ms())
        trust.publish(roles=signed.roles, director=content)
    keyid = SSlibKey.from_crypto(key).keyid
    show({"keyid": keyid}, where.output, f"documents are signed by {keyid}")


@rotate.command(name="publishing")
def rotate_publishing(namespace: str, /, *, keys: KeysFlag, where: Where = HERE) -> None:
    """Replace a namespace's publishing key; needs the targets key, not the key that is replaced."""
    offline = offline_keys(keys)
    name = str(Namespace.parse(namespace))
    targets_signer = offline.targets_signer()
    with where.client() as client:
        trust = PublishedTrust(client)
        roles = _namespace_roles(trust, name)
        file = offline.publishing(name)
        file.path.parent.mkdir(mode=0o700, exist_ok=True)
        fresh = Publisher(name, CryptoSigner(file.prepare()))
        if fresh.signer.public_key.keyid not in _delegated_keyids(roles, name):
            signed = rotate_publishing_key(roles, targets_signer, fresh, _now_ms())
            trust.publish(roles=signed.roles)
        file.adopt()
    _say_rotated(where, file, f"the key before it publishes nothing in {name} any more")


def revoke(namespace: str, /, *, keys: KeysFlag, where: Where = HERE) -> None:
    """Take a namespace's publishing key away; only the targets key signs there until `rotate publishing`."""
    signer, name = offline_keys(keys).targets_signer(), str(Namespace.parse(namespace))
    with where.client() as client:
        trust = PublishedTrust(client)
        roles = _namespace_roles(trust, name)
        signed = rotate_publishing_key(roles, signer, Publisher(name, signer), _now_ms())
        trust.publish(roles=signed.roles)
    text = f"the publishing key of {name} is revoked; `shoal keys rotate publishing {name}` makes another"
    show({"namespace": name}, where.output, text)


def _namespace_roles(trust: PublishedTrust, namespace: str) -> dict[str, bytes]:
    """Current metadata of targets, the namespace and its tasks."""
    dotted = Namespace.parse(namespace).dotted
    tasks = [str(row["name"]) for row in trust.rows() if str(row["name"]).startswith(f"{dotted}.")]
    return {name: trust.role(name) for name in (Targets.type, dotted, *tasks)}


def _read_root(data: bytes) -> Root:
    return Metadata[Root].from_bytes(data).signed


def _keyids(root: bytes, role: str) -> list[str]:
    return list(_read_root(root).roles[role].keyids)


def _delegated_keyids(roles: Mapping[str, bytes], namespace: str) -> list[str]:
    targets = Metadata[Targets].from_bytes(roles[Targets.type]).signed
    return list(targets.get_delegated_role(Namespace.parse(namespace).dotted).keyids)


def _say_rotated(where: Where, file: KeyFile, text: str) -> None:
    show({"file": str(file.path)}, where.output, f"{file.path} is the new key; {text}")
