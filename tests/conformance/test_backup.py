"""A backup holds everything, restores into either database, and never writes over anything."""

import gzip
import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from cloud.bus.embedded import EmbeddedBus
from cloud.bus.settings import BusSettings
from cloud.store.audit import append_audit, verify_chain
from cloud.store.backup import backup_database, restore_database
from cloud.store.backup_file import read_rows
from cloud.store.database import Database
from cloud.store.epochs import bump_epoch, changes_since, current_epoch
from cloud.store.errors import BackupDamaged, RestoreRefused, SchemaMismatch
from cloud.store.namespaces import create_namespace
from cloud.store.tables import devices, metadata
from tests.helpers.manual_clock import ManualClock

NS = "demo/digits-app"
TOPIC = f"{NS}/digits/answer"
DEVICE = {
    "namespace": NS,
    "device_id": "ab" * 16,
    "public_key": bytes(range(256)),
    "certificate_serial": "1",
    "certificate_expires_at_ms": 2**60,
    "enrolled_at_ms": 1,
    "attributes": {"ring": "bêta", "null": None},
    "facts": {},
    "installed": {"digits": {"version": 1}},
    "epoch": 0,
}


@pytest.fixture(params=["same kind", "other kind"])
def target_url(request: pytest.FixtureRequest, any_url: str) -> str:
    """An empty database to restore into; the source runs over both kinds, so all four ways are tried."""
    same = request.param == "same kind"
    is_sqlite = any_url.startswith("sqlite")
    if is_sqlite == same:
        folder = request.getfixturevalue("tmp_path_factory").mktemp("target")
        return f"sqlite:///{folder / 'restored.db'}"
    return str(request.getfixturevalue("empty_postgres_url"))


async def fill(url: str, clock: ManualClock) -> None:
    database = await Database.open(url)
    bus = EmbeddedBus(database, clock, BusSettings(acknowledged_keep_ms=-1))
    try:
        async with database.begin() as connection:
            await create_namespace(connection, NS, clock.wall_ms(), "test")
            await connection.execute(sa.insert(devices).values(DEVICE))
            await append_audit(connection, NS, "test", "device.enrol", "d", {"x": [1.5, "é"]}, 7)
            await bump_epoch(connection, NS, "release", "digits", clock.wall_ms())
        await bus.publish(TOPIC, [(f"k{n}", bytes([n])) for n in range(5)])
        await bus.ack(*await bus.take(TOPIC, "g", "c", limit=5, wait_ms=0))
        # Every record is gone, and the group remembers that it has read up to 5.
        assert await bus.trim() == 5
    finally:
        await database.close()


async def content(url: str) -> dict[str, list[tuple[object, ...]]]:
    database = await Database.open(url)
    try:
        async with database.read() as connection:
            return {
                table.name: [
                    tuple(row)
                    for row in await connection.execute(
                        sa.select(table).order_by(*table.primary_key.columns)
                    )
                ]
                for table in metadata.sorted_tables
            }
    finally:
        await database.close()


async def test_everything_comes_back_in_either_database(
    any_url: str, target_url: str, tmp_path: Path
) -> None:
    clock, file = ManualClock(), tmp_path / "backup.gz"
    await fill(any_url, clock)
    before = await content(any_url)
    rows = await backup_database(any_url, file, clock)
    assert rows == sum(map(len, before.values())) == len(list(read_rows(file)))
    assert await restore_database(file, target_url, clock) == rows
    after = await content(target_url)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"namespaces", "changes", "audit_log"}
    assert after["audit_log"][: len(before["audit_log"])] == before["audit_log"]


async def test_devices_notice_a_restore_and_row_ids_go_on(
    any_url: str, target_url: str, tmp_path: Path
) -> None:
    clock, file = ManualClock(), tmp_path / "backup.gz"
    await fill(any_url, clock)
    await backup_database(any_url, file, clock)
    clock.advance_ms(50)
    database = await Database.open(any_url)
    async with database.begin() as connection:
        seen = [await bump_epoch(connection, NS, "kill", "", clock.wall_ms()) for _ in range(40)]
    await database.close()
    clock.advance_ms(60_000)
    await restore_database(file, target_url, clock)
    restored = await Database.open(target_url)
    bus = EmbeddedBus(restored, clock)
    try:
        async with restored.read() as connection:
            epoch = await current_epoch(connection, NS)
            assert epoch > max(seen)
            assert [change.epoch for change in await changes_since(connection, NS, 0, 9)] == [epoch]
            assert (await verify_chain(connection, NS)).rows == 2
            assert (await verify_chain(connection, "*")).rows == 1
        await bus.publish(TOPIC, [("new", b"")])
        taken = await bus.take(TOPIC, "g", "c", limit=5, wait_ms=0)
        assert [record.key for record in taken] == ["new"], (
            "its id is above what the group has read"
        )
    finally:
        await restored.close()


