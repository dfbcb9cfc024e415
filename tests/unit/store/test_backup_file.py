"""The backup's own form: what is written comes back, and what was changed in any way is refused by name."""

import gzip
import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.store.backup import restore_database
from cloud.store.backup_file import (
    BackupHeader,
    TableRow,
    read_header,
    read_rows,
    written_backup,
)
from cloud.store.errors import BackupDamaged, SchemaMismatch, StoreError
from cloud.store.schema import NEWEST_REVISION

cells = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=20)
tables = st.dictionaries(
    st.text(min_size=1, max_size=8),
    st.lists(st.tuples(cells, cells), max_size=4),
    max_size=3,
)
FIXTURE_IS_A_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(path: Path, content: dict[str, list[tuple[Any, Any]]]) -> BackupHeader:
    header = BackupHeader(schema="0001", made_at_ms=7, sequences={"audit_log": 3})
    with written_backup(path) as writer:
        writer.header(header)
        for name, rows in content.items():
            writer.table(name, ["one", "two"])
            for row in rows:
                writer.row(list(row))
    return header


@pytest.mark.slow
@FIXTURE_IS_A_FOLDER
@given(tables)
def test_what_was_written_comes_back(
    tmp_path: Path, content: dict[str, list[tuple[Any, Any]]]
) -> None:
    path = tmp_path / "backup"
    header = write(path, content)
    assert read_header(path) == header
    assert list(read_rows(path)) == [
        TableRow(table=name, values={"one": one, "two": two})
        for name, rows in content.items()
        for one, two in rows
    ]
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["backup"]


@pytest.mark.slow
@FIXTURE_IS_A_FOLDER
@given(st.data())
def test_what_was_changed_is_refused_by_name(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "backup"
    write(path, {"devices": [("a", 1), ("b", 2)]})
    true = [read_header(path), *read_rows(path)]
    plain = gzip.decompress(path.read_bytes())
    at = data.draw(st.integers(0, len(plain) - 1))
    put = data.draw(st.binary(max_size=4))
    path.write_bytes(gzip.compress(plain[:at] + put + plain[at + data.draw(st.integers(0, 4)) :]))
    found: list[object] | None = None
    with suppress(BackupDamaged):
        found = [read_header(path), *read_rows(path)]
    # The last line proves the others; white space in itself changes nothing that is read.
    assert found in (None, true)


@pytest.mark.slow
@FIXTURE_IS_A_FOLDER
@given(st.binary(max_size=200))
def test_any_bytes_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "backup"
    for content in (data, gzip.compress(data), gzip.compress(data)[:-3]):
        path.write_bytes(content)
        with pytest.raises(BackupDamaged):
            read_header(path)


def forge(path: Path, *lines: object) -> None:
    """A file whose digest is right, whatever it says."""
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    rows = sum(isinstance(line, list) for line in lines)
    end = json.dumps({"rows": rows, "sha256": hashlib.sha256(body).hexdigest()}).encode() + b"\n"
    path.write_bytes(gzip.compress(body + end))


def head(**changes: object) -> dict[str, object]:
    return {
        "shoal_backup": 1,
        "schema": NEWEST_REVISION,
        "made_at_ms": 1,
        "sequences": {},
        **changes,
    }


FORGED: dict[str, tuple[list[object], type[StoreError]]] = {
    "no schema": ([{"shoal_backup": 1}], BackupDamaged),
    "schema of another kind": ([head(schema=5)], BackupDamaged),
    "sequences of another kind": ([head(sequences=[1])], BackupDamaged),
    "format of tomorrow": ([head(shoal_backup=2)], BackupDamaged),
    "schema of tomorrow": ([head(schema="9999")], SchemaMismatch),
    "a table that is none": ([head(), {"table": "nobody", "columns": ["a"]}, [1]], BackupDamaged),
    "a column that is none": (
        [head(), {"table": "namespaces", "columns": ["nobody"]}, [1]],
        BackupDamaged,
    ),
    "a row too short": (
        [head(), {"table": "namespaces", "columns": ["a", "b"]}, [1]],
        BackupDamaged,
    ),
    "columns that are none": ([head(), {"table": "namespaces", "columns": 5}, [1]], BackupDamaged),
    "no table": ([head(), [1]], BackupDamaged),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FORGED)
async def test_a_forged_backup_writes_nothing(name: str, tmp_path: Path) -> None:
    lines, error = FORGED[name]
    path, url = tmp_path / "backup", f"sqlite:///{tmp_path / 'new.db'}"
    forge(path, *lines)
    with pytest.raises(error):
        await restore_database(path, url)
    forge(path, head())
    await restore_database(path, url)  # still empty: a true backup goes in


def test_a_line_of_endless_nesting_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "backup"
    path.write_bytes(gzip.compress(b"[" * 100_000 + b"]" * 100_000))
    with pytest.raises(BackupDamaged, match="not JSON"):
        read_header(path)
