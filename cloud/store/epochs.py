"""The order of change: one epoch a namespace, and a row for everything that devices may have to hear of.

Rules of this module:

- An epoch grows with every change and is never below the wall clock that made it: epoch = max(previous + 1, now).
  After a restore from an old backup it is therefore still above every epoch that a device has seen, as long as
  fewer changes than milliseconds went by.
- Epoch and change row are written in the transaction of the change itself; commits come in order of epochs,
  because the namespace's lock is held until then.
"""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.store.errors import NamespaceUnknown
from cloud.store.locks import lock_namespace
from cloud.store.tables import changes, namespaces

KINDS = frozenset({"release", "kill", "revocation"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change that devices may have to hear of.

    Attributes:
        epoch: The epoch that it made.
        kind: release | kill | revocation.
        subject: Task name ("" is all tasks), or device id for a revocation.
    """

    epoch: int
    kind: str
    subject: str


async def bump_epoch(
    connection: AsyncConnection, namespace: str, kind: str, subject: str, now_ms: int
) -> int:
    """Notes a change in the transaction that makes it; gives the new epoch.

    Raises:
        NamespaceUnknown: the namespace was never created.
    """
    assert kind in KINDS, f"{kind} is not a kind of change"
    await lock_namespace(connection, namespace)
    grown = namespaces.c.epoch + 1
    epoch: int | None = await connection.scalar(
        sa.update(namespaces)
        .where(namespaces.c.namespace == namespace)
        .values(epoch=sa.case((grown > now_ms, grown), else_=now_ms))
        .returning(namespaces.c.epoch)
    )
    if epoch is None:
        raise _unknown(namespace)
    await connection.execute(
        sa.insert(changes).values(namespace=namespace, epoch=epoch, kind=kind, subject=subject)
    )
    return epoch


async def current_epoch(connection: AsyncConnection, namespace: str) -> int:
    """The namespace's epoch.

    Raises:
        NamespaceUnknown: the namespace was never created.
    """
    epoch: int | None = await connection.scalar(
        sa.select(namespaces.c.epoch).where(namespaces.c.namespace == namespace)
    )
    if epoch is None:
        raise _unknown(namespace)
    return epoch


async def changes_since(
    connection: AsyncConnection, namespace: str, epoch: int, limit: int
) -> list[Change]:
    """Changes after `epoch`, oldest first, at most `limit`."""
    rows = await connection.execute(
        sa.select(changes.c.epoch, changes.c.kind, changes.c.subject)
        .where(changes.c.namespace == namespace, changes.c.epoch > epoch)
        .order_by(changes.c.epoch)
        .limit(limit)
    )
    return [Change(epoch=row.epoch, kind=row.kind, subject=row.subject) for row in rows]


def _unknown(namespace: str) -> NamespaceUnknown:
    return NamespaceUnknown(f"namespace {namespace} does not exist; create it first")
