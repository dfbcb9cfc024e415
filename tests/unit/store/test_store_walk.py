"""Epochs, changes, idempotency keys and the audit chain, against plain lists, over transactions that may fail."""

import asyncio
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.store.audit import FIRST_HASH, append_audit, hash_row, read_audit, verify_chain
from cloud.store.database import Database
from cloud.store.epochs import bump_epoch, changes_since, current_epoch
from cloud.store.errors import (
    AuditChainBroken,
    IdempotencyKeyReused,
    NamespaceExists,
    NamespaceUnknown,
)
from cloud.store.idempotency import KEY_CHARS_MAX, forget_idempotent, remember_idempotent
from cloud.store.namespaces import create_namespace, list_namespaces, require_namespace
from cloud.store.tables import audit_log

NAMES = ("a/a", "b/b")
names, keys, digests = (
    st.sampled_from(NAMES),
    st.sampled_from(["k", "K", ""]),
    st.sampled_from(["d1", "d2"]),
)
steps = st.one_of(
    st.tuples(st.just("create"), names),
    st.tuples(
        st.just("bump"), names, st.sampled_from(["release", "kill", "revocation"]), st.booleans()
    ),
    st.tuples(st.just("remember"), names, keys, digests, st.booleans()),
    st.tuples(st.just("audit"), names, st.text(max_size=9)),
    st.tuples(st.just("forget"), st.integers(0, 40)),
    st.tuples(st.just("clock"), st.integers(-20, 20)),
)


class Undone(Exception):
    """The transaction fails at its end."""


@dataclass
class Walk:
    database: Database
    now_ms: int = 1_000
    epochs: dict[str, int] = field(default_factory=dict)
    changes: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    answers: dict[tuple[str, str], tuple[str, int, int]] = field(default_factory=dict)
    audited: dict[str, list[str]] = field(default_factory=dict)
    works: int = 0

    async def clock(self, ms: int) -> None:
        """The wall clock goes on, or is set back."""
        self.now_ms += ms

    async def create(self, name: str) -> None:
        try:
            async with self.database.begin() as connection:
                await create_namespace(connection, name, self.now_ms, "test")
        except NamespaceExists:
            assert name in self.epochs
            return
        assert name not in self.epochs
        self.epochs[name], self.changes[name] = self.now_ms, []
        self.audited.setdefault(name, []).append("namespace.create")

    async def bump(self, name: str, kind: str, fails: bool) -> None:
        try:
            async with self.database.begin() as connection:
                epoch = await bump_epoch(connection, name, kind, "x", self.now_ms)
                if fails:
                    raise Undone
        except NamespaceUnknown:
            assert name not in self.epochs
            return
        except Undone:
            return
        assert epoch == max(self.epochs[name] + 1, self.now_ms)
        self.epochs[name] = epoch
        self.changes[name].append((epoch, kind))

    async def remember(self, name: str, key: str, digest: str, fails: bool) -> None:
        async def work() -> dict[str, Any]:
            self.works += 1
            return {"work": self.works}

        async def step(connection: AsyncConnection) -> dict[str, Any]:
            answer = await remember_idempotent(connection, name, key, digest, work, self.now_ms)
            if fails:
                raise Undone
            return answer

        known, before = self.answers.get((name, key)), self.works
        try:
            async with self.database.begin() as connection:
                answer = await step(connection)
        except IdempotencyKeyReused:
            assert known is not None
            assert known[0] != digest
            return
        except Undone:
            return
        if known is not None:
            assert (known[0], known[1]) == (digest, answer["work"])
            assert self.works == before, "the work is done once"
        elif key:
            self.answers[name, key] = (digest, answer["work"], self.now_ms)

    async def audit(self, name: str, text: str) -> None:
        async with self.database.begin() as connection:
            detail = {"text": text, "n": 1.5, "list": [None, True, {"ä": text}]}
            await append_audit(connection, name, text, "test.write", text, detail, self.now_ms)
        self.audited.setdefault(name, []).append("test.write")

    async def forget(self, ago_ms: int) -> None:
        before_ms = self.now_ms - ago_ms
        async with self.database.begin() as connection:
            dropped = await forget_idempotent(connection, before_ms)
        kept = {place: one for place, one in self.answers.items() if one[2] >= before_ms}
        assert dropped == len(self.answers) - len(kept)
        self.answers = kept

    async def check(self) -> None:
        async with self.database.read() as connection:
            found = await list_namespaces(connection)
            assert {row.namespace: row.epoch for row in found} == self.epochs
            for name in NAMES:
                rows = await read_audit(connection, name)
                assert [row.action for row in rows] == self.audited.get(name, [])
                report = await verify_chain(connection, name)
                assert report.rows == len(rows)
                if name not in self.epochs:
                    with pytest.raises(NamespaceUnknown):
                        await require_namespace(connection, name)
                    continue
                await require_namespace(connection, name)
                assert await current_epoch(connection, name) == self.epochs[name]
                told = await changes_since(connection, name, 0, 100)
                assert [(one.epoch, one.kind) for one in told] == self.changes[name]
                assert told == sorted(told, key=lambda one: one.epoch)


