"""An idempotency key gives the first answer again, and refuses another question."""

import pytest
import sqlalchemy as sa

from cloud.store.database import Database
from cloud.store.errors import IdempotencyKeyReused, NamespaceExists
from cloud.store.idempotency import forget_idempotent, remember_idempotent
from cloud.store.namespaces import create_namespace, list_namespaces
from cloud.store.tables import namespaces
from cloud.store.upsert import insert_or_ignore, insert_or_update

NS = "demo/digits-app"
DIGEST = "sha256:" + "0" * 64


async def test_the_work_is_done_once_a_key(database: Database) -> None:
    done: list[int] = []

    async def work() -> dict[str, object]:
        done.append(1)
        return {"release": len(done)}

    async with database.begin() as connection:
        answers = [
            await remember_idempotent(connection, NS, key, DIGEST, work, 1)
            for key in ("k", "k", "other", "", "")
        ]
    assert [answer["release"] for answer in answers] == [1, 1, 2, 3, 4]
    async with database.begin() as connection:
        with pytest.raises(IdempotencyKeyReused, match="choose a new key"):
            await remember_idempotent(connection, NS, "k", DIGEST[:-1] + "1", work, 1)
        assert await forget_idempotent(connection, 2) == 2
        assert await forget_idempotent(connection, 2) == 0


async def test_work_that_fails_is_not_remembered(database: Database) -> None:
    async def fail() -> dict[str, object]:
        raise RuntimeError

    async def succeed() -> dict[str, object]:
        return {"ok": True}

    with pytest.raises(RuntimeError):
        async with database.begin() as connection:
            await remember_idempotent(connection, NS, "k", DIGEST, fail, 1)
    async with database.begin() as connection:
        assert await remember_idempotent(connection, NS, "k", DIGEST, succeed, 1) == {"ok": True}


async def test_namespaces_are_made_once_and_listed_by_name(database: Database) -> None:
    async with database.begin() as connection:
        for name in ("b/b", "a/a", "c/c"):
            await create_namespace(connection, name, 5, "test")
        page = await list_namespaces(connection, after="a/a", limit=1)
        assert [row.namespace for row in page] == ["b/b"]
        with pytest.raises(NamespaceExists):
            await create_namespace(connection, "a/a", 6, "test")


async def test_upserts_ignore_or_update_what_is_there(database: Database) -> None:
    rows = [{"namespace": f"a/n{i}", "created_at_ms": 1, "epoch": i} for i in range(450)]
    async with database.begin() as connection:
        assert await insert_or_ignore(connection, namespaces, rows) == 450
        assert (
            await insert_or_ignore(connection, namespaces, [*rows, {**rows[0], "namespace": "x/y"}])
            == 1
        )
        changed = [{**row, "epoch": 7, "created_at_ms": 9} for row in rows[:2]]
        await insert_or_update(connection, namespaces, changed, ["epoch"])
        got = await connection.execute(
            sa.select(namespaces).where(namespaces.c.namespace == "a/n1")
        )
        assert tuple(got.one()) == ("a/n1", 1, 7)
