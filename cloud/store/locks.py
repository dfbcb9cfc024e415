"""Locks that order the writers of one namespace.

Rules of this module:

- SQLite needs none: BEGIN IMMEDIATE lets one writer in at a time.
- PostgreSQL: a transaction takes at most one of these locks, the namespace's, so that no two can wait for each other.
"""

import hashlib

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.store.urls import POSTGRESQL


async def lock_namespace(connection: AsyncConnection, namespace: str) -> None:
    """Waits until no other transaction holds the namespace; held until this one ends.

    Raises:
        DatabaseBusy: it did not come free in time (raised as the transaction ends).
    """
    if connection.dialect.name == POSTGRESQL:
        number = advisory_number(f"namespace:{namespace}")
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(number)))


def advisory_number(name: str) -> int:
    """The signed 64-bit number by which PostgreSQL knows an advisory lock of ours."""
    digest = hashlib.blake2b(f"shoal:{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
