"""Names, paths and times of the TUF roles, as publisher, repository and device read them.

Rules of this module:

- targets delegates `app/project/*/*/*` to role `app.project`, which delegates `app/project/task/*/*` to role
  `app.project.task`; all delegations are terminating, so that no role can speak for another's paths.
- The director's public keys are the target `shoal/keys/director` of the top-level role.
- A target's custom data names the places in a bundle that its content may take.
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from tuf.api.metadata import DelegatedRole, Key, Metadata, TargetFile, Targets
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from cloud.keys.errors import PublicationRefused
from device_agent.tasks.names import Namespace, check_task_name, digest_hex

SPEC_VERSION: Final = "1.0.31"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetToSign:
    """A file of a version that the publisher vouches for.

    Attributes:
        target: TUF target path, "app/project/task/version/sha256 hex".
        digest: "sha256:" and 64 hex digits.
        size: Bytes.
        paths: Places in the bundle that the content takes, at least one.
    """

    target: str
    digest: str
    size: int
    paths: tuple[str, ...]

    def to_target_file(self) -> TargetFile:
        """The form that metadata holds."""
        custom = {"custom": {"paths": sorted(self.paths)}}
        hashes = {"sha256": digest_hex(self.digest)}
        return TargetFile(self.size, hashes, self.target, unrecognized_fields=custom)


def targets_to_sign(files: Iterable[tuple[str, str, int, str]]) -> tuple[TargetToSign, ...]:
    """Joins (target, digest, size, bundle path) rows: the same content at two places is one target."""
    joined: dict[str, TargetToSign] = {}
    for target, digest, size, path in files:
        known = joined.get(target)
        paths = {path, *(known.paths if known else ())}
        joined[target] = TargetToSign(
            target=target, digest=digest, size=size, paths=tuple(sorted(paths))
        )
    return tuple(joined[target] for target in sorted(joined))


def task_role_name(namespace: str, task: str) -> str:
    """Role that lists a task's files: "app.project.task"."""
    return f"{Namespace.parse(namespace).dotted}.{check_task_name(task)}"


def parent_of(role: str) -> str:
    """The role that delegates to a delegated role."""
    parts = role.split(".")
    return Targets.type if len(parts) == 2 else ".".join(parts[:2])


def namespace_delegation(namespace: str, key: Key) -> DelegatedRole:
    """What the top-level role says of a namespace."""
    role = Namespace.parse(namespace).dotted
    return DelegatedRole(role, [key.keyid], 1, True, [f"{namespace}/*/*/*"])


def task_delegation(namespace: str, task: str, key: Key) -> DelegatedRole:
    """What a namespace's role says of a task."""
    role = task_role_name(namespace, task)
    return DelegatedRole(role, [key.keyid], 1, True, [f"{namespace}/{task}/*/*"])


def expiry(now_ms: int, lifetime_ms: int) -> dt.datetime:
    """End of validity, to the second, as metadata spells it."""
    return dt.datetime.fromtimestamp((now_ms + lifetime_ms) // 1000, tz=dt.UTC)


def to_bytes(metadata: Metadata[Any]) -> bytes:
    """Compact JSON."""
    return metadata.to_bytes(JSONSerializer(compact=True))


def read_targets(data: bytes, role: str) -> Metadata[Targets]:
    """Parses targets metadata; its signatures are the caller's business.

    Raises:
        PublicationRefused: it is not targets metadata.
    """
    try:
        metadata = Metadata[Targets].from_bytes(data)
    except DeserializationError as error:
        raise PublicationRefused(f"{role}: not TUF metadata") from error
    if not isinstance(metadata.signed, Targets):
        raise PublicationRefused(f"{role}: {metadata.signed.type} metadata where targets must be")
    return metadata
