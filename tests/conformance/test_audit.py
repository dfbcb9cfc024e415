"""The audit chain holds, and shows every way of changing it."""

import pytest
import sqlalchemy as sa

from cloud.store.audit import FIRST_HASH, append_audit, read_audit, verify_chain
from cloud.store.database import Database
from cloud.store.errors import AuditChainBroken
from cloud.store.tables import audit_log

NS = "demo/digits-app"


async def write_three(database: Database) -> None:
    async with database.begin() as connection:
        for number in range(3):
            await append_audit(
                connection, NS, "token:ci", "release.start", f"digits/{number}", {"n": 1.5}, number
            )
        await append_audit(connection, "*", "cloud", "keys.init", "", {}, 9)


async def test_a_chain_verifies_and_namespaces_have_their_own(database: Database) -> None:
    await write_three(database)
    async with database.read() as connection:
        report = await verify_chain(connection, NS)
        rows = await read_audit(connection, NS)
        assert (report.rows, report.head) == (3, rows[-1].row_hash)
        assert [row.object for row in rows] == ["digits/0", "digits/1", "digits/2"]
        assert (await verify_chain(connection, "*")).rows == 1
        assert (await verify_chain(connection, "a/b")).head == FIRST_HASH


@pytest.mark.parametrize(
    "forgery",
    [
        sa.update(audit_log).where(audit_log.c.object == "digits/1").values(actor="nobody"),
        sa.update(audit_log).where(audit_log.c.object == "digits/1").values(detail={"n": 2}),
        sa.delete(audit_log).where(audit_log.c.object == "digits/1"),
        sa.update(audit_log).where(audit_log.c.object == "digits/2").values(row_hash="0" * 64),
        sa.update(audit_log).where(audit_log.c.object == "digits/0").values(id=1000),
    ],
    ids=["actor", "detail", "dropped", "hash", "reordered"],
)
async def test_a_changed_chain_is_noticed(database: Database, forgery: sa.UpdateBase) -> None:
    await write_three(database)
    async with database.begin() as connection:
        await connection.execute(forgery)
    async with database.read() as connection:
        with pytest.raises(AuditChainBroken, match="compare with a backup"):
            await verify_chain(connection, NS)


async def test_rows_dropped_from_the_end_change_the_head(database: Database) -> None:
    await write_three(database)
    async with database.begin() as connection:
        before = await verify_chain(connection, NS)
        await connection.execute(sa.delete(audit_log).where(audit_log.c.object == "digits/2"))
        assert (await verify_chain(connection, NS)).head != before.head
