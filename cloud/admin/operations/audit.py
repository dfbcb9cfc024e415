"""The audit log and what agents say of themselves: read-only lists, newest first."""

import sqlalchemy as sa

from cloud.admin.caller import Caller, Scope
from cloud.admin.operations.lists import Row, list_rows, require_known
from cloud.admin.operations.views import AuditReport, AuditView, NoticeView
from cloud.admin.paging import Page, PageRequest
from cloud.admin.settings import AdminSettings
from cloud.store.audit import verify_chain
from cloud.store.database import Database
from cloud.store.errors import AuditChainBroken
from cloud.store.tables import audit_log, notices
from device_agent.tasks.names import check_device_id


def _audit_view(row: Row) -> AuditView:
    return AuditView(
        id=row["id"],
        at_ms=row["at_ms"],
        actor=row["actor"],
        action=row["action"],
        object=row["object"],
        detail=row["detail"],
        row_hash=row["row_hash"],
    )


def notice_view(row: Row) -> NoticeView:
    """A row of `notices`."""
    return NoticeView(
        id=row["id"],
        device_id=row["device_id"],
        at_ms=row["at_ms"],
        code=row["code"],
        message=row["message"],
    )


class AuditOperations:
    """Audit log and notices."""

    def __init__(self, database: Database, settings: AdminSettings) -> None:
        self._database = database
        self._settings = settings

    async def list(self, caller: Caller, namespace: str, page: PageRequest) -> Page[AuditView]:
        """Lists who did what, newest first."""
        caller.require(Scope.AUDIT_READ, namespace)
        query = sa.select(audit_log).where(audit_log.c.namespace == namespace)
        return await list_rows(
            self._database, "audit", query, (audit_log.c.id,), page, self._settings, _audit_view,
            namespace=namespace, descending=True,
        )  # fmt: skip

    async def verify(self, caller: Caller, namespace: str) -> AuditReport:
        """Computes the chain again from its first row."""
        caller.require(Scope.AUDIT_READ, namespace)
        try:
            async with self._database.read() as conn:
                report = await verify_chain(conn, namespace)
                if not report.rows:
                    await require_known(conn, namespace)
        except AuditChainBroken as broken:
            return AuditReport(intact=False, rows=0, head="", message=str(broken))
        return AuditReport(intact=True, rows=report.rows, head=report.head, message="")

    async def notices(
        self, caller: Caller, namespace: str, page: PageRequest, *, device: str = ""
    ) -> Page[NoticeView]:
        """Lists what agents said of themselves, newest first."""
        caller.require(Scope.DEVICE_READ, namespace)
        query = sa.select(notices).where(notices.c.namespace == namespace)
        if device:
            query = query.where(notices.c.device_id == check_device_id(device))
        return await list_rows(
            self._database, "notices", query, (notices.c.id,), page, self._settings, notice_view,
            namespace=namespace, descending=True,
        )  # fmt: skip
