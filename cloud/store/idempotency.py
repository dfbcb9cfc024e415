"""Idempotency keys: a request that comes again gets the answer of the first time.

Rules of this module:

- Key and result are written in the transaction of the work itself: a crash leaves both or none.
- The same key with another request is refused; it would get an answer to a question that it did not ask.
- Two requests with one key at the same time: the second waits for the first and gets its answer.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.store.errors import IdempotencyKeyReused
from cloud.store.locks import lock_namespace
from cloud.store.tables import idempotency_keys

KEY_CHARS_MAX = 128
Result = dict[str, Any]


async def remember_idempotent(
    connection: AsyncConnection,
    namespace: str,
    key: str,
    request_digest: str,
    work: Callable[[], Awaitable[Result]],
    now_ms: int,
) -> Result:
    """Does the work once a key, in the caller's transaction; gives its result, or that of the first time.

    Args:
        connection: The transaction of the work.
        namespace: "app/project".
        key: From the caller; "" means that it asks for no memory.
        request_digest: Digest of the request's content.
        work: Does it and gives a JSON object.
        now_ms: When.

    Raises:
        IdempotencyKeyReused: the key was used for another request.
    """
    if not key:
        return await work()
    if len(key) > KEY_CHARS_MAX:
        raise IdempotencyKeyReused(f"an idempotency key has at most {KEY_CHARS_MAX} characters")
    await lock_namespace(connection, namespace)
    found = await _find(connection, namespace, key)
    if found is not None:
        if found.request_digest != request_digest:
            raise IdempotencyKeyReused(
                f"idempotency key {key!r} was used for another request; choose a new key"
            )
        return dict(found.result)
    result = await work()
    await connection.execute(
        sa.insert(idempotency_keys).values(
            namespace=namespace,
            key=key,
            request_digest=request_digest,
            result=result,
            created_at_ms=now_ms,
        )
    )
    return result


async def forget_idempotent(connection: AsyncConnection, before_ms: int) -> int:
    """Drops keys older than a time; gives how many."""
    result = await connection.execute(
        sa.delete(idempotency_keys).where(idempotency_keys.c.created_at_ms < before_ms)
    )
    return int(result.rowcount)


async def _find(connection: AsyncConnection, namespace: str, key: str) -> Any | None:  # noqa: ANN401  a row
    rows = await connection.execute(
        sa.select(idempotency_keys.c.request_digest, idempotency_keys.c.result).where(
            idempotency_keys.c.namespace == namespace, idempotency_keys.c.key == key
        )
    )
    return rows.one_or_none()
