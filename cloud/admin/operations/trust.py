"""The metadata that devices trust, as operators see and replace it: expiries, new roots, new keys, new namespaces.

Rules of this module:

- Nothing is signed here but snapshot and timestamp: signed metadata comes in and is verified by the repository.
- What concerns the whole cloud needs trust:write for all namespaces; a namespace's own roles need it for that one.
- Metadata is published before the audit row: a caller that died in between calls again, and the row is written then.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cloud.admin.caller import EVERY_NAMESPACE, Caller, Scope
from cloud.admin.errors import ArgumentInvalid, NotFound
from cloud.admin.operations.texts import check_storable, signed_roles
from cloud.admin.operations.views import (
    MetadataView,
    NamespaceView,
    SuccessorView,
    TrustRowView,
    TrustView,
)
from cloud.keys.director import keyid_of
from cloud.keys.expiry import Expiry, ExpiryWatch
from cloud.keys.online import OnlineKeys
from cloud.keys.repository import TufRepository
from cloud.keys.successors import KeyFile
from cloud.store.audit import WHOLE_CLOUD, append_audit
from cloud.store.database import Database
from cloud.store.errors import NamespaceExists
from cloud.store.namespaces import create_namespace
from device_agent.clock import Clock
from device_agent.failpoint import failpoint
from device_agent.tasks.errors import NameInvalid
from device_agent.tasks.names import Namespace

ROOT, TARGETS = "root", "targets"
NEW_NAMESPACE_ACTION = "namespace.delegate"


class TrustOperations:
    """Roles, keys and namespaces of one cloud."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        repository: TufRepository,
        online: OnlineKeys,
        watch: ExpiryWatch,
        wake: Callable[[str, int], None],
    ) -> None:
        """Keeps what it is given.

        Args:
            database: Namespaces and the audit log.
            clock: Wall clock.
            repository: What is published.
            online: The server's own keys.
            watch: Reads expiries.
            wake: Told of a new namespace and its first epoch.
        """
        self._database = database
        self._clock = clock
        self._repository = repository
        self._online = online
        self._watch = watch
        self._wake = wake

    def status(self, caller: Caller) -> TrustView:
        """When roles and certificates expire; of namespaces and tasks, those that the token is for."""
        now_ms = self._clock.wall_ms()
        rows = (_row_view(one, now_ms) for one in self._watch.read() if _sees(caller, one.name))
        return TrustView(items=tuple(rows))

    def metadata(self, caller: Caller, role: str) -> MetadataView:
        """Published metadata of root, targets, a namespace or a task.

        Raises:
            NotFound: There is none, or it is not the token's to see.
        """
        data = self._repository.root() if role == ROOT else self._repository.role(role)
        if data is None or not _sees(caller, role):
            raise NotFound(f"no role {role[:100]!r}: `shoal keys status` lists those there are")
        return MetadataView(role=role, text=data.decode())

    async def prepare_successor(self, caller: Caller, kind: str) -> SuccessorView:
        """Makes the key that shall follow the server's own; asked again, it is the same one."""
        caller.require(Scope.TRUST_WRITE, WHOLE_CLOUD)
        file = self._key_file(kind)
        made = file.prepare()
        self._online.settle(self._repository)
        public = made.public_key()
        found = SuccessorView(
            keyid=keyid_of(public),
            public_hex=public.public_bytes(Encoding.Raw, PublicFormat.Raw).hex(),
        )
        await self._audit(caller, "trust.successor", kind, {"keyid": found.keyid})
        return found

    def _key_file(self, kind: str) -> KeyFile:
        files = {
            "online": self._online.repository_file,
            "director": self._online.director_file,
        }
        if kind not in files:
            raise ArgumentInvalid(f"kind {kind[:40]!r}: choose online or director")
        return files[kind]

    async def accept(
        self, caller: Caller, root: str, roles: Mapping[str, str], director_keys: str
    ) -> TrustView:
        """Publishes signed metadata: a new root with what it needs, or roles signed anew.

        Raises:
            ScopeMissing, NamespaceForbidden: The token does not reach as far as the metadata does.
            PublicationRefused, PublicationConflict: The metadata breaks a rule; nothing was published.
        """
        caller.require(Scope.TRUST_WRITE, _reach(root, roles))
        if not root and not roles:
            raise ArgumentInvalid("neither root nor roles came; sign something and send it")
        signed = signed_roles(roles)
        for name, text in (("root", root), ("director_keys", director_keys)):
            check_storable(name, text)
        now_ms = self._clock.wall_ms()
        if root:
            await self._repository.accept_root(root.encode(), now_ms, signed)
        else:
            self._check_director(director_keys)
            await self._repository.accept(signed, now_ms, director_keys.encode() or None)
        failpoint("admin.trust.published")
        self._online.settle(self._repository)
        self._watch.look(now_ms)
        detail: dict[str, object] = {"root": bool(root), "roles": sorted(roles)}
        await self._audit(caller, "trust.publish", ROOT if root else sorted(roles)[0], detail)
        return self.status(caller)

    def _check_director(self, content: str) -> None:
        """Devices told of other keys only would refuse all that this server says."""
        if not content:
            return
        successor = self._online.director_file.successor()
        held = {self._online.director.keyid} | (
            {keyid_of(successor.public_key())} if successor is not None else set()
        )
        if not any(keyid in content for keyid in held):
            raise ArgumentInvalid(
                "director_keys: this server holds none of these keys; `shoal keys rotate director` asks it for one"
            )

    async def add_namespace(
        self, caller: Caller, namespace: str, roles: Mapping[str, str]
    ) -> NamespaceView:
        """Publishes a namespace's delegation and makes the namespace; gateways serve it at once.

        Raises:
            PublicationRefused: The delegation is not signed as it must be.
            NamespaceExists: The namespace is there, with its delegation.
        """
        caller.require(Scope.TRUST_WRITE, WHOLE_CLOUD)
        name = Namespace.parse(namespace)
        if extra := roles.keys() - {TARGETS, name.dotted}:
            raise ArgumentInvalid(f"roles: {sorted(extra)[0]} is not of a new namespace {name}")
        signed = signed_roles(roles)
        now_ms = self._clock.wall_ms()
        changed = await self._repository.accept(signed, now_ms)
        failpoint("admin.namespace.delegated")
        if self._repository.role(name.dotted) is None:
            raise ArgumentInvalid(
                f"roles: the delegation of {name} is missing; sign it and send it"
            )
        try:
            async with self._database.begin() as connection:
                await create_namespace(connection, str(name), now_ms, caller.actor)
        except NamespaceExists:
            if not changed:
                raise
        await self._audit(caller, NEW_NAMESPACE_ACTION, str(name), {"roles": sorted(roles)})
        self._watch.look(now_ms)
        self._wake(str(name), now_ms)
        return NamespaceView(namespace=str(name), epoch=now_ms, created_at_ms=now_ms)

    async def _audit(
        self, caller: Caller, action: str, subject: str, detail: Mapping[str, object]
    ) -> None:
        async with self._database.begin() as connection:
            now_ms = self._clock.wall_ms()
            await append_audit(
                connection, WHOLE_CLOUD, caller.actor, action, subject, dict(detail), now_ms
            )


def _row_view(one: Expiry, now_ms: int) -> TrustRowView:
    return TrustRowView(
        name=one.name,
        kind=one.kind.value,
        version=one.version,
        expires_at_ms=one.expires_at_ms,
        state=one.state(now_ms).value,
        keyids=one.keyids,
        threshold=one.threshold,
    )


def _namespace_of(role: str) -> str:
    """The namespace of a delegated role; "" for the cloud's own."""
    parts = role.split(".")
    with suppress(NameInvalid):
        if len(parts) in (2, 3):
            return str(Namespace.parse("/".join(parts[:2])))
    return ""


def _sees(caller: Caller, role: str) -> bool:
    namespace = _namespace_of(role)
    return not namespace or caller.sees(namespace)


def _reach(root: str, roles: Mapping[str, str]) -> str:
    """The namespace that metadata concerns; all of them when it is not one's alone."""
    namespaces = {_namespace_of(role) for role in roles}
    if root or len(namespaces) != 1:
        return EVERY_NAMESPACE
    return namespaces.pop() or EVERY_NAMESPACE
