"""Devices and the tokens by which they enrol.

Rules of this module:

- Status is computed when it is asked for: from the time that the device was last seen and the clock.
- Revoking and forgetting are trust's work (cloud/keys); here they are authorised.
"""

import re
from collections.abc import Mapping

import sqlalchemy as sa

from cloud.admin.caller import Caller, Scope
from cloud.admin.errors import ArgumentInvalid, NotFound
from cloud.admin.operations.lists import Row, list_rows
from cloud.admin.operations.texts import check_reason, checked_targeting
from cloud.admin.operations.views import (
    DeviceView,
    EnrolmentCode,
    EnrolmentCodesOnce,
    EnrolmentTokenView,
    ForgottenView,
    WhyView,
)
from cloud.admin.operations.why import Sets, explain_row
from cloud.admin.paging import Page, PageRequest
from cloud.admin.settings import AdminSettings
from cloud.keys.enrolment import EnrolmentService
from cloud.store.database import Database
from cloud.store.tables import devices, enrolment_tokens
from device_agent.clock import Clock
from device_agent.tasks.names import check_device_id, check_task_name

TOKEN_ID_CHARS = 16
_ID_PREFIX = re.compile(r"[0-9a-f]{1,32}")


def status_of(
    last_seen_at_ms: int | None, revoked_at_ms: int | None, now_ms: int, settings: AdminSettings
) -> str:
    """Online, stale, offline or revoked."""
    if revoked_at_ms is not None:
        return "revoked"
    age_ms = settings.stale_ms_max if last_seen_at_ms is None else now_ms - last_seen_at_ms
    if age_ms < settings.online_ms_max:
        return "online"
    return "stale" if age_ms < settings.stale_ms_max else "offline"


def status_is(status: str, now_ms: int, settings: AdminSettings) -> sa.ColumnElement[bool]:
    """The rows of devices whose `status_of` this is.

    Raises:
        ArgumentInvalid: There is no such status.
    """
    seen, revoked = devices.c.last_seen_at_ms, devices.c.revoked_at_ms
    online = seen > now_ms - settings.online_ms_max
    known = seen > now_ms - settings.stale_ms_max
    conditions = {
        "online": sa.and_(revoked.is_(None), online),
        "stale": sa.and_(revoked.is_(None), known, sa.not_(online)),
        "offline": sa.and_(revoked.is_(None), sa.or_(seen.is_(None), sa.not_(known))),
        "revoked": revoked.is_not(None),
    }
    if status not in conditions:
        raise ArgumentInvalid(f"status {status[:40]!r}: choose from {', '.join(conditions)}")
    return conditions[status]


def _check_prefix(prefix: str) -> str:
    if not _ID_PREFIX.fullmatch(prefix):
        raise ArgumentInvalid(f"id_prefix {prefix[:40]!r}: at most 32 lower-case hex digits")
    return prefix


def _token_view(row: Row) -> EnrolmentTokenView:
    return EnrolmentTokenView(
        id=row["token_hash"][:TOKEN_ID_CHARS],
        attributes=row["attributes"],
        created_at_ms=row["created_at_ms"],
        created_by=row["created_by"],
        expires_at_ms=row["expires_at_ms"],
        used_at_ms=row["used_at_ms"],
        used_by=row["used_by"] or "",
    )


