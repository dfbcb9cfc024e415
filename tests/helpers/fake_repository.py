"""The whole other side of an update in memory: metadata that is signed when it is asked for, files, director, tickets.

A test edits what it wants to lie about and has an attack:

    cloud = FakeRepository()
    cloud.publish("digits", 1, {"code.bin": b"..."})
    cloud.timestamp.expires = long_ago
    # every request from now on gets a validly signed, expired timestamp
"""

import asyncio
import copy
import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from starlette.applications import Starlette
from tuf.api.metadata import (
    Delegations,
    Metadata,
    MetaFile,
    Role,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from cloud.artifacts.blobs import BlobStore
from cloud.artifacts.file_routes import FileRoutes
from cloud.artifacts.tickets import TicketSigner
from cloud.keys.director import DirectorSigner, director_keys_target
from cloud.keys.roles import (
    SPEC_VERSION,
    namespace_delegation,
    targets_to_sign,
    task_delegation,
    to_bytes,
)
from device_agent.tasks.director import (
    Action,
    BundleFile,
    DirectorDocument,
    KillSwitch,
    Scope,
    TaskInstruction,
)
from device_agent.tasks.names import Namespace, sha256_digest, target_path
from device_agent.tasks.trust import DIRECTOR_TARGET
from tests.helpers.memory_fetcher import Answer, Ask, LoopFetcher, call_asgi

NAMESPACE = "demo/digits-app"
NOW = 1_790_000_000_000
DAY = dt.timedelta(days=1)
TIMELY = dt.datetime.fromtimestamp(NOW / 1000, tz=dt.UTC).replace(microsecond=0)


class FixedClock:
    """A wall clock that stands, and a monotonic one that a test may push."""

    def __init__(self, now_ms: int = NOW) -> None:
        self.now_ms = now_ms
        self.elapsed_ms = 0

    def wall_ms(self) -> int:
        return self.now_ms

    def monotonic_ns(self) -> int:
        return self.elapsed_ms * 1_000_000


class FakeRepository:
    """A cloud that publishes tasks of one namespace and lies as it is told to.

    Attributes:
        root, timestamp, snapshot: Edited freely; signed when asked for, or when `publish_root` is called.
        roles: targets roles by name, edited freely.
        signers: Who signs each role.
        replayed: Metadata by file name that is served instead of what would be signed.
        slow: Metadata by file name that comes piece by piece.
        down: Nothing is answered but "unavailable".
        lies: How a request for a file is answered instead of truly, by the file's digest in hex.
    """

    def __init__(self, clock: FixedClock | None = None) -> None:
        self.clock = clock or FixedClock()
        self.director = DirectorSigner(Ed25519PrivateKey.generate())
        self.tickets = TicketSigner(b"s" * 32)
        self.blobs = BlobStore.open("memory://")
        self.app = Starlette(
            routes=FileRoutes(self.blobs, self.tickets, self._scope_of, self.clock).routes()
        )
        self.replayed: dict[str, bytes] = {}
        self.slow: dict[str, Iterable[bytes | Exception]] = {}
        self.down = False
        self.lies: dict[str, Callable[[Ask], Answer]] = {}
        self.bundles: dict[tuple[str, int], dict[str, bytes]] = {}
        self._scopes: dict[str, Scope] = {}
        self._roots: list[bytes] = []
        self._new_keys()
        self._new_roles()

    # --- honest work --------------------------------------------------------------------------------------------

    def publish(self, task: str, version: int, files: Mapping[str, bytes]) -> None:
        """Adds a version's files to the task's role, and makes new metadata all the way up."""
        self.bundles[task, version] = dict(files)
        name = Namespace.parse(NAMESPACE).dotted
        role = f"{name}.{task}"
        if role not in self.roles:
            self.roles[role] = Targets(1, SPEC_VERSION, TIMELY + 365 * DAY)
            self.signers[role] = self.signers[name]
            self._delegate(self.roles[name], task)
        rows = [
            (file.target, file.digest, file.size, file.path) for file in self.bundle(task, version)
        ]
        for target in targets_to_sign(rows):
            self.roles[role].targets[target.target] = target.to_target_file()
        self.bump(role)

    async def store(self, scope: Scope = Scope.SHARED) -> None:
        """Puts the files of all bundles where devices fetch them."""
        for files in self.bundles.values():
            for data in files.values():
                self._scopes[await self.blobs.put(data)] = scope

    def bump(self, *roles: str) -> None:
        """New versions of some roles, of the snapshot that pins them and of the timestamp."""
        for role in roles:
            self.roles[role].version += 1
        self.snapshot.meta = {
            f"{role}.json": MetaFile.from_data(signed.version, self.sign(role, signed), ["sha256"])
            for role, signed in self.roles.items()
        }
        self.snapshot.version += 1
        self.pin_snapshot()

    def pin_snapshot(self) -> None:
        """A new timestamp for the snapshot as it is."""
        data = self.sign(Snapshot.type, self.snapshot)
        self.timestamp.snapshot_meta = MetaFile.from_data(self.snapshot.version, data, ["sha256"])
        self.timestamp.version += 1

    def publish_root(self) -> None:
        """Signs the root as it is and serves it under its version."""
        self._roots.append(self.sign(Root.type, self.root))

    def bundle(
        self, task: str, version: int, scope: Scope = Scope.SHARED
    ) -> tuple[BundleFile, ...]:
        """A version's files, as a director names them."""
        namespace = Namespace.parse(NAMESPACE)
        return tuple(
            BundleFile(
                path=path,
                digest=sha256_digest(data),
                size=len(data),
                scope=scope,
                target=target_path(namespace, task, version, sha256_digest(data)),
            )
            for path, data in self.bundles[task, version].items()
        )

    def instruction(
        self, task: str, version: int, files: tuple[BundleFile, ...] | None = None
    ) -> TaskInstruction:
        """Install a version."""
        return TaskInstruction(
            task=task,
            action=Action.INSTALL,
            version=version,
            digest="sha256:" + "0" * 64,
            files=self.bundle(task, version) if files is None else files,
        )

    def document(self, device: str, *tasks: TaskInstruction, epoch: int = 1) -> DirectorDocument:
        """What a device shall run."""
        return DirectorDocument(
            device=device,
            namespace=NAMESPACE,
            epoch=epoch,
            issued_at_ms=NOW,
            expires_at_ms=NOW + 1000,
            tasks=tasks,
            kill=KillSwitch(),
        )

    # --- the other side of the link -----------------------------------------------------------------------------

    def fetcher(self) -> LoopFetcher:
        """The HTTPS face, for devices on the running loop."""
        return LoopFetcher(asyncio.get_running_loop(), self.answer)

    async def answer(self, ask: Ask) -> Answer:
        if self.down:
            return Answer(503)
        if ask.path.startswith("/v1/"):
            lie = self.lies.get(ask.path.rpartition("/")[2])
            return lie(ask) if lie is not None else await call_asgi(self.app, ask)
        if ask.path.startswith("/tuf/targets/"):
            return Answer(200, director_keys_target(self.director.public_key))
        name = ask.path.removeprefix("/tuf/metadata/")
        if name in self.slow:
            return Answer(200, self.slow[name])
        data = self.metadata(name)
        return Answer(404) if data is None else Answer(200, data)

    def metadata(self, name: str) -> bytes | None:
        """A metadata file: replayed, or signed now."""
        if name in self.replayed:
            return self.replayed[name]
        if name == "timestamp.json":
            return self.sign(Timestamp.type, self.timestamp)
        version, _, rest = name.partition(".")
        role = rest.removesuffix(".json")
        if role == Root.type:
            number = int(version)
            return self._roots[number - 1] if number <= len(self._roots) else None
        if role == Snapshot.type:
            return self.sign(role, self.snapshot)
        return self.sign(role, self.roles[role]) if role in self.roles else None

    def record(self) -> dict[str, bytes]:
        """All metadata as it is now, by file name: for replaying it later."""
        names = ["timestamp.json", f"{self.snapshot.version}.snapshot.json"]
        names += [f"{signed.version}.{role}.json" for role, signed in self.roles.items()]
        return {name: self.metadata(name) or b"" for name in names}

    def sign(self, role: str, signed: Root | Timestamp | Snapshot | Targets) -> bytes:
        """Signs with the role's signers."""
        metadata: Metadata[Any] = Metadata(copy.deepcopy(signed))
        for signer in self.signers[role]:
            metadata.sign(signer, append=True)
        return to_bytes(metadata)

    # --- beginnings ---------------------------------------------------------------------------------------------

    @property
    def first_root(self) -> bytes:
        """What devices start to trust."""
        return self._roots[0]

    async def _scope_of(self, digest: str) -> frozenset[Scope]:
        scope = self._scopes.get(digest)
        return frozenset() if scope is None else frozenset([scope])

    def _new_keys(self) -> None:
        online = CryptoSigner.generate_ed25519()
        self.signers: dict[str, list[CryptoSigner]] = {
            Root.type: [CryptoSigner.generate_ed25519() for _ in range(2)],
            Targets.type: [CryptoSigner.generate_ed25519()],
            Snapshot.type: [online],
            Timestamp.type: [online],
            Namespace.parse(NAMESPACE).dotted: [CryptoSigner.generate_ed25519()],
        }

    def _new_roles(self) -> None:
        end = TIMELY + 365 * DAY
        tops = (Root.type, Targets.type, Snapshot.type, Timestamp.type)
        keys = {role: [signer.public_key for signer in self.signers[role]] for role in tops}
        self.root = Root(
            1,
            SPEC_VERSION,
            end,
            keys={key.keyid: key for some in keys.values() for key in some},
            roles={
                role: Role([key.keyid for key in some], len(some)) for role, some in keys.items()
            },
            consistent_snapshot=True,
        )
        self.publish_root()
        director = director_keys_target(self.director.public_key)
        target = TargetFile.from_data(DIRECTOR_TARGET, director, ["sha256"])
        name = Namespace.parse(NAMESPACE).dotted
        self.roles = {
            Targets.type: Targets(1, SPEC_VERSION, end, {DIRECTOR_TARGET: target}),
            name: Targets(1, SPEC_VERSION, end),
        }
        key = self.signers[name][0].public_key
        delegation = namespace_delegation(NAMESPACE, key)
        self.roles[Targets.type].delegations = Delegations({key.keyid: key}, {name: delegation})
        self.roles[name].delegations = Delegations({}, {})
        self.snapshot = Snapshot(1, SPEC_VERSION, TIMELY + 7 * DAY)
        self.timestamp = Timestamp(1, SPEC_VERSION, TIMELY + DAY)
        self.bump(Targets.type, name)

    def _delegate(self, parent: Targets, task: str) -> None:
        key = self.signers[Namespace.parse(NAMESPACE).dotted][0].public_key
        assert parent.delegations is not None
        assert parent.delegations.roles is not None
        delegation = task_delegation(NAMESPACE, task, key)
        parent.delegations.keys[key.keyid] = key
        parent.delegations.roles[delegation.name] = delegation
        self.bump(Namespace.parse(NAMESPACE).dotted)
