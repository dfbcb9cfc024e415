"""The audit log: who did what, chained by hashes.

Rules of this module:

- A row is written in the transaction of the change that it tells of: neither is there without the other.
- row_hash = SHA-256(previous row's hash || canonical JSON of this row), per namespace; the first row's previous
  hash is 64 zeros. Whoever changes, drops or reorders a row inside the chain breaks every hash after it.
- Rows dropped from the end leave a chain that holds: an auditor keeps `ChainReport.head` elsewhere and compares.
- The namespace "*" is the chain of what concerns the whole cloud.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.store.errors import AuditChainBroken
from cloud.store.locks import lock_namespace
from cloud.store.tables import audit_log

WHOLE_CLOUD = "*"
FIRST_HASH = "0" * 64
OBJECT_CHARS_MAX = 256
ACTOR_CHARS_MAX = 256
ACTION_CHARS_MAX = 64
DETAIL_BYTES_MAX = 64 * 1024
_ROWS_A_READ = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainReport:
    """What verifying a chain found.

    Attributes:
        rows: Rows that were checked.
        head: Hash of the last one; FIRST_HASH when there is none.
    """

    rows: int
    head: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One row, as it was written."""

    id: int
    namespace: str
    at_ms: int
    actor: str
    action: str
    object: str
    detail: Mapping[str, Any]
    row_hash: str


async def append_audit(
    connection: AsyncConnection,
    namespace: str,
    actor: str,
    action: str,
    object: str,  # noqa: A002  the column's name, and the word operators know
    detail: Mapping[str, Any],
    now_ms: int,
) -> int:
    """Writes a row in the caller's transaction; gives its id.

    Args:
        connection: The transaction of the change.
        namespace: "app/project", or "*".
        actor: Who did it, e.g. "token:ci" or "cloud".
        action: What, e.g. "release.start".
        object: To what, e.g. "digits/3".
        detail: More, as JSON.
        now_ms: When.
    """
    row = {
        "namespace": namespace,
        "at_ms": now_ms,
        "actor": actor[:ACTOR_CHARS_MAX],
        "action": action,
        "object": object[:OBJECT_CHARS_MAX],
        "detail": dict(detail),
    }
    assert len(action) <= ACTION_CHARS_MAX, action
    assert len(_canonical(row)) <= DETAIL_BYTES_MAX, "an audit row is a note, not a document"
    await lock_namespace(connection, namespace)
    row_hash = hash_row(await _head(connection, namespace), row)
    new = await connection.scalar(
        sa.insert(audit_log).values(**row, row_hash=row_hash).returning(audit_log.c.id)
    )
    assert new is not None
    return int(new)


async def verify_chain(connection: AsyncConnection, namespace: str) -> ChainReport:
    """Checks every row of a namespace's chain.

    Raises:
        AuditChainBroken: a row does not hash to what it says.
    """
    previous, rows, last_id = FIRST_HASH, 0, 0
    while chunk := await read_audit(connection, namespace, after_id=last_id, limit=_ROWS_A_READ):
        for row in chunk:
            previous = hash_row(previous, _hashed_part(row))
            if previous != row.row_hash:
                raise AuditChainBroken(
                    f"audit row {row.id} of {namespace} does not follow from the rows before it: "
                    "compare with a backup, and find out who can write to the database"
                )
        rows, last_id = rows + len(chunk), chunk[-1].id
    return ChainReport(rows=rows, head=previous)


async def read_audit(
    connection: AsyncConnection, namespace: str, *, after_id: int = 0, limit: int = 100
) -> list[AuditRow]:
    """Rows of a namespace after an id, oldest first."""
    rows = await connection.execute(
        sa.select(audit_log)
        .where(audit_log.c.namespace == namespace, audit_log.c.id > after_id)
        .order_by(audit_log.c.id)
        .limit(limit)
    )
    return [AuditRow(**row._mapping) for row in rows]


def hash_row(previous: str, row: Mapping[str, Any]) -> str:
    """Hash of a row, given the hash of the row before it."""
    return hashlib.sha256(previous.encode() + _canonical(row)).hexdigest()


async def _head(connection: AsyncConnection, namespace: str) -> str:
    head: str | None = await connection.scalar(
        sa.select(audit_log.c.row_hash)
        .where(audit_log.c.namespace == namespace)
        .order_by(audit_log.c.id.desc())
        .limit(1)
    )
    return head or FIRST_HASH


def _hashed_part(row: AuditRow) -> dict[str, Any]:
    return {
        "namespace": row.namespace,
        "at_ms": row.at_ms,
        "actor": row.actor,
        "action": row.action,
        "object": row.object,
        "detail": row.detail,
    }


def _canonical(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
