"""Namespaces: made once, listed by name.

Rules of this module:

- A namespace is made before anything in it, with its first epoch at the wall clock.
- Making one is audited in its own chain.
"""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.store.audit import append_audit
from cloud.store.errors import NamespaceExists, NamespaceUnknown
from cloud.store.locks import lock_namespace
from cloud.store.tables import namespaces
from cloud.store.upsert import insert_or_ignore
from device_agent.tasks.names import Namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceRow:
    """A namespace as the database has it."""

    namespace: str
    created_at_ms: int
    epoch: int


async def create_namespace(
    connection: AsyncConnection, namespace: str, now_ms: int, actor: str
) -> None:
    """Makes a namespace.

    Raises:
        NameInvalid: its name breaks the rules.
        NamespaceExists: it is there.
    """
    name = str(Namespace.parse(namespace))
    await lock_namespace(connection, name)
    row = {"namespace": name, "created_at_ms": now_ms, "epoch": now_ms}
    if not await insert_or_ignore(connection, namespaces, row):
        raise NamespaceExists(f"namespace {name} exists already; use it, or choose another name")
    await append_audit(connection, name, actor, "namespace.create", name, {}, now_ms)


async def require_namespace(connection: AsyncConnection, namespace: str) -> None:
    """Raises NamespaceUnknown unless the namespace exists."""
    found = await connection.scalar(
        sa.select(namespaces.c.namespace).where(namespaces.c.namespace == namespace)
    )
    if found is None:
        raise NamespaceUnknown(
            f"there is no namespace {namespace}: `shoal namespace list` shows those there are, "
            "`shoal namespace add` makes one"
        )


async def list_namespaces(
    connection: AsyncConnection, *, after: str = "", limit: int = 100
) -> list[NamespaceRow]:
    """Namespaces after a name, by name."""
    rows = await connection.execute(
        sa.select(namespaces)
        .where(namespaces.c.namespace > after)
        .order_by(namespaces.c.namespace)
        .limit(limit)
    )
    return [NamespaceRow(**row._mapping) for row in rows]
