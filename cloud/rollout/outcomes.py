"""What devices acknowledge of releases: one row a device and release, folded from its acknowledgements in order.

Rules of this module:

- The caller has dropped duplicates (device, boot, sequence) and hands acknowledgements over in order, inside the
  transaction in which it moves its high-water mark: row and mark commit together.
- A row only moves along TRANSITIONS: a "notified" that comes late never undoes an "installed".
- Times are the cloud's: when it learned of it. A device's clock may be wrong, and what we claim must hold. When the
  cloud's own clock goes back, a row's times stand still, so that a curve never ends before it began.
- What names no release of the namespace is dropped: a device may say what it likes.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.store.tables import release_devices, releases
from cloud.store.upsert import insert_or_update

# From which outcome a row may move to which; a row that is not there may begin with any.
TRANSITIONS: Mapping[str, frozenset[str]] = {
    "notified": frozenset({"installed", "failed", "deferred", "removed", "rolled_back"}),
    "deferred": frozenset({"notified", "installed", "failed", "removed", "rolled_back"}),
    # A retry may succeed.
    "failed": frozenset({"failed", "installed", "removed", "rolled_back"}),
    "installed": frozenset({"removed", "rolled_back"}),
    # It may come back: by a newer release's rollback, or because the device matches again.
    "removed": frozenset({"installed"}),
    "rolled_back": frozenset({"installed", "removed"}),
}
ERROR_CODE_CHARS_MAX = 64
_KEYS_A_READ = 400

type Key = tuple[str, str]


class Acknowledged(Protocol):
    """One acknowledgement, as the gateway hands it over."""

    @property
    def release_id(self) -> str:
        """The release that the instruction named; empty when none did."""
        ...

    @property
    def version(self) -> int:
        """The version that the device holds or refused."""
        ...

    @property
    def outcome(self) -> str:
        """One of TRANSITIONS; others are dropped."""
        ...

    @property
    def error_code(self) -> str:
        """From the error catalogue; empty on success."""
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRow:
    """What is known of one device and one release."""

    outcome: str
    error_code: str
    notified_at_ms: int | None
    installed_at_ms: int | None
    updated_at_ms: int


def fold(row: DeviceRow | None, outcome: str, error_code: str, now_ms: int) -> DeviceRow | None:
    """The row after an acknowledgement; the same row when it may not move there."""
    if outcome not in TRANSITIONS or (row and outcome not in TRANSITIONS[row.outcome]):
        return row
    if row is not None:
        now_ms = max(now_ms, row.updated_at_ms)
    notified = row.notified_at_ms if row else None
    installed = row.installed_at_ms if row else None
    return DeviceRow(
        outcome=outcome,
        error_code=error_code[:ERROR_CODE_CHARS_MAX],
        notified_at_ms=now_ms if notified is None else notified,
        installed_at_ms=now_ms if outcome == "installed" and installed is None else installed,
        updated_at_ms=now_ms,
    )


async def record_outcomes(
    connection: AsyncConnection,
    namespace: str,
    batch: Iterable[tuple[str, Sequence[Acknowledged]]],
    now_ms: int,
) -> int:
    """Folds a batch of (device id, acknowledgements) into the rows; gives how many rows changed."""
    acks = [(device, ack) for device, list_ in batch for ack in list_ if ack.release_id]
    versions = await _versions(connection, namespace, {ack.release_id for _, ack in acks})
    known = [(device, ack) for device, ack in acks if ack.release_id in versions]
    before = await _rows(connection, namespace, {(ack.release_id, d) for d, ack in known})
    after = dict(before)
    for device, ack in known:
        key = (ack.release_id, device)
        outcome = _meaning(ack, versions[ack.release_id])
        folded = fold(after.get(key), outcome, ack.error_code, now_ms)
        if folded is not None:
            after[key] = folded
    changed = {key: row for key, row in after.items() if row != before.get(key)}
    await _write(connection, namespace, changed)
    return len(changed)


def _meaning(ack: Acknowledged, released: int) -> str:
    """A device that was rolled back *to* this release's version holds it now."""
    if ack.outcome == "rolled_back" and ack.version == released:
        return "installed"
    return ack.outcome


async def _versions(connection: AsyncConnection, namespace: str, ids: set[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for chunk in _chunks(sorted(ids)):
        rows = await connection.execute(
            sa.select(releases.c.release_id, releases.c.version).where(
                releases.c.namespace == namespace, releases.c.release_id.in_(chunk)
            )
        )
        found.update({row.release_id: row.version for row in rows})
    return found


async def _rows(
    connection: AsyncConnection, namespace: str, keys: set[Key]
) -> dict[Key, DeviceRow]:
    table = release_devices.c
    found: dict[Key, DeviceRow] = {}
    for release_id in sorted({release_id for release_id, _ in keys}):
        devices = sorted(device for one, device in keys if one == release_id)
        for chunk in _chunks(devices):
            rows = await connection.execute(
                sa.select(release_devices).where(
                    table.namespace == namespace,
                    table.release_id == release_id,
                    table.device_id.in_(chunk),
                )
            )
            found.update({(release_id, row.device_id): _row(row) for row in rows})
    return found


def _row(row: sa.Row[tuple[object, ...]]) -> DeviceRow:
    return DeviceRow(
        outcome=row.outcome,
        error_code=row.error_code,
        notified_at_ms=row.notified_at_ms,
        installed_at_ms=row.installed_at_ms,
        updated_at_ms=row.updated_at_ms,
    )


async def _write(
    connection: AsyncConnection, namespace: str, rows: Mapping[Key, DeviceRow]
) -> None:
    columns = [field.name for field in dataclasses.fields(DeviceRow)]
    values = [
        {"namespace": namespace, "release_id": release_id, "device_id": device}
        | {name: getattr(row, name) for name in columns}
        for (release_id, device), row in sorted(rows.items())
    ]
    await insert_or_update(connection, release_devices, values, columns)


def _chunks(items: list[str]) -> Iterable[list[str]]:
    return (items[i : i + _KEYS_A_READ] for i in range(0, len(items), _KEYS_A_READ))