class DeviceOperations:
    """Devices of a namespace."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        settings: AdminSettings,
        enrolment: EnrolmentService,
        sets: Sets,
    ) -> None:
        self._database = database
        self._clock = clock
        self._settings = settings
        self._enrolment = enrolment
        self._sets = sets

    def _view(self, row: Row) -> DeviceView:
        now_ms = self._clock.wall_ms()
        status = status_of(row["last_seen_at_ms"], row["revoked_at_ms"], now_ms, self._settings)
        return DeviceView(
            id=row["device_id"],
            status=status,
            attributes=row["attributes"],
            facts=row["facts"],
            installed=row["installed"],
            epoch=row["epoch"],
            enrolled_at_ms=row["enrolled_at_ms"],
            last_seen_at_ms=row["last_seen_at_ms"],
            revoked_at_ms=row["revoked_at_ms"],
            cloned_at_ms=row["cloned_at_ms"],
            certificate_expires_at_ms=row["certificate_expires_at_ms"],
        )

    async def list(
        self,
        caller: Caller,
        namespace: str,
        page: PageRequest,
        *,
        status: str = "",
        id_prefix: str = "",
    ) -> Page[DeviceView]:
        """Lists devices by id: all, or those of a status, or whose id begins so."""
        caller.require(Scope.DEVICE_READ, namespace)
        query = sa.select(devices).where(devices.c.namespace == namespace)
        if status:
            query = query.where(status_is(status, self._clock.wall_ms(), self._settings))
        if id_prefix:
            query = query.where(devices.c.device_id.startswith(_check_prefix(id_prefix)))
        key = (devices.c.device_id,)
        return await list_rows(
            self._database,
            "devices",
            query,
            key,
            page,
            self._settings,
            self._view,
            namespace=namespace,
        )

    async def get(self, caller: Caller, namespace: str, device_id: str) -> DeviceView:
        """Shows one device.

        Raises:
            NotFound: No device of that id has enrolled in the namespace.
        """
        caller.require(Scope.DEVICE_READ, namespace)
        return self._view(await self._row(namespace, device_id))

    async def _row(self, namespace: str, device_id: str) -> Row:
        query = sa.select(devices).where(
            devices.c.namespace == namespace, devices.c.device_id == check_device_id(device_id)
        )
        async with self._database.read() as conn:
            row = (await conn.execute(query)).mappings().one_or_none()
        if row is None:
            raise NotFound(f"no device {device_id} in {namespace}: `shoal device list` shows them")
        return dict(row)

    async def revoke(
        self, caller: Caller, namespace: str, device_id: str, reason: str
    ) -> DeviceView:
        """Refuses the device from now on."""
        caller.require(Scope.DEVICE_WRITE, namespace)
        check_reason(reason, self._settings)
        await self._row(namespace, device_id)
        await self._enrolment.revoke(namespace, device_id, caller.actor, reason)
        return self._view(await self._row(namespace, device_id))

    async def forget(
        self, caller: Caller, namespace: str, device_id: str, reason: str
    ) -> ForgottenView:
        """Deletes what the cloud knows of the device."""
        caller.require(Scope.DEVICE_WRITE, namespace)
        check_reason(reason, self._settings)
        await self._row(namespace, device_id)
        rows = await self._enrolment.forget(namespace, device_id, caller.actor, reason)
        return ForgottenView(device_id=device_id, rows=rows)

    async def why(self, caller: Caller, namespace: str, device_id: str, task: str) -> WhyView:
        """Tells what the device would be told of a task now, and why."""
        caller.require(Scope.DEVICE_READ, namespace)
        row = await self._row(namespace, device_id)
        return explain_row(self._sets.set_for(namespace), row, check_task_name(task))

    async def create_enrolment_codes(
        self,
        caller: Caller,
        namespace: str,
        *,
        attributes: Mapping[str, str],
        valid_for_s: int,
        count: int,
    ) -> EnrolmentCodesOnce:
        """Makes codes that enrol one device each."""
        caller.require(Scope.DEVICE_WRITE, namespace)
        settings = self._settings
        if not 1 <= count <= settings.enrolment_tokens_max:
            raise ArgumentInvalid(f"count {count}: choose 1 to {settings.enrolment_tokens_max}")
        if not 1 <= valid_for_s <= settings.enrolment_valid_s_max:
            raise ArgumentInvalid(
                f"valid_for_s {valid_for_s}: choose 1 to {settings.enrolment_valid_s_max}"
            )
        wanted = checked_targeting(attributes).attributes
        expires_at_ms = self._clock.wall_ms() + valid_for_s * 1000
        codes = [
            await self._enrolment.create_token(
                namespace, dict(wanted), caller.actor, valid_for_s * 1000
            )
            for _ in range(count)
        ]
        return EnrolmentCodesOnce(
            items=tuple(EnrolmentCode(code=code, expires_at_ms=expires_at_ms) for code in codes)
        )

    async def list_enrolment_tokens(
        self, caller: Caller, namespace: str, page: PageRequest
    ) -> Page[EnrolmentTokenView]:
        """Lists enrolment tokens, used ones too."""
        caller.require(Scope.DEVICE_READ, namespace)
        table = enrolment_tokens
        query = sa.select(table).where(table.c.namespace == namespace)
        key = (table.c.token_hash,)
        return await list_rows(
            self._database,
            "enrolment-tokens",
            query,
            key,
            page,
            self._settings,
            _token_view,
            namespace=namespace,
        )
