"""Which digests are open to whom, as the registry's tables say."""

import sqlalchemy as sa

from cloud.artifacts.scopes import PublishedScopes
from cloud.store.database import Database
from cloud.store.tables import task_versions, version_files
from device_agent.tasks.director import Scope
from device_agent.tasks.names import sha256_digest

DIGEST = sha256_digest(b"content")


async def test_scopes_are_those_of_published_versions(database: Database) -> None:
    version = {
        "namespace": "a/b",
        "task": "t",
        "version": 1,
        "digest": DIGEST,
        "manifest": {},
        "created_at_ms": 1,
        "created_by": "x",
    }
    file = {
        "namespace": "a/b",
        "task": "t",
        "version": 1,
        "python_tag": "",
        "digest": DIGEST,
        "size": 1,
        "target": "",
    }
    async with database.begin() as connection:
        await connection.execute(sa.insert(task_versions).values(**version, state="prepared"))
        for kind, path, scope in (("resource", "m", "shared"), ("resource", "n", "exclusive")):
            row = {**file, "kind": kind, "path": path, "scope": scope}
            await connection.execute(sa.insert(version_files).values(**row))
        source = sha256_digest(b"source")
        row = {**file, "kind": "source", "path": "main.py", "scope": "shared", "digest": source}
        await connection.execute(sa.insert(version_files).values(**row))
    scopes = PublishedScopes(database, entries_max=1)
    assert await scopes(DIGEST) == frozenset()
    async with database.begin() as connection:
        await connection.execute(sa.update(task_versions).values(state="published"))
    assert await scopes(DIGEST) == {Scope.SHARED, Scope.EXCLUSIVE}
    assert await scopes(source) == frozenset()
    async with database.begin() as connection:
        await connection.execute(sa.delete(version_files))
    assert await scopes(DIGEST) == {Scope.SHARED, Scope.EXCLUSIVE}  # from memory
