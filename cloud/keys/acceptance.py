"""What a repository accepts: signed role metadata against what is published now, decided without I/O.

Rules of this module:

- A1 Role metadata is bounded, parses, and is one of: targets, `app.project`, `app.project.task`.
- A2 Its delegator (root, targets, the namespace's role), new or current, says which keys sign it; the threshold holds.
- A3 Its version follows the current one. The very same bytes again are accepted and change nothing.
- A4 It expires in the future, and not later than the longest life that is allowed.
- A5 Targets lie in the paths delegated to the role, are well-formed, and are never changed or removed: what was
  released stays verifiable.
- A6 Delegations are those of cloud/keys/roles.py, and are never removed. Their keys may change (rotation); then the
  roles below come along, signed with the new keys: afterwards every role verifies from the root down.
"""

import datetime as dt
from collections.abc import Mapping

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import DelegatedRole, Metadata, Root, Targets

from cloud.keys.errors import PublicationConflict, PublicationRefused
from cloud.keys.roles import expiry, parent_of, read_targets
from cloud.keys.settings import KeySettings
from device_agent.tasks.errors import NameInvalid
from device_agent.tasks.names import Namespace, check_task_name, parse_target_path
from device_agent.tasks.trust import DIRECTOR_TARGET

type RoleBytes = dict[str, bytes]


def accept_roles(
    root: Root, current: RoleBytes, signed: RoleBytes, now_ms: int, settings: KeySettings
) -> dict[str, Metadata[Targets]]:
    """Checks new roles against the current ones.

    Returns:
        The roles that change something, parents before children.

    Raises:
        PublicationRefused: a rule is broken.
        PublicationConflict: the version does not follow the current one: somebody was faster.
    """
    effective: dict[str, Targets] = {}
    accepted: dict[str, Metadata[Targets]] = {}
    for role in sorted(signed, key=_depth):
        data = signed[role]
        if len(data) > settings.role_bytes_max:  # A1
            raise PublicationRefused(f"{role}: more than {settings.role_bytes_max} bytes")
        metadata = read_targets(data, role)
        delegator = _delegator(role, root, current, effective)
        _check_signatures(role, metadata, delegator)  # A2
        effective[role] = metadata.signed
        if current.get(role) == data:
            continue
        before = read_targets(current[role], role).signed if role in current else None
        _check_version(role, metadata.signed, before)  # A3
        _check_expiry(role, metadata.signed, now_ms, settings)  # A4
        _check_targets(role, metadata.signed, before, delegator)  # A5
        _check_delegations(role, metadata.signed, before)  # A6
        accepted[role] = metadata
    for metadata in accepted.values():
        _check_children(metadata.signed, current | signed)  # A6
    return accepted


def check_top_role(root: Root, current: RoleBytes) -> None:
    """Makes sure that the top-level role verifies under a root, e.g. a new one (A6).

    Raises:
        PublicationRefused: it does not.
    """
    _check_signatures(Targets.type, read_targets(current[Targets.type], Targets.type), root)


def _depth(role: str) -> int:
    return 0 if role == Targets.type else role.count(".")


def _delegator(
    role: str, root: Root, current: RoleBytes, effective: Mapping[str, Targets]
) -> Root | Targets:
    if role == Targets.type:
        return root
    parts = role.split(".")
    if len(parts) not in (2, 3):
        raise PublicationRefused(f"{role}: a role is targets, app.project or app.project.task")
    parent = parent_of(role)
    if parent in effective:
        return effective[parent]
    if parent not in current:
        raise PublicationRefused(f"{role}: its delegator {parent} is not in the repository")
    return read_targets(current[parent], parent).signed


def _check_signatures(role: str, metadata: Metadata[Targets], delegator: Root | Targets) -> None:
    try:
        delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError) as error:
        raise PublicationRefused(
            f"{role}: not signed by the keys that may publish it; sign it with the publishing key"
        ) from error


def _check_version(role: str, new: Targets, before: Targets | None) -> None:
    expected = before.version + 1 if before is not None else 1
    if new.version != expected:
        raise PublicationConflict(
            f"{role}: version {new.version} was signed, {expected} is next; fetch the role and sign again"
        )


def _check_expiry(role: str, new: Targets, now_ms: int, settings: KeySettings) -> None:
    earliest = dt.datetime.fromtimestamp(now_ms / 1000, tz=dt.UTC)
    if not earliest < new.expires <= expiry(now_ms, settings.delegated_lifetime_ms_max):
        raise PublicationRefused(
            f"{role}: expires {new.expires.isoformat()}, which is past or too far away; check the clock"
        )


def _check_targets(
    role: str, new: Targets, before: Targets | None, delegator: Root | Targets
) -> None:
    old = before.targets if before is not None else {}
    top = role == Targets.type
    for path, target in new.targets.items():
        if top and path != DIRECTOR_TARGET:
            raise PublicationRefused(f"{role}: {path} belongs into a namespace's role")
        if top or old.get(path) == target:
            continue
        if path in old:
            raise PublicationRefused(f"{role}: {path} was published and must not change")
        _check_new_target(role, path, delegator)
        if target.hashes != {"sha256": path.rpartition("/")[2]}:
            raise PublicationRefused(f"{role}: {path} does not have the digest in its name")
    if missing := old.keys() - new.targets.keys():
        raise PublicationRefused(f"{role}: {sorted(missing)[0]} was published and must stay")


def _check_new_target(role: str, path: str, delegator: Root | Targets) -> None:
    delegation = _delegation(role, delegator)
    try:
        parse_target_path(path)
    except NameInvalid as error:
        raise PublicationRefused(f"{role}: {error}") from error
    if not delegation.is_delegated_path(path):
        raise PublicationRefused(f"{role}: {path} is not in the paths of this role")


def _delegation(role: str, delegator: Root | Targets) -> DelegatedRole:
    found = delegator.get_delegated_role(role)
    if not isinstance(found, DelegatedRole):
        raise PublicationRefused(f"{role}: is not delegated by name")
    return found


def _check_delegations(role: str, new: Targets, before: Targets | None) -> None:
    delegations = (new.delegations.roles or {}) if new.delegations is not None else {}
    old = before.delegations.roles if before is not None and before.delegations else None
    if missing := (old or {}).keys() - delegations.keys():
        raise PublicationRefused(f"{role}: the delegation of {sorted(missing)[0]} must stay")
    for name, delegation in delegations.items():
        if delegation.paths != [_delegated_path(role, name)] or not delegation.terminating:
            raise PublicationRefused(f"{role}: the delegation of {name} is not as it should be")


def _check_children(new: Targets, roles: RoleBytes) -> None:
    delegations = (new.delegations.roles or {}) if new.delegations is not None else {}
    for name in delegations.keys() & roles.keys():
        _check_signatures(name, read_targets(roles[name], name), new)


def _delegated_path(role: str, name: str) -> str:
    try:
        if role == Targets.type:
            return f"{Namespace.parse(name.replace('.', '/', 1))}/*/*/*"
        parent, _, task = name.rpartition(".")
        if parent == role and role.count(".") == 1:
            return f"{Namespace.parse(parent.replace('.', '/'))}/{check_task_name(task)}/*/*"
    except NameInvalid as error:
        raise PublicationRefused(f"{role}: {error}") from error
    raise PublicationRefused(f"{role}: may not delegate to {name}")
