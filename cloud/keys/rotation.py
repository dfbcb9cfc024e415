"""Replacing keys: what is signed on the offline machine so that devices follow by themselves.

Rules of this module:

- A new root carries the thresholds of the old and of the new root keys; devices walk from one root to the next.
- A stolen online key is ended by a root that names another: devices then drop timestamp and snapshot of the old key, so
  that versions pushed to the sky do no lasting harm.
- A director key is ended by new top-level targets; while gateways are restarted, both keys may be named.
- A publishing key is ended from above: the top-level role names the new key, and the roles below come along with it.
- Nothing is signed on top of what a server only says is current: roots must bear a signature of a root key at hand,
  roles must verify from there, or from the targets key, down.
- Nothing is written here: functions give metadata, TufRepository publishes it, successors.py writes key files.
"""

from collections.abc import Mapping, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.signer import CryptoSigner, Key
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from cloud.keys.director import director_keys_target
from cloud.keys.errors import PublicationRefused
from cloud.keys.publishing import Publisher, SignedRoles, sign_root
from cloud.keys.roles import expiry, parent_of, read_targets, to_bytes
from cloud.keys.settings import SETTINGS, KeySettings
from device_agent.tasks.names import Namespace
from device_agent.tasks.trust import DIRECTOR_TARGET


def rotate_root_key(
    current: bytes,
    signers: Sequence[CryptoSigner],
    retired: str,
    fresh: CryptoSigner,
    now_ms: int,
    settings: KeySettings = SETTINGS,
) -> bytes:
    """A root in which `fresh` takes the place of the root key with id `retired`.

    Args:
        current: The newest root.
        signers: Root keys at hand, at least the threshold of the current root; the retired one may be among them.
        retired: Key id that is trusted no more.
        fresh: Its successor; signs, too.
        now_ms: Wall clock.
        settings: Lifetimes.

    Raises:
        PublicationRefused: the signers do not reach the threshold of old and new root keys.
    """
    root = _own_root(current, signers)
    if retired not in root.roles[Root.type].keyids:
        raise PublicationRefused(f"{retired} is no root key of version {root.version}")
    root.revoke_key(retired, Root.type)
    root.add_key(fresh.public_key, Root.type)
    return _next_root(current, root, [*signers, fresh], now_ms, settings)


def rotate_role_key(
    current: bytes,
    signers: Sequence[CryptoSigner],
    roles: Sequence[str],
    fresh: Key,
    now_ms: int,
    settings: KeySettings = SETTINGS,
) -> bytes:
    """A root that names `fresh` as the only key of some top-level roles.

    For the online key pass both "snapshot" and "timestamp", and start the server with the new key before the root is
    published. For "targets" publish the role signed with the new key together with the root (`resign_targets`).
    """
    if unknown := set(roles) - {Targets.type, Snapshot.type, Timestamp.type}:
        raise PublicationRefused(f"{sorted(unknown)[0]} is not targets, snapshot or timestamp")
    root = _own_root(current, signers)
    for role in roles:
        for keyid in list(root.roles[role].keyids):
            root.revoke_key(keyid, role)
        root.add_key(fresh, role)
    return _next_root(current, root, signers, now_ms, settings)


def renew_root(
    current: bytes,
    signers: Sequence[CryptoSigner],
    now_ms: int,
    settings: KeySettings = SETTINGS,
) -> bytes:
    """The next root, unchanged but for its signatures and expiry."""
    return _next_root(current, _own_root(current, signers), signers, now_ms, settings)


def check_roles(delegator: Root | Targets, roles: Mapping[str, bytes]) -> None:
    """Makes sure that roles verify from a delegator that is trusted already, parents before children.

    Raises:
        PublicationRefused: one does not.
    """
    trusted: dict[str, Root | Targets] = {}
    for name in sorted(roles, key=lambda one: 0 if one == Targets.type else one.count(".")):
        metadata = read_targets(roles[name], name)
        parent = delegator if name == Targets.type else trusted.get(parent_of(name), delegator)
        try:
            parent.verify_delegate(name, metadata.signed_bytes, metadata.signatures)
        except (RepositoryError, ValueError) as error:
            raise PublicationRefused(
                f"{name}: what the server calls current does not verify; nothing was signed. "
                "Look for a server that lies"
            ) from error
        trusted[name] = metadata.signed


def resign_targets(
    current: bytes, signer: CryptoSigner, now_ms: int, settings: KeySettings = SETTINGS
) -> SignedRoles:
    """The next version of the top-level role, unchanged but for its signature and expiry."""
    metadata = read_targets(current, Targets.type)
    return _next_targets(metadata, signer, now_ms, settings)


