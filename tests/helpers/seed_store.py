"""Fills a database with versions, releases and devices as the other parts leave them there.

seed = Seed(database); await seed.namespace()
await seed.publish(version("digits", 1)); await seed.release(release("digits", 1)); await seed.device("ab" * 16)
"""

import json
from collections.abc import Mapping

import sqlalchemy as sa

from cloud.gateway.release_set import Release, Version
from cloud.store.database import Database
from cloud.store.epochs import bump_epoch
from cloud.store.tables import (
    devices,
    kill_switches,
    namespaces,
    releases,
    task_versions,
    tasks,
    version_files,
)
from cloud.store.upsert import insert_or_ignore, insert_or_update
from device_agent.tasks.manifest import parse_manifest
from tests.helpers.release_sets import NAMESPACE

MANIFEST = """
[task]
name = "{task}"
entry = "main:on_event"
summary = "A task of a test"
[[triggers]]
event = 1001
"""


class Seed:
    """Writes into one namespace; every method that devices may notice gives the new epoch."""

    def __init__(self, database: Database, namespace: str = NAMESPACE) -> None:
        self.database = database
        self.name = namespace

    async def namespace(self, epoch: int = 10) -> None:
        async with self.database.begin() as connection:
            await connection.execute(
                sa.insert(namespaces).values(namespace=self.name, created_at_ms=1, epoch=epoch)
            )

    async def publish(self, version: Version, state: str = "published") -> None:
        document = json.loads(parse_manifest(MANIFEST.format(task=version.task)).to_json())
        async with self.database.begin() as connection:
            await insert_or_ignore(
                connection,
                tasks,
                {
                    "namespace": self.name,
                    "task": version.task,
                    "created_at_ms": 1,
                    "created_by": "tester",
                },
            )
            await connection.execute(
                sa.insert(task_versions).values(
                    namespace=self.name,
                    task=version.task,
                    version=version.number,
                    digest=version.digest,
                    state=state,
                    manifest=document,
                    created_at_ms=1,
                    created_by="tester",
                )
            )
            await insert_or_ignore(connection, version_files, self._files(version))

    def _files(self, version: Version) -> list[dict[str, object]]:
        kinds = {"code.bin": "bytecode", "manifest.json": "manifest"}
        return [
            {
                "namespace": self.name,
                "task": version.task,
                "version": version.number,
                "kind": kinds.get(file.path, "resource"),
                "path": file.path,
                "python_tag": tag if file.path in kinds and file.path == "code.bin" else "",
                "digest": file.digest,
                "size": file.size,
                "scope": file.scope.value,
                "target": file.target,
            }
            for tag, files in version.bundles.items()
            for file in files
        ]

    async def release(self, release: Release) -> int:
        """Inserts or changes a release."""
        row = {
            "namespace": self.name,
            "release_id": release.release_id,
            "task": release.task,
            "version": release.version,
            "state": release.state.value,
            "machine": {},
            "targeting": release.targeting.to_json(),
            "stages": [{"share_ppm": release.share_ppm, "promote_at_ppm": 0}],
            "stage_index": 0,
            "salt": release.salt,
            "rollback_version": release.rollback_version,
            "traceparent": release.traceparent,
            "created_at_ms": release.started_at_ms,
            "created_by": "tester",
            "started_at_ms": release.started_at_ms,
            "revision": 1,
        }
        async with self.database.begin() as connection:
            changed = ["state", "stages", "rollback_version"]
            await insert_or_update(connection, releases, row, changed)
            return await bump_epoch(connection, self.name, "release", release.task, 1)

    async def kill(self, task: str) -> int:
        async with self.database.begin() as connection:
            await connection.execute(
                sa.insert(kill_switches).values(
                    namespace=self.name, task=task, set_at_ms=1, set_by="tester", reason=""
                )
            )
            return await bump_epoch(connection, self.name, "kill", task, 1)

    async def device(
        self, device_id: str, attributes: Mapping[str, str] | None = None, at_ms: int = 1
    ) -> None:
        async with self.database.begin() as connection:
            await connection.execute(
                sa.insert(devices).values(
                    namespace=self.name,
                    device_id=device_id,
                    public_key=b"",
                    certificate_serial="1",
                    certificate_expires_at_ms=1,
                    enrolled_at_ms=at_ms,
                    attributes=dict(attributes or {}),
                    facts={},
                    installed={},
                    epoch=0,
                )
            )

    async def revoke(self, device_id: str, *, forget: bool = False) -> int:
        mine = sa.and_(devices.c.namespace == self.name, devices.c.device_id == device_id)
        async with self.database.begin() as connection:
            if forget:
                await connection.execute(sa.delete(devices).where(mine))
            else:
                await connection.execute(sa.update(devices).where(mine).values(revoked_at_ms=5))
            return await bump_epoch(connection, self.name, "revocation", device_id, 1)
