"""Which files were published for devices, and to whom they are open.

Rules of this module:

- Sources and unpublished versions are nobody's: they have no scope.
- What was published stays published, so an answer that is not empty is kept in memory, bounded, and a database that is
  down does not stop the downloads of a release that is under way.
"""

from collections import OrderedDict

import sqlalchemy as sa

from cloud.store.database import Database
from cloud.store.tables import task_versions, version_files
from device_agent.tasks.director import Scope

ENTRIES_MAX = 65_536


class PublishedScopes:
    """Answers `ScopeOf` from the registry's tables."""

    def __init__(self, db: Database, entries_max: int = ENTRIES_MAX) -> None:
        self._db = db
        self._entries_max = entries_max
        self._known: OrderedDict[str, frozenset[Scope]] = OrderedDict()

    async def __call__(self, digest: str) -> frozenset[Scope]:
        """Scopes under which a digest was published; empty when it was not."""
        known = self._known.get(digest)
        if known is not None:
            self._known.move_to_end(digest)
            return known
        scopes = await self._look_up(digest)
        if scopes:
            self._known[digest] = scopes
            if len(self._known) > self._entries_max:
                self._known.popitem(last=False)
        return scopes

    async def _look_up(self, digest: str) -> frozenset[Scope]:
        same = sa.and_(
            version_files.c.namespace == task_versions.c.namespace,
            version_files.c.task == task_versions.c.task,
            version_files.c.version == task_versions.c.version,
        )
        query = (
            sa.select(version_files.c.scope)
            .distinct()
            .join(task_versions, same)
            .where(
                version_files.c.digest == digest,
                version_files.c.kind != "source",
                task_versions.c.state == "published",
            )
        )
        async with self._db.read() as connection:
            return frozenset(Scope(scope) for scope in await connection.scalars(query))
