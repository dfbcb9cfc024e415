"""The TUF repository of one cloud, on the server's side.

Rules of this module:

- Publishers sign targets; this side verifies them (acceptance.py) and signs snapshot and timestamp with the online key.
- Consistent snapshots: every file but timestamp.json carries its version in its name and is written before anything
  names it. The timestamp is written last: that one atomic put publishes all.
- A death in between leaves files that nothing names; the next publication replaces them.
- One process writes a repository (a lock keeps its own tasks apart); any number read it.
"""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import LengthOrHashMismatchError, RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from cloud.artifacts.objects import ObjectFolder
from cloud.keys.acceptance import accept_roles, check_top_role
from cloud.keys.errors import PublicationRefused, RepositoryEmpty
from cloud.keys.expiry import Expiry, role_expiry
from cloud.keys.publishing import SignedRoles, SigningBase
from cloud.keys.roles import (
    SPEC_VERSION,
    TargetToSign,
    expiry,
    parent_of,
    read_targets,
    task_role_name,
    to_bytes,
)
from cloud.keys.settings import SETTINGS, KeySettings
from device_agent.failpoint import failpoint
from device_agent.tasks.names import Namespace
from device_agent.tasks.trust import DIRECTOR_TARGET

_METADATA_NAME: Final = re.compile(r"([1-9][0-9]{0,9})\.([a-z][a-z0-9.-]{0,200})\.json")
_DIRECTOR_PATH: Final = re.compile(r"shoal/keys/([0-9a-f]{64})\.director")
_CONTENT: Final = "director-keys"


