"""High-water marks: up to where the reports of one device's log have been counted.

Rules of this module:

- A mark is read and raised in the transaction that counts, and its row is locked from reading to commit: two servers
  that got the same reports count them once.
- Rows are locked in order of key, so that two batches never wait for each other in a circle.
"""

from collections.abc import Iterable, Mapping

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.store.tables import device_streams
from cloud.store.upsert import insert_or_ignore, insert_or_update

# Namespace, device id, boot in hex.
type StreamKey = tuple[str, str, str]


async def take_high_water(
    connection: AsyncConnection, stream: str, keys: Iterable[StreamKey], now_ms: int
) -> dict[StreamKey, int]:
    """The highest sequence counted of each log, locked until the transaction ends; 0 for a new one."""
    wanted = sorted(set(keys))
    await insert_or_ignore(
        connection, device_streams, _rows(stream, dict.fromkeys(wanted, 0), now_ms)
    )
    columns = device_streams.c
    rows = await connection.execute(
        sa.select(columns.namespace, columns.device_id, columns.boot, columns.sequence)
        .where(
            columns.stream == stream,
            sa.tuple_(columns.namespace, columns.device_id, columns.boot).in_(wanted),
        )
        .order_by(columns.namespace, columns.device_id, columns.boot)
        .with_for_update()
    )
    return {(row.namespace, row.device_id, row.boot): row.sequence for row in rows}


async def raise_high_water(
    connection: AsyncConnection, stream: str, marks: Mapping[StreamKey, int], now_ms: int
) -> None:
    """Writes the marks that grew."""
    if marks:
        rows = _rows(stream, marks, now_ms)
        await insert_or_update(connection, device_streams, rows, ["sequence", "updated_at_ms"])


def _rows(stream: str, marks: Mapping[StreamKey, int], now_ms: int) -> list[dict[str, str | int]]:
    return [
        {
            "namespace": namespace,
            "device_id": device_id,
            "stream": stream,
            "boot": boot,
            "sequence": sequence,
            "updated_at_ms": now_ms,
        }
        for (namespace, device_id, boot), sequence in sorted(marks.items())
    ]
