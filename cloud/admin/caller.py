"""Who calls, and what they may do.

Rules of this module:

- A token is for one namespace, or for all ("*"), and has scopes; "*" is every scope.
- A caller hands out no more than it has: a token made by a token is no wider.
- An operation asks `require` before it reads or writes anything.
"""

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from cloud.admin.errors import ArgumentInvalid, NamespaceForbidden, ScopeMissing

EVERY_NAMESPACE = "*"


class Scope(enum.StrEnum):
    """What a token may allow."""

    TASK_READ = "task:read"
    TASK_WRITE = "task:write"
    RELEASE_READ = "release:read"
    RELEASE_WRITE = "release:write"
    DEVICE_READ = "device:read"
    DEVICE_WRITE = "device:write"
    KILL_WRITE = "kill:write"
    TOKEN_WRITE = "token:write"
    AUDIT_READ = "audit:read"
    TRUST_WRITE = "trust:write"
    ALL = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The holder of a valid token.

    Attributes:
        actor: Name that the audit log shows.
        namespace: "app/project", or "*".
        scopes: What the token allows.
        expires_at_ms: End of the token's validity; None is never.
    """

    actor: str
    namespace: str
    scopes: frozenset[Scope]
    expires_at_ms: int | None = None

    def sees(self, namespace: str) -> bool:
        """Tells whether the token is for this namespace."""
        return self.namespace in (EVERY_NAMESPACE, namespace)

    def require(self, scope: Scope, namespace: str) -> None:
        """Lets the caller pass.

        Raises:
            NamespaceForbidden: The token is for another namespace.
            ScopeMissing: The token lacks the scope.
        """
        if not self.sees(namespace):
            raise NamespaceForbidden(
                f"this token is for {self.namespace}, not for {namespace}: use a token of {namespace}"
            )
        if scope not in self.scopes and Scope.ALL not in self.scopes:
            raise ScopeMissing(
                f"this needs the scope {scope.value}, which the token of {self.actor} has not: "
                f"ask for one made with `shoal token create --scope {scope.value}`"
            )

    def require_to_grant(self, scopes: frozenset[Scope], namespace: str) -> None:
        """Lets the caller hand out `scopes` for `namespace`, which is at most what it has itself."""
        self.require(Scope.TOKEN_WRITE, namespace)
        wider = scopes - self.scopes
        if wider and Scope.ALL not in self.scopes:
            names = ", ".join(sorted(scope.value for scope in wider))
            raise ScopeMissing(f"a token cannot hand out what it has not: leave out {names}")


def parse_scopes(names: Iterable[str]) -> frozenset[Scope]:
    """Reads scopes by name.

    Raises:
        ArgumentInvalid: A name is unknown, or there is none.
    """
    known = {scope.value: scope for scope in Scope}
    wanted = list(names)
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise ArgumentInvalid(
            f"scopes: {', '.join(unknown) or 'none given'}; choose from {', '.join(sorted(known))}"
        )
    return frozenset(known[name] for name in wanted)