class TufRepository:
    """Metadata as devices fetch it, and the only way to change it."""

    def __init__(
        self, objects: ObjectFolder, signer: CryptoSigner, settings: KeySettings = SETTINGS
    ) -> None:
        self._objects = objects
        self._signer = signer
        self._successor: CryptoSigner | None = None
        self._settings = settings
        self._lock = asyncio.Lock()
        self._root: Root | None = None
        self._root_bytes = b""
        self._snapshot: Snapshot | None = None
        self._timestamp: Timestamp | None = None
        self._timestamp_bytes = b""
        self._signed_by: frozenset[str] = frozenset()
        self._roles: dict[str, bytes] = {}
        self._director_keys = b'{"keys": {}}'

    @classmethod
    def open(
        cls, url: str, signer: CryptoSigner, settings: KeySettings = SETTINGS
    ) -> "TufRepository":
        """A repository below `tuf/` of an artifact store's URL; call `load` before anything else."""
        return cls(ObjectFolder.open(url).below("tuf"), signer, settings)

    async def load(self, first: Path, now_ms: int) -> None:
        """Reads what is published; an empty store is filled with the first metadata of `init_keys`.

        Args:
            first: The folder online/metadata.
            now_ms: Wall clock.
        """
        async with self._lock:
            if await self._objects.get("timestamp.json") is None:
                await self._load_first(first, now_ms)
            await self._reload()

    @property
    def online_keyid(self) -> str:
        """The key that signs snapshot and timestamp now."""
        return str(self._signer.public_key.keyid)

    def offer(self, successor: CryptoSigner) -> None:
        """Hands over the online key that a root may name from now on; it signs as soon as one does."""
        self._successor = successor
        if self._root is not None:
            self._signer = self._online_signer(self._root) or self._signer

    async def metadata(self, name: str) -> bytes | None:
        """A metadata file by the name that devices ask for; None when there is none."""
        if name == "timestamp.json":
            return self._timestamp_bytes or None
        match = _METADATA_NAME.fullmatch(name)
        if match is None:
            return None
        known = self._snapshot.meta.get(f"{match[2]}.json") if self._snapshot is not None else None
        if known is not None and known.version == int(match[1]):
            return self._roles[match[2]]
        return await self._objects.get(name)

    async def target(self, path: str) -> bytes | None:
        """Content of a target that the repository itself holds: the director's keys."""
        match = _DIRECTOR_PATH.fullmatch(path)
        return await self._objects.get(f"{_CONTENT}/{match[1]}") if match else None

    def root(self) -> bytes:
        """The newest root: what a device starts to trust at enrolment, and what the next root follows.

        Raises:
            RepositoryEmpty: nothing is loaded.
        """
        if not self._root_bytes:
            raise RepositoryEmpty("the TUF repository is not loaded; load it before it is used")
        return self._root_bytes

    def role(self, name: str) -> bytes | None:
        """Published metadata of a targets role; None when there is none."""
        return self._roles.get(name)

    def expiries(self) -> list[Expiry]:
        """When each role expires, parents before children."""
        snapshot, timestamp = self._loaded()
        root = self._root
        assert root is not None, "loaded together with the snapshot"
        online = (Snapshot.type, snapshot), (Timestamp.type, timestamp)
        found = [
            role_expiry(name, signed, root.roles[name].keyids, root.roles[name].threshold)
            for name, signed in ((Root.type, root), *online)
        ]
        parsed = {name: read_targets(data, name).signed for name, data in self._roles.items()}
        for name in sorted(parsed, key=lambda one: (one.count("."), one)):
            parent = parsed[parent_of(name)] if name != Targets.type else root
            role = parent.get_delegated_role(name)
            found.append(role_expiry(name, parsed[name], role.keyids, role.threshold))
        return found

    def director_keyids(self) -> frozenset[str]:
        """The director's keys that devices are told to trust."""
        return frozenset(json.loads(self._director_keys)["keys"])

    def signing_base(self, namespace: str, task: str) -> SigningBase:
        """What a publisher needs to sign the next version of a task.

        Raises:
            PublicationRefused: the namespace was not added to the repository.
        """
        parent = self._roles.get(Namespace.parse(namespace).dotted)
        if parent is None:
            raise PublicationRefused(
                f"namespace {namespace} has no publishing key in this repository; "
                "add it with `shoal namespace add`"
            )
        return SigningBase(
            namespace_role=parent, task_role=self._roles.get(task_role_name(namespace, task))
        )

    async def publish(
        self,
        namespace: str,
        task: str,
        expected: Sequence[TargetToSign],
        signed: SignedRoles,
        now_ms: int,
    ) -> None:
        """Verifies and publishes the roles of a new version.

        Publishing what is published already is fine, so that a caller that died after this may just call again.

        Raises:
            PublicationRefused: the metadata breaks a rule, or signs other files than were prepared.
            PublicationConflict: another version was published in between; sign again.
        """
        role = task_role_name(namespace, task)
        async with self._lock:
            if self._has(role, expected):
                return
            if extra := signed.roles.keys() - {role, Namespace.parse(namespace).dotted}:
                raise PublicationRefused(f"{sorted(extra)[0]} is not a role of {namespace}/{task}")
            accepted = self._accept(signed.roles, now_ms)
            if role not in accepted:
                raise PublicationRefused(f"{role} is not among the signed roles")
            self._check_expected(role, accepted[role].signed, expected)
            await self._commit({name: signed.roles[name] for name in accepted}, now_ms)

    async def accept(
        self, signed: SignedRoles, now_ms: int, director_keys: bytes | None = None
    ) -> bool:
        """Verifies and publishes roles that add no version: namespaces, renewals, another director key.

        Returns:
            Whether anything changed.
        """
        async with self._lock:
            accepted = self._accept(signed.roles, now_ms)
            await self._store_director_keys(accepted.get(Targets.type), director_keys)
            if accepted:
                await self._commit({name: signed.roles[name] for name in accepted}, now_ms)
            return bool(accepted)

    async def accept_root(
        self, data: bytes, now_ms: int, signed: SignedRoles | None = None
    ) -> None:
        """Publishes a new root, signed by the thresholds of old and new keys.

        When the root names another online key, start the server with that key first: snapshot and timestamp are signed
        anew in the same step. When it names another targets key, `signed` brings the targets role signed with it.

        Raises:
            PublicationRefused: the root does not verify, or this server's online key is not in it.
        """
        async with self._lock:
            self._loaded()
            known = data == self._root_bytes  # a caller that died in between just calls again
            new = self._root if known and self._root is not None else self._check_root(data)
            roles = dict(signed.roles) if signed is not None else {}
            accepted = accept_roles(new, self._roles, roles, now_ms, self._settings)
            check_top_role(new, self._roles | roles)
            await self._store_director_keys(accepted.get(Targets.type), None)
            await self._objects.put(f"{new.version}.root.json", data)
            failpoint("keys.root.written")
            self._root, self._root_bytes = new, data
            self._signer = self._online_signer(new) or self._signer
            await self._commit({name: roles[name] for name in accepted}, now_ms)

    async def refresh_online(self, now_ms: int) -> bool:
        """Signs snapshot and timestamp anew when their life runs out, or when the online key is another.

        Returns:
            Whether it did.
        """
        async with self._lock:
            snapshot, timestamp = self._loaded()
            settings = self._settings
            due = (
                _is_due(snapshot, now_ms, settings.snapshot_lifetime_ms, settings),
                _is_due(timestamp, now_ms, settings.timestamp_lifetime_ms, settings),
            )
            stranger = self._signer.public_key.keyid not in self._signed_by
            if due[0] or stranger:
                await self._commit({}, now_ms)
            elif due[1]:
                await self._sign_timestamp(timestamp.snapshot_meta, now_ms)
            return any(due) or stranger

    # --- below: under the lock ----------------------------------------------------------------------------------

    def _loaded(self) -> tuple[Snapshot, Timestamp]:
        if self._snapshot is None or self._timestamp is None:
            raise RepositoryEmpty("the TUF repository is not loaded; load it before it is used")
        return self._snapshot, self._timestamp

    def _accept(self, signed: Mapping[str, bytes], now_ms: int) -> dict[str, Metadata[Targets]]:
        self._loaded()
        assert self._root is not None, "loaded together with the snapshot"
        return accept_roles(self._root, self._roles, dict(signed), now_ms, self._settings)

    def _has(self, role: str, expected: Sequence[TargetToSign]) -> bool:
        if role not in self._roles:
            return False
        targets = read_targets(self._roles[role], role).signed.targets
        return all(targets.get(one.target) == one.to_target_file() for one in expected)

    def _check_expected(self, role: str, new: Targets, expected: Sequence[TargetToSign]) -> None:
        old = read_targets(self._roles[role], role).signed.targets if role in self._roles else {}
        added = {path: file for path, file in new.targets.items() if path not in old}
        wanted = {one.target: one.to_target_file() for one in expected if one.target not in old}
        if added != wanted:
            differing = sorted(added.keys() ^ wanted.keys()) or sorted(added)
            raise PublicationRefused(
                f"{role}: signed files are not those prepared, e.g. {differing[0]}; prepare and sign again"
            )

    async def _store_director_keys(
        self, targets: Metadata[Targets] | None, content: bytes | None
    ) -> None:
        if targets is None:
            return
        target = targets.signed.targets[DIRECTOR_TARGET]
        name = f"{_CONTENT}/{target.hashes['sha256']}"
        if content is None:
            content = await self._objects.get(name)
        if content is None:
            raise PublicationRefused(
                f"send the content of {DIRECTOR_TARGET} with the new targets role"
            )
        try:
            target.verify_length_and_hashes(content)
        except LengthOrHashMismatchError as error:
            raise PublicationRefused(
                f"the content of {DIRECTOR_TARGET} is not what the targets role names"
            ) from error
        await self._objects.put(name, content)
        self._director_keys = content

    async def _commit(self, roles: Mapping[str, bytes], now_ms: int) -> None:
        """Publishes roles under a new snapshot and timestamp."""
        before, _ = self._loaded()
        meta = dict(before.meta)
        for name, data in roles.items():
            version = read_targets(data, name).signed.version
            meta[f"{name}.json"] = MetaFile.from_data(version, data, ["sha256"])
            await self._objects.put(f"{version}.{name}.json", data)
        failpoint("keys.publish.roles_written")
        end = expiry(now_ms, self._settings.snapshot_lifetime_ms)
        snapshot = Snapshot(before.version + 1, SPEC_VERSION, end, meta)
        data = self._sign(Metadata(snapshot))
        await self._objects.put(f"{snapshot.version}.snapshot.json", data)
        failpoint("keys.publish.snapshot_written")
        await self._sign_timestamp(MetaFile.from_data(snapshot.version, data, ["sha256"]), now_ms)
        self._snapshot = snapshot
        self._roles |= roles

    async def _sign_timestamp(self, snapshot: MetaFile, now_ms: int) -> None:
        version = self._timestamp.version + 1 if self._timestamp is not None else 1
        end = expiry(now_ms, self._settings.timestamp_lifetime_ms)
        timestamp = Timestamp(version, SPEC_VERSION, end, snapshot)
        data = self._sign(Metadata(timestamp))
        await self._objects.put("timestamp.json", data)
        failpoint("keys.publish.timestamp_written")
        self._timestamp, self._timestamp_bytes = timestamp, data
        self._signed_by = frozenset([self._signer.public_key.keyid])

    def _sign(self, metadata: Metadata[Any]) -> bytes:
        metadata.sign(self._signer)
        return to_bytes(metadata)

    def _check_root(self, data: bytes) -> Root:
        before = self._root
        assert before is not None, "a root is loaded with the rest"
        try:
            metadata = Metadata[Root].from_bytes(data)
            for delegator in (before, metadata.signed):
                delegator.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
        except (RepositoryError, DeserializationError, ValueError) as error:
            raise PublicationRefused(
                "the new root is not signed by the thresholds of both old and new root keys"
            ) from error
        new = metadata.signed
        if new.version != before.version + 1:
            raise PublicationRefused(
                f"root version {before.version + 1} is next, not {new.version}"
            )
        if self._online_signer(new) is None:
            raise PublicationRefused(
                "the new root names an online key that this server does not hold; "
                "`shoal keys rotate online` has it make one first"
            )
        return new

    def _online_signer(self, root: Root) -> CryptoSigner | None:
        for signer in (self._signer, self._successor):
            if signer is not None and all(
                signer.public_key.keyid in root.roles[role].keyids
                for role in (Snapshot.type, Timestamp.type)
            ):
                return signer
        return None

    async def _load_first(self, first: Path, now_ms: int) -> None:
        files = await asyncio.to_thread(_read_folder, first)
        if "1.root.json" not in files or "1.targets.json" not in files:
            raise RepositoryEmpty(
                f"{first} has no first metadata; make keys with `shoal keys init`"
            )
        director = files.pop("director")
        target = read_targets(files["1.targets.json"], Targets.type).signed.targets[DIRECTOR_TARGET]
        await self._objects.put(f"{_CONTENT}/{target.hashes['sha256']}", director)
        await self._objects.put("1.root.json", files.pop("1.root.json"))
        meta: dict[str, MetaFile] = {}
        for name, data in files.items():
            await self._objects.put(name, data)
            meta[name.removeprefix("1.")] = MetaFile.from_data(1, data, ["sha256"])
        end = expiry(now_ms, self._settings.snapshot_lifetime_ms)
        snapshot = self._sign(Metadata(Snapshot(1, SPEC_VERSION, end, meta)))
        await self._objects.put("1.snapshot.json", snapshot)
        await self._sign_timestamp(MetaFile.from_data(1, snapshot, ["sha256"]), now_ms)

    async def _reload(self) -> None:
        self._timestamp_bytes = await self._read("timestamp.json")
        timestamp = Metadata[Timestamp].from_bytes(self._timestamp_bytes)
        self._timestamp, self._signed_by = timestamp.signed, frozenset(timestamp.signatures)
        version = self._timestamp.snapshot_meta.version
        data = await self._read(f"{version}.snapshot.json")
        self._snapshot = Metadata[Snapshot].from_bytes(data).signed
        self._roles = {}
        for name, meta in self._snapshot.meta.items():
            self._roles[name.removesuffix(".json")] = await self._read(f"{meta.version}.{name}")
        await self._reload_root()
        target = read_targets(self._roles[Targets.type], Targets.type).signed.targets
        name = f"{_CONTENT}/{target[DIRECTOR_TARGET].hashes['sha256']}"
        self._director_keys = await self._read(name)

    async def _reload_root(self) -> None:
        number, data = 1, await self._read("1.root.json")
        while (newer := await self._objects.get(f"{number + 1}.root.json")) is not None:
            number, data = number + 1, newer
        self._root, self._root_bytes = Metadata[Root].from_bytes(data).signed, data

    async def _read(self, name: str) -> bytes:
        data = await self._objects.get(name)
        if data is None:
            raise RepositoryEmpty(
                f"{name} is missing from the repository; restore the artifact store"
            )
        return data


def _is_due(
    signed: Snapshot | Timestamp, now_ms: int, lifetime_ms: int, settings: KeySettings
) -> bool:
    left_ms = signed.expires.timestamp() * 1000 - now_ms
    return left_ms < lifetime_ms * settings.online_refresh_share


def _read_folder(folder: Path) -> dict[str, bytes]:
    if not folder.is_dir():
        return {}
    return {path.name: path.read_bytes() for path in folder.iterdir()}