async def walked(url: str, history: list[tuple[Any, ...]]) -> None:
    database = await Database.open(url)
    try:
        walk = Walk(database)
        for name, *more in history:
            await getattr(walk, name)(*more)
        await walk.check()
    finally:
        await database.close()


@pytest.mark.slow
@hypothesis_settings(max_examples=6)
@given(history=st.lists(steps, min_size=5, max_size=25))
def test_every_history_is_that_of_the_lists(
    sqlite_template: Path, history: list[tuple[Any, ...]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shoal.db"
        shutil.copyfile(sqlite_template, path)
        asyncio.run(walked(f"sqlite:///{path}", history))


# --- the chain, attacked ----------------------------------------------------------------------------------------

FIELDS = ["at_ms", "actor", "action", "object", "detail", "row_hash", "namespace"]


async def written(database: Database, rows: int) -> list[int]:
    async with database.begin() as connection:
        return [
            await append_audit(connection, "a/a", f"actor{n}", "test.write", f"o{n}", {"n": n}, n)
            for n in range(rows)
        ]


@pytest.mark.parametrize("field_name", FIELDS)
@pytest.mark.parametrize("place", [0, 1, 3])
async def test_no_field_of_a_row_can_be_changed(
    database: Database, field_name: str, place: int
) -> None:
    ids = await written(database, 4)
    changed: dict[str, Any] = {
        "at_ms": 99,
        "detail": {"n": "99"},
        "row_hash": "f" * 64,
        "namespace": "b/b",
    }
    value = changed.get(field_name, "somebody else")
    async with database.begin() as connection:
        this = audit_log.c.id == ids[place]
        await connection.execute(sa.update(audit_log).where(this).values({field_name: value}))
    async with database.read() as connection:
        if (
            field_name == "namespace" and place == 3
        ):  # as if it were dropped from the end: the head tells
            assert (await verify_chain(connection, "a/a")).rows == 3
            return
        with pytest.raises(AuditChainBroken, match="compare with a backup"):
            await verify_chain(connection, "a/a")


async def test_a_forger_who_hashes_again_changes_the_head(database: Database) -> None:
    """Whoever can write the table can make a chain that holds; an auditor who kept the head sees it."""
    ids = await written(database, 3)
    async with database.read() as connection:
        before = await verify_chain(connection, "a/a")
    async with database.begin() as connection:
        previous = FIRST_HASH
        for row in await read_audit(connection, "a/a"):
            actor = "innocent" if row.id == ids[0] else row.actor
            content = {
                name: getattr(row, name)
                for name in ("namespace", "at_ms", "action", "object", "detail")
            }
            previous = hash_row(previous, {**content, "actor": actor})
            values = {"actor": actor, "row_hash": previous}
            await connection.execute(
                sa.update(audit_log).where(audit_log.c.id == row.id).values(values)
            )
    async with database.read() as connection:
        after = await verify_chain(connection, "a/a")
    assert after.rows == before.rows
    assert after.head != before.head


async def test_two_rows_that_change_places_are_noticed(database: Database) -> None:
    ids = await written(database, 3)
    async with database.begin() as connection:
        for old, new in ((ids[0], 9_999), (ids[1], ids[0]), (9_999, ids[1])):
            await connection.execute(
                sa.update(audit_log).where(audit_log.c.id == old).values(id=new)
            )
    async with database.read() as connection:
        with pytest.raises(AuditChainBroken):
            await verify_chain(connection, "a/a")


values = st.integers() | st.text(max_size=5) | st.floats(allow_nan=False, allow_infinity=False)


@hypothesis_settings(max_examples=50)
@given(
    st.dictionaries(st.text(max_size=5), values, max_size=4),
    st.text("0123456789abcdef", min_size=64, max_size=64),
)
def test_a_hash_depends_on_all_that_is_hashed_and_on_no_order(
    row: dict[str, Any], previous: str
) -> None:
    said = hash_row(previous, row)
    assert hash_row(previous, dict(reversed(list(row.items())))) == said
    assert hash_row(previous[::-1], row) != said or previous == previous[::-1]
    for name in row:
        assert (
            hash_row(previous, {**row, name: "another value"}) != said
            or row[name] == "another value"
        )
        assert hash_row(previous, {key: value for key, value in row.items() if key != name}) != said


async def test_an_actor_of_any_length_is_cut_before_it_is_hashed(database: Database) -> None:
    async with database.begin() as connection:
        await append_audit(connection, "a/a", "x" * 999, "test.write", "y" * 999, {}, 1)
    async with database.read() as connection:
        (row,) = await read_audit(connection, "a/a")
        assert (len(row.actor), len(row.object)) == (256, 256)
        assert (await verify_chain(connection, "a/a")).head == row.row_hash


async def test_a_key_that_is_too_long_is_refused_before_the_work(database: Database) -> None:
    async def work() -> dict[str, Any]:
        raise AssertionError("the work was begun")

    async with database.begin() as connection:
        with pytest.raises(IdempotencyKeyReused, match=str(KEY_CHARS_MAX)):
            await remember_idempotent(connection, "a/a", "k" * (KEY_CHARS_MAX + 1), "d", work, 1)
