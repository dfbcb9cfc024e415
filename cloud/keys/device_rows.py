"""What a device's life cycle reads and writes in the database; each function is part of a caller's transaction.

Rules of this module:

- A token is marked as used by one statement with its condition in it: of two devices, one wins.
- A device's row is locked when it is read for a change, before its namespace is: changes have one order.
- Every change of a device that gateways must hear of bumps the epoch; every change writes its audit row.
"""

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.keys.authority import DeviceCertificate
from cloud.keys.errors import DeviceUnknown, EnrolmentRefused
from cloud.keys.metrics import CLONES
from cloud.store.audit import append_audit
from cloud.store.epochs import bump_epoch
from cloud.store.tables import devices, enrolment_tokens, metadata, notices
from cloud.store.upsert import insert_or_update
from device_agent.tasks.names import check_device_id

REVOCATION: Final = "revocation"
CLONED: Final = "DEVICE_CLONED"


async def use_token(
    connection: AsyncConnection, namespace: str, token_hash: str, device_id: str, now_ms: int
) -> Mapping[str, str]:
    """Marks the token as used by this device and gives its attributes."""
    mine = (enrolment_tokens.c.namespace == namespace) & (
        enrolment_tokens.c.token_hash == token_hash
    )
    # The condition and the change are one statement: of two devices, one sees a row.
    await connection.execute(
        sa.update(enrolment_tokens)
        .where(mine, enrolment_tokens.c.used_at_ms.is_(None))
        .values(used_at_ms=now_ms, used_by=device_id)
    )
    row = (await connection.execute(sa.select(enrolment_tokens).where(mine))).one_or_none()
    if row is None:
        raise EnrolmentRefused("this token is not known; make one with `shoal device token create`")
    if row.used_by != device_id:
        raise EnrolmentRefused("this token was used by another device; make one for each device")
    if now_ms >= row.expires_at_ms:
        raise EnrolmentRefused("this token has expired; make one with `shoal device token create`")
    attributes: Mapping[str, str] = row.attributes
    return attributes


async def store_device(
    connection: AsyncConnection,
    certificate: DeviceCertificate,
    attributes: Mapping[str, str],
    facts: Mapping[str, Any],
    now_ms: int,
) -> None:
    """Writes a device that enrols, or enrols again: then a revocation ends.

    Raises:
        EnrolmentRefused: two devices were found to have its key.
    """
    namespace, device_id = certificate.namespace, certificate.device_id
    known = (
        sa.select(devices.c.revoked_at_ms, devices.c.cloned_at_ms)
        .where(devices.c.namespace == namespace, devices.c.device_id == device_id)
        .with_for_update()
    )
    before = (await connection.execute(known)).one_or_none()
    if before is not None and before.cloned_at_ms is not None:
        raise EnrolmentRefused(
            "this device's key is in two hands; enrol with another: `shoal-agent enrol --new-key`"
        )
    row = {
        "namespace": namespace,
        "device_id": device_id,
        "public_key": certificate.public_key,
        "certificate_serial": certificate.serial,
        "certificate_expires_at_ms": certificate.expires_at_ms,
        "enrolled_at_ms": now_ms,
        "revoked_at_ms": None,
        "attributes": dict(attributes),
        "facts": dict(facts),
        "installed": [],
        "epoch": 0,
    }
    changes = [name for name in row if name not in ("namespace", "device_id", "installed", "epoch")]
    await insert_or_update(connection, devices, row, changes)
    if before is not None:
        await bump_epoch(connection, namespace, REVOCATION, device_id, now_ms)
    detail = {"again": before is not None, "serial": certificate.serial}
    actor = f"device:{device_id}"
    await append_audit(connection, namespace, actor, "device.enrol", device_id, detail, now_ms)


async def mark_clone(
    connection: AsyncConnection, namespace: str, device_id: str, now_ms: int
) -> bool:
    """Writes down that two devices speak with one certificate, once; tells whether this was that time."""
    changed = await connection.execute(
        device_row(namespace, device_id)
        .where(devices.c.cloned_at_ms.is_(None))
        .values(cloned_at_ms=now_ms)
    )
    if not changed.rowcount:
        return False
    told = {
        "namespace": namespace,
        "device_id": device_id,
        "at_ms": now_ms,
        "code": CLONED,
        "message": "two devices speak with this certificate; revoke it, and enrol one with --new-key",
    }
    await connection.execute(sa.insert(notices).values(told))
    await append_audit(connection, namespace, "cloud", "device.clone", device_id, {}, now_ms)
    CLONES.inc()
    return True


async def revoked_at(connection: AsyncConnection, namespace: str, device_id: str) -> int | None:
    """When a device was revoked; None when it was not.

    Raises:
        DeviceUnknown: there is no such device.
    """
    row = (
        await connection.execute(
            sa.select(devices.c.revoked_at_ms)
            .where(
                devices.c.namespace == namespace, devices.c.device_id == check_device_id(device_id)
            )
            .with_for_update()
        )
    ).one_or_none()
    if row is None:
        raise DeviceUnknown(
            f"namespace {namespace} has no device {device_id}; see `shoal device list`"
        )
    at_ms: int | None = row.revoked_at_ms
    return at_ms


async def delete_everywhere(connection: AsyncConnection, namespace: str, device_id: str) -> int:
    """Deletes a device's rows in every table that names it; gives how many."""
    rows = 0
    for table in metadata.tables.values():
        if {"namespace", "device_id"} <= set(table.c.keys()):
            mine = (table.c.namespace == namespace) & (table.c.device_id == device_id)
            rows += (await connection.execute(sa.delete(table).where(mine))).rowcount
    await connection.execute(
        sa.update(enrolment_tokens)
        .where(enrolment_tokens.c.namespace == namespace, enrolment_tokens.c.used_by == device_id)
        .values(used_by="")
    )
    return rows


def device_row(namespace: str, device_id: str) -> sa.Update:
    """An update of one device."""
    return sa.update(devices).where(
        devices.c.namespace == namespace, devices.c.device_id == device_id
    )
