"""The registry: prepare a version, publish it, and answer what there is.

Rules of this module:

- A version is prepared (files stored, nothing signed) and then published (signed metadata accepted by the repository).
  Only published versions are seen by releases and devices.
- Both steps may be repeated: the same content prepares the same version, and publishing twice changes nothing.
- The order of a publication is: metadata into the repository, then the row. A crash between leaves a prepared row whose
  metadata is out; the retry finds it there and finishes.
- A Python that the cloud is told of later gets its builds when the same content is published again: the version stays,
  its new builds wait as UNSIGNED until their publisher has signed them, and then every gateway hears of the task.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.artifacts.blobs import BlobStore
from cloud.keys.publishing import SignedRoles, SigningBase
from cloud.keys.repository import TufRepository
from cloud.keys.roles import TargetToSign, targets_to_sign
from cloud.registry.builds import Builder
from cloud.registry.errors import TaskUnknown, VersionUnknown
from cloud.registry.settings import SETTINGS, RegistrySettings
from cloud.registry.upload import CheckedUpload, Upload, check_upload
from cloud.store.audit import append_audit
from cloud.store.database import Database
from cloud.store.epochs import bump_epoch
from cloud.store.locks import lock_namespace
from cloud.store.namespaces import require_namespace
from cloud.store.tables import task_versions, tasks, version_files
from cloud.store.upsert import insert_or_ignore
from device_agent.clock import Clock
from device_agent.engine.format import decode_model
from device_agent.failpoint import failpoint
from device_agent.tasks.bundle import bundle_digest
from device_agent.tasks.director import BundleFile, Scope
from device_agent.tasks.manifest import Manifest
from device_agent.tasks.names import Namespace, sha256_digest, target_path

PREPARED, PUBLISHED = "prepared", "published"
SOURCE, MANIFEST, BYTECODE, RESOURCE = "source", "manifest", "bytecode", "resource"
UNSIGNED = (
    "unsigned"  # bytecode that was added to a version, and that its publisher has not signed yet
)
MODEL_SUFFIX = ".shoalmodel"
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedVersion:
    """What a publisher signs next.

    Attributes:
        task: Task name.
        version: Number of the version.
        digest: Digest of the bundle.
        already_published: The same content is out already, for every Python; there is nothing to sign.
        targets: Files that the publisher vouches for.
        base: Metadata that the signature builds on.
    """

    task: str
    version: int
    digest: str
    already_published: bool
    targets: tuple[TargetToSign, ...]
    base: SigningBase


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    kind: str
    path: str
    data: bytes
    python_tag: str = ""
    scope: str = Scope.SHARED.value


class TaskRegistry:
    """Tasks, versions and files of one cloud."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        repository: TufRepository,
        clock: Clock,
        settings: RegistrySettings = SETTINGS,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._repository = repository
        self._clock = clock
        self._settings = settings
        self._builder = Builder(settings)

    async def prepare(self, namespace: str, upload: Upload, actor: str) -> PreparedVersion:
        """Validates, compiles and stores an upload, and gives its version a number.

        Raises:
            ManifestInvalid, BundleInvalid, SourceInvalid, ModelInvalid, ModelUnsupported: the upload breaks a rule;
                nothing was stored.
            NamespaceUnknown, PublicationRefused: the namespace is not there or may not publish.
        """
        checked = check_upload(upload, self._settings)
        for path, data in checked.resources.items():
            if path.endswith(MODEL_SUFFIX):
                decode_model(data)
        async with self._database.read() as connection:
            await require_namespace(connection, namespace)
        base = self._repository.signing_base(namespace, checked.manifest.name)
        builds = await self._builder.build(checked.manifest, checked.sources)
        files = _files(checked, builds)
        for file in files:
            await self._blobs.put(file.data)
        failpoint("registry.prepare.stored")
        return await self._record(namespace, checked, files, base, actor)

    async def _record(
        self,
        namespace: str,
        checked: CheckedUpload,
        files: Sequence[_File],
        base: SigningBase,
        actor: str,
    ) -> PreparedVersion:
        task, digest = checked.manifest.name, _digest(checked)

        async def step(connection: AsyncConnection) -> tuple[int, bool]:
            await lock_namespace(connection, namespace)
            known = await _find_digest(connection, namespace, task, digest)
            if known is not None:
                added = await self._add_builds(connection, namespace, task, known, files)
                return int(known["version"]), known["state"] == PUBLISHED and not added
            version = await self._insert(connection, namespace, checked, digest, files, actor)
            return version, False

        version, published = await self._database.run(step)
        failpoint("registry.prepare.recorded")
        return PreparedVersion(
            task=task,
            version=version,
            digest=digest,
            already_published=published,
            targets=() if published else await self._targets(namespace, task, version),
            base=base,
        )

    async def _insert(
        self,
        connection: AsyncConnection,
        namespace: str,
        checked: CheckedUpload,
        digest: str,
        files: Sequence[_File],
        actor: str,
    ) -> int:
        task, now_ms = checked.manifest.name, self._clock.wall_ms()
        made = {"namespace": namespace, "task": task, "created_at_ms": now_ms, "created_by": actor}
        await insert_or_ignore(connection, tasks, made)
        newest = sa.select(sa.func.coalesce(sa.func.max(task_versions.c.version), 0)).where(
            task_versions.c.namespace == namespace, task_versions.c.task == task
        )
        version = int((await connection.execute(newest)).scalar_one()) + 1
        row = {
            **made,
            "version": version,
            "digest": digest,
            "state": PREPARED,
            "manifest": json.loads(checked.manifest.to_json()),
            "source_commit": checked.source_commit,
        }
        await connection.execute(sa.insert(task_versions).values(row))
        where = Namespace.parse(namespace)
        rows = [_file_row(where, task, version, file) for file in files]
        await connection.execute(sa.insert(version_files), rows)
        detail = {"version": version, "digest": digest}
        await append_audit(connection, namespace, actor, "task.prepare", task, detail, now_ms)
        return version

    async def _add_builds(
        self,
        connection: AsyncConnection,
        namespace: str,
        task: str,
        known: Row,
        files: Sequence[_File],
    ) -> bool:
        """Stores builds for Pythons that a known version has none for; whether some wait for their signature."""
        version = int(known["version"])
        rows = await connection.execute(
            sa.select(version_files.c.kind, version_files.c.python_tag).where(
                *_is_file_of(namespace, task, version),
                version_files.c.kind.in_((BYTECODE, UNSIGNED)),
            )
        )
        there = {row.python_tag: row.kind for row in rows}
        where = Namespace.parse(namespace)
        new = [
            _file_row(where, task, version, replace(file, kind=UNSIGNED))
            for file in files
            if file.kind == BYTECODE and file.python_tag not in there
        ]
        if new:
            await connection.execute(sa.insert(version_files), new)
        return UNSIGNED in there.values() or bool(new)

    async def _targets(self, namespace: str, task: str, version: int) -> tuple[TargetToSign, ...]:
        rows = await self.files(namespace, task, version)
        return targets_to_sign(
            (row["target"], row["digest"], row["size"], row["path"])
            for row in rows
            if row["kind"] != SOURCE
        )

    async def publish(
        self, namespace: str, task: str, version: int, signed: SignedRoles, actor: str
    ) -> Row:
        """Publishes a prepared version, or new builds of a published one, with metadata that its publisher signed.

        Returns:
            The version's row.

        Raises:
            VersionUnknown: it was never prepared.
            PublicationRefused, PublicationConflict: the metadata is not what was prepared.
        """
        found = await self.version(namespace, task, version)
        files = await self.files(namespace, task, version)
        if found["state"] == PUBLISHED and all(row["kind"] != UNSIGNED for row in files):
            return found
        targets = await self._targets(namespace, task, version)
        await self._repository.publish(namespace, task, targets, signed, self._clock.wall_ms())
        failpoint("registry.publish.signed")

        async def step(connection: AsyncConnection) -> None:
            now_ms = self._clock.wall_ms()
            await lock_namespace(connection, namespace)
            changed = await connection.execute(
                sa.update(task_versions)
                .where(*_is_version(namespace, task, version), task_versions.c.state == PREPARED)
                .values(state=PUBLISHED, published_at_ms=now_ms, published_by=actor)
            )
            detail = {"version": version, "digest": found["digest"]}
            added = await _sign_builds(connection, namespace, task, version, targets)
            if changed.rowcount:
                await append_audit(
                    connection, namespace, actor, "task.publish", task, detail, now_ms
                )
            elif added:
                await bump_epoch(connection, namespace, "release", task, now_ms)
                await append_audit(connection, namespace, actor, "task.build", task, detail, now_ms)

        await self._database.run(step)
        failpoint("registry.publish.recorded")
        return await self.version(namespace, task, version)

    async def tasks(self, namespace: str, after: str = "", limit: int = 100) -> list[Row]:
        """Tasks in order of name, each with its newest published version (version 0 before the first).

        Raises:
            NamespaceUnknown: there are none, because there is no such namespace.
        """
        newest = (
            sa.select(task_versions.c.task, sa.func.max(task_versions.c.version).label("version"))
            .where(task_versions.c.namespace == namespace, task_versions.c.state == PUBLISHED)
            .group_by(task_versions.c.task)
            .subquery()
        )
        query = (
            sa.select(
                tasks.c.task,
                tasks.c.created_at_ms,
                tasks.c.created_by,
                sa.func.coalesce(newest.c.version, 0).label("latest_version"),
                task_versions.c.digest,
                task_versions.c.published_at_ms,
                task_versions.c.published_by,
            )
            .outerjoin(newest, newest.c.task == tasks.c.task)
            .outerjoin(
                task_versions,
                sa.and_(
                    task_versions.c.namespace == namespace,
                    task_versions.c.task == tasks.c.task,
                    task_versions.c.version == newest.c.version,
                ),
            )
            .where(tasks.c.namespace == namespace, tasks.c.task > after)
            .order_by(tasks.c.task)
            .limit(limit)
        )
        found = await self._rows(query)
        if not found and not after:
            async with self._database.read() as connection:
                await require_namespace(connection, namespace)
        return found

    async def versions(
        self, namespace: str, task: str, before: int = 2**31 - 1, limit: int = 100
    ) -> list[Row]:
        """Versions of a task, newest first.

        Raises:
            TaskUnknown: there is no such task.
        """
        query = (
            sa.select(task_versions)
            .where(
                task_versions.c.namespace == namespace,
                task_versions.c.task == task,
                task_versions.c.version < before,
            )
            .order_by(task_versions.c.version.desc())
            .limit(limit)
        )
        found = await self._rows(query)
        if not found and before == 2**31 - 1:
            raise TaskUnknown(
                f"{namespace} has no task {task!r}; `shoal task list` shows what there is"
            )
        return found

    async def version(self, namespace: str, task: str, version: int) -> Row:
        """One version.

        Raises:
            VersionUnknown: there is no such version.
        """
        rows = await self._rows(
            sa.select(task_versions).where(*_is_version(namespace, task, version))
        )
        if not rows:
            raise VersionUnknown(
                f"{namespace}/{task} has no version {version}; `shoal task show {task}` lists them"
            )
        return rows[0]

    async def files(self, namespace: str, task: str, version: int) -> list[Row]:
        """Files of a version, in order of kind and path."""
        query = (
            sa.select(version_files)
            .where(*_is_file_of(namespace, task, version))
            .order_by(version_files.c.kind, version_files.c.path)
        )
        return await self._rows(query)

    async def manifest(self, namespace: str, task: str, version: int) -> Manifest:
        """Manifest of a version. Raises VersionUnknown."""
        found = await self.version(namespace, task, version)
        return Manifest.from_json(json.dumps(found["manifest"]).encode())

    async def bundle_files(
        self, namespace: str, task: str, version: int, tag: str
    ) -> tuple[BundleFile, ...]:
        """What a device of this bytecode tag downloads; without code.bin when it was not built for the tag."""
        rows = await self.files(namespace, task, version)
        return tuple(
            BundleFile(
                path=row["path"],
                digest=row["digest"],
                size=row["size"],
                scope=Scope(row["scope"]),
                target=row["target"],
            )
            for row in rows
            if row["kind"] not in (SOURCE, UNSIGNED) and row["python_tag"] in ("", tag)
        )

    async def content(self, digest: str) -> bytes:
        """Content of a file. Raises BlobMissing."""
        return await self._blobs.get(digest)

    async def _rows(self, query: sa.Select[Any]) -> list[Row]:
        async with self._database.read() as connection:
            return [dict(row) for row in (await connection.execute(query)).mappings()]


