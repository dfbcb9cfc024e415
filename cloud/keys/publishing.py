"""What is signed on an operator's machine: versions, namespaces, roots. Needs no server and no database.

Rules of this module:

- Private keys of publishers never leave this side; what leaves is signed metadata.
- A publisher signs only on top of what it has signed itself: metadata that a server hands out as "current" is verified
  first, else a server could have anything signed by slipping it into the base.
- What is signed is new metadata with the next version number; the server checks it again before it publishes it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Delegations, Metadata, Root, Targets

from cloud.keys.errors import PublicationRefused
from cloud.keys.files import KeyFolder, load_signer
from cloud.keys.roles import (
    SPEC_VERSION,
    TargetToSign,
    expiry,
    namespace_delegation,
    read_targets,
    task_delegation,
    task_role_name,
    to_bytes,
)
from cloud.keys.settings import SETTINGS, KeySettings
from device_agent.tasks.names import Namespace, parse_target_path


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningBase:
    """The roles that a new version builds on, as the repository has them now.

    Attributes:
        namespace_role: Metadata of `app.project`.
        task_role: Metadata of `app.project.task`; None before the first version.
    """

    namespace_role: bytes
    task_role: bytes | None

    def to_json(self) -> dict[str, str | None]:
        """The form that travels to the operator's machine."""
        task = self.task_role.decode() if self.task_role is not None else None
        return {"namespace_role": self.namespace_role.decode(), "task_role": task}

    @classmethod
    def from_json(cls, value: Mapping[str, str | None]) -> Self:
        """Reads what `to_json` wrote."""
        task = value["task_role"]
        return cls(
            namespace_role=(value["namespace_role"] or "").encode(),
            task_role=task.encode() if task is not None else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRoles:
    """New metadata by role name, signed and ready for the repository."""

    roles: Mapping[str, bytes]

    def to_json(self) -> str:
        """The form that travels to the server."""
        return json.dumps({name: data.decode() for name, data in self.roles.items()})

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Reads what `to_json` wrote.

        Raises:
            PublicationRefused: it is not that form.
        """
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise PublicationRefused(f"signed roles are not JSON: {error}") from error
        if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
            raise PublicationRefused("signed roles are an object of role name to metadata text")
        return cls(roles={name: data.encode() for name, data in value.items()})


@dataclass(frozen=True, slots=True)
class Publisher:
    """The holder of a namespace's publishing key."""

    namespace: str
    signer: CryptoSigner

    @classmethod
    def load(cls, keys: Path, namespace: str, passphrase: str | None = None) -> Self:
        """Reads the key from the folder of keys (the one that has `publish/`)."""
        return cls(namespace, load_signer(KeyFolder(keys).publishing_key(namespace), passphrase))

    def check_own(self, metadata: Metadata[Any], role: str) -> None:
        """Makes sure that this publisher signed what it is about to build on."""
        key = self.signer.public_key
        signature = metadata.signatures.get(key.keyid)
        try:
            if signature is None:
                raise UnverifiedSignatureError(f"no signature by {key.keyid}")
            key.verify_signature(signature, metadata.signed_bytes)
        except UnverifiedSignatureError as error:
            raise PublicationRefused(
                f"{role}: what the server calls current was not signed with this publishing key; "
                "nothing was signed. Look for another key in use, or for a server that lies"
            ) from error


def sign_version(
    publisher: Publisher,
    task: str,
    base: SigningBase,
    targets: Sequence[TargetToSign],
    now_ms: int,
    settings: KeySettings = SETTINGS,
) -> SignedRoles:
    """Signs the roles that publish a version of a task.

    Raises:
        PublicationRefused: the base is not this publisher's own, or a target is not of this namespace and task.
    """
    namespace, role = publisher.namespace, task_role_name(publisher.namespace, task)
    _check_targets(namespace, task, targets)
    end = expiry(now_ms, settings.delegated_lifetime_ms)
    signed: dict[str, bytes] = {}
    parent = read_targets(base.namespace_role, Namespace.parse(namespace).dotted)
    publisher.check_own(parent, Namespace.parse(namespace).dotted)
    if _add_task(parent.signed, namespace, task, publisher):
        parent.signed.version += 1
        parent.signed.expires = end
        parent.sign(publisher.signer)
        signed[Namespace.parse(namespace).dotted] = to_bytes(parent)
    if base.task_role is None:
        own = Metadata(Targets(1, SPEC_VERSION, end))
    else:
        own = read_targets(base.task_role, role)
        publisher.check_own(own, role)
        own.signed.version += 1
        own.signed.expires = end
    own.signed.targets |= {target.target: target.to_target_file() for target in targets}
    own.sign(publisher.signer)
    return SignedRoles(roles=signed | {role: to_bytes(own)})


def renew_role(
    publisher: Publisher, role: str, current: bytes, now_ms: int, settings: KeySettings = SETTINGS
) -> SignedRoles:
    """Signs a namespace's or task's role again with a later expiry."""
    metadata = read_targets(current, role)
    publisher.check_own(metadata, role)
    metadata.signed.version += 1
    metadata.signed.expires = expiry(now_ms, settings.delegated_lifetime_ms)
    metadata.sign(publisher.signer)
    return SignedRoles(roles={role: to_bytes(metadata)})


def sign_namespace(
    targets_signer: CryptoSigner,
    publisher: Publisher,
    current_targets: bytes,
    now_ms: int,
    settings: KeySettings = SETTINGS,
) -> SignedRoles:
    """Signs the roles that add a namespace; needs the offline targets key."""
    targets = read_targets(current_targets, Targets.type)
    Publisher("shoal/targets", targets_signer).check_own(targets, Targets.type)
    delegate_namespaces(targets.signed, [publisher])
    targets.signed.version += 1
    targets.signed.expires = expiry(now_ms, settings.targets_lifetime_ms)
    targets.sign(targets_signer)
    role = first_namespace_role(publisher, now_ms, settings)
    return SignedRoles(roles={Targets.type: to_bytes(targets), **role.roles})


def first_namespace_role(
    publisher: Publisher, now_ms: int, settings: KeySettings = SETTINGS
) -> SignedRoles:
    """Signs the first, empty role of a namespace."""
    end = expiry(now_ms, settings.delegated_lifetime_ms)
    metadata = Metadata(Targets(1, SPEC_VERSION, end, delegations=Delegations({}, {})))
    metadata.sign(publisher.signer)
    return SignedRoles(roles={Namespace.parse(publisher.namespace).dotted: to_bytes(metadata)})


def delegate_namespaces(targets: Targets, publishers: Iterable[Publisher]) -> None:
    """Adds delegations to the top-level role, in place.

    Raises:
        PublicationRefused: a namespace is there already.
    """
    if targets.delegations is None:
        targets.delegations = Delegations({}, {})
    for publisher in publishers:
        key = publisher.signer.public_key
        delegation = namespace_delegation(publisher.namespace, key)
        roles = targets.delegations.roles
        if roles is None or delegation.name in roles:
            raise PublicationRefused(f"namespace {publisher.namespace} is there already")
        targets.delegations.keys[key.keyid] = key
        roles[delegation.name] = delegation


def sign_root(
    root: Root, signers: Sequence[CryptoSigner], now_ms: int, settings: KeySettings = SETTINGS
) -> bytes:
    """Signs a root with every signer: for a rotation, the thresholds of old and new keys."""
    root.expires = expiry(now_ms, settings.root_lifetime_ms)
    metadata = Metadata(root)
    for signer in signers:
        metadata.sign(signer, append=True)
    return to_bytes(metadata)


def _add_task(parent: Targets, namespace: str, task: str, publisher: Publisher) -> bool:
    """Adds the task's delegation when it is missing; says whether it was."""
    delegation = task_delegation(namespace, task, publisher.signer.public_key)
    if parent.delegations is None:
        parent.delegations = Delegations({}, {})
    roles = parent.delegations.roles
    if roles is None:
        raise PublicationRefused(f"{namespace}: the role delegates by hash bins, not by task")
    if delegation.name in roles:
        return False
    parent.delegations.keys[publisher.signer.public_key.keyid] = publisher.signer.public_key
    roles[delegation.name] = delegation
    return True


def _check_targets(namespace: str, task: str, targets: Sequence[TargetToSign]) -> None:
    if not targets:
        raise PublicationRefused("there is nothing to sign")
    for target in targets:
        parsed = parse_target_path(target.target)
        if (str(parsed.namespace), parsed.task, parsed.digest) != (namespace, task, target.digest):
            raise PublicationRefused(f"{target.target} is not a file of {namespace}/{task}")