async def test_a_database_with_rows_is_not_written_over(any_url: str, tmp_path: Path) -> None:
    clock, file = ManualClock(), tmp_path / "backup.gz"
    await fill(any_url, clock)
    await backup_database(any_url, file, clock)
    before = await content(any_url)
    with pytest.raises(RestoreRefused, match="restore into a new database"):
        await restore_database(file, any_url, clock)
    assert await content(any_url) == before


async def test_an_empty_migrated_database_can_be_restored_into(
    any_url: str, sqlite_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "backup.gz"
    empty = sqlite_url.replace("shoal.db", "other.db")
    await restore_database_of_nothing(any_url, file)
    await restore_database(file, empty, ManualClock())
    assert len((await content(empty))["audit_log"]) == 1


async def restore_database_of_nothing(url: str, file: Path) -> None:
    assert await backup_database(url, file, ManualClock()) == 0
    assert await restore_database(file, url, ManualClock()) == 0


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flip(data: bytes) -> bytes:
    plain = bytearray(gzip.decompress(data))
    plain[plain.index(b"digits-app")] ^= 1
    return gzip.compress(bytes(plain))


def _drop_a_row(data: bytes) -> bytes:
    lines = gzip.decompress(data).splitlines(keepends=True)
    lines.remove(next(line for line in lines if line.startswith(b"[")))
    return gzip.compress(b"".join(lines))


def _without_end(data: bytes) -> bytes:
    return gzip.compress(b"".join(gzip.decompress(data).splitlines(keepends=True)[:-1]))


def _other_format(data: bytes) -> bytes:
    return gzip.compress(gzip.decompress(data).replace(b'"shoal_backup":1', b'"shoal_backup":2'))


@pytest.mark.parametrize(
    "damage",
    [_cut, _flip, _drop_a_row, _without_end, _other_format, lambda _: b"", lambda _: b"text"],
    ids=["cut", "flip", "drop", "no end", "other format", "empty", "text"],
)
async def test_a_damaged_backup_is_refused_before_anything_is_written(
    migrated_sqlite_url: str, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    file, target = tmp_path / "backup.gz", tmp_path / "target.db"
    await fill(migrated_sqlite_url, ManualClock())
    await backup_database(migrated_sqlite_url, file)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(BackupDamaged):
        await restore_database(file, f"sqlite:///{target}")
    assert not target.exists()


async def test_a_backup_of_a_newer_schema_is_told(tmp_path: Path, migrated_sqlite_url: str) -> None:
    file, target = tmp_path / "backup.gz", tmp_path / "target.db"
    await backup_database(migrated_sqlite_url, file)
    with gzip.open(file) as packed:
        lines = [json.loads(line) for line in packed]
    lines[0]["schema"] = "9999"
    rewrite(file, lines)
    with pytest.raises(SchemaMismatch, match="restore it with the newer version"):
        await restore_database(file, f"sqlite:///{target}")
    assert not target.exists()


def rewrite(file: Path, lines: list[dict[str, object]]) -> None:
    body = b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines[:-1])
    end = {"rows": 0, "sha256": hashlib.sha256(body).hexdigest()}
    file.write_bytes(gzip.compress(body + json.dumps(end, separators=(",", ":")).encode() + b"\n"))


async def test_a_backup_is_private_and_nothing_is_left_of_one_that_failed(
    migrated_sqlite_url: str, sqlite_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "backups" / "backup.gz"
    with pytest.raises(FileNotFoundError):
        await backup_database(migrated_sqlite_url, file)
    file.parent.mkdir()
    await backup_database(migrated_sqlite_url, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.unlink()
    with pytest.raises(SchemaMismatch):
        await backup_database(sqlite_url.replace("shoal.db", "empty.db"), file)
    assert os.listdir(file.parent) == []