def rotate_director_key(
    current: bytes,
    signer: CryptoSigner,
    keys: Sequence[Ed25519PublicKey],
    now_ms: int,
    settings: KeySettings = SETTINGS,
) -> tuple[SignedRoles, bytes]:
    """Names the director's keys, the newest first.

    Returns:
        The signed top-level role, and the content of its target; `TufRepository.accept` takes both.
    """
    content = director_keys_target(*keys)
    metadata = read_targets(current, Targets.type)
    Publisher("shoal/targets", signer).check_own(metadata, Targets.type)
    metadata.signed.targets[DIRECTOR_TARGET] = TargetFile.from_data(
        DIRECTOR_TARGET, content, ["sha256"]
    )
    return _next_targets(metadata, signer, now_ms, settings), content


def rotate_publishing_key(
    roles: Mapping[str, bytes],
    targets_signer: CryptoSigner,
    fresh: Publisher,
    now_ms: int,
    settings: KeySettings = SETTINGS,
) -> SignedRoles:
    """Gives a namespace another publishing key.

    Args:
        roles: Current metadata by role: "targets", the namespace's, and all of its tasks'.
        targets_signer: The offline targets key.
        fresh: The namespace with its new key.
        now_ms: Wall clock.
        settings: Lifetimes.

    Raises:
        PublicationRefused: a role is missing.
    """
    name = Namespace.parse(fresh.namespace).dotted
    top = read_targets(_of(roles, Targets.type), Targets.type)
    Publisher("shoal/targets", targets_signer).check_own(top, Targets.type)
    check_roles(top.signed, {role: data for role, data in roles.items() if role != Targets.type})
    own = read_targets(_of(roles, name), name)
    _replace_keys(top.signed, [name], fresh.signer.public_key)
    tasks = list((own.signed.delegations.roles or {}) if own.signed.delegations else {})
    _replace_keys(own.signed, tasks, fresh.signer.public_key)
    signed = dict(_next_targets(top, targets_signer, now_ms, settings).roles)
    end = expiry(now_ms, settings.delegated_lifetime_ms)
    for role in (name, *tasks):
        metadata = own if role == name else read_targets(_of(roles, role), role)
        metadata.signed.version += 1
        metadata.signed.expires = end
        metadata.sign(fresh.signer)
        signed[role] = to_bytes(metadata)
    return SignedRoles(roles=signed)


def _replace_keys(delegator: Targets, roles: Sequence[str], key: Key) -> None:
    for role in roles:
        for keyid in list(delegator.get_delegated_role(role).keyids):
            delegator.revoke_key(keyid, role)
        delegator.add_key(key, role)


def _of(roles: Mapping[str, bytes], name: str) -> bytes:
    if name not in roles:
        raise PublicationRefused(f"the current metadata of {name} is missing; fetch it first")
    return roles[name]


def _next_targets(
    metadata: Metadata[Targets], signer: CryptoSigner, now_ms: int, settings: KeySettings
) -> SignedRoles:
    metadata.signed.version += 1
    metadata.signed.expires = expiry(now_ms, settings.targets_lifetime_ms)
    metadata.sign(signer)
    return SignedRoles(roles={Targets.type: to_bytes(metadata)})


def _next_root(
    current: bytes, root: Root, signers: Sequence[CryptoSigner], now_ms: int, settings: KeySettings
) -> bytes:
    root.version += 1
    data = sign_root(root, signers, now_ms, settings)
    metadata = Metadata[Root].from_bytes(data)
    verified = metadata.signed.get_root_verification_result(
        _read_root(current), metadata.signed_bytes, metadata.signatures
    )
    if not verified:
        raise PublicationRefused(
            "too few root keys are at hand: the thresholds of both the old and the new root must sign"
        )
    return data


def _own_root(current: bytes, signers: Sequence[CryptoSigner]) -> Root:
    """The current root, when one of the root keys at hand has signed it: a server cannot make one up."""
    root = _read_root(current)
    metadata = Metadata[Root].from_bytes(current)
    for signer in signers:
        try:
            Publisher("shoal/root", signer).check_own(metadata, Root.type)
        except PublicationRefused:
            continue
        return root
    raise PublicationRefused(
        "none of the root keys at hand has signed what the server calls the current root; nothing was signed. "
        "Bring the root keys that signed it, or look for a server that lies"
    )


def _read_root(data: bytes) -> Root:
    try:
        root = Metadata[Root].from_bytes(data).signed
    except DeserializationError as error:
        raise PublicationRefused("this is not root metadata") from error
    if not isinstance(root, Root):
        raise PublicationRefused("this is not root metadata")
    return root