def _is_version(namespace: str, task: str, version: int) -> tuple[sa.ColumnElement[bool], ...]:
    columns = task_versions.c
    return (columns.namespace == namespace, columns.task == task, columns.version == version)


def _is_file_of(namespace: str, task: str, version: int) -> tuple[sa.ColumnElement[bool], ...]:
    columns = version_files.c
    return (columns.namespace == namespace, columns.task == task, columns.version == version)


async def _sign_builds(
    connection: AsyncConnection,
    namespace: str,
    task: str,
    version: int,
    signed: Sequence[TargetToSign],
) -> bool:
    """Makes builds that were signed now part of the version, and no others; whether there were any."""
    changed = await connection.execute(
        sa.update(version_files)
        .where(
            *_is_file_of(namespace, task, version),
            version_files.c.kind == UNSIGNED,
            version_files.c.target.in_([target.target for target in signed]),
        )
        .values(kind=BYTECODE)
    )
    return changed.rowcount > 0


async def _find_digest(
    connection: AsyncConnection, namespace: str, task: str, digest: str
) -> Row | None:
    query = sa.select(task_versions.c.version, task_versions.c.state).where(
        task_versions.c.namespace == namespace,
        task_versions.c.task == task,
        task_versions.c.digest == digest,
    )
    row = (await connection.execute(query)).mappings().one_or_none()
    return dict(row) if row is not None else None


def _digest(checked: CheckedUpload) -> str:
    return bundle_digest(
        checked.manifest,
        {path: sha256_digest(data) for path, data in checked.sources.items()},
        {path: sha256_digest(data) for path, data in checked.resources.items()},
    )


def _files(checked: CheckedUpload, builds: Mapping[str, bytes]) -> list[_File]:
    scopes = {resource.path: resource.scope for resource in checked.manifest.resources}
    return [
        _File(kind=MANIFEST, path="manifest.json", data=checked.manifest.to_json()),
        *(
            _File(kind=BYTECODE, path="code.bin", data=code, python_tag=tag)
            for tag, code in builds.items()
        ),
        *(_File(kind=SOURCE, path=path, data=data) for path, data in checked.sources.items()),
        *(
            _File(kind=RESOURCE, path=path, data=data, scope=scopes[path])
            for path, data in checked.resources.items()
        ),
    ]


def _file_row(namespace: Namespace, task: str, version: int, file: _File) -> dict[str, object]:
    digest = sha256_digest(file.data)
    target = "" if file.kind == SOURCE else target_path(namespace, task, version, digest)
    return {
        "namespace": str(namespace),
        "task": task,
        "version": version,
        "kind": file.kind,
        "path": file.path,
        "python_tag": file.python_tag,
        "digest": digest,
        "size": len(file.data),
        "scope": file.scope,
        "target": target,
    }
