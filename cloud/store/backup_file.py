"""The backup file: every table as JSON lines, gzipped, checked as a whole before a line of it is used.

Rules of this module:

- One form for both databases, so that a backup of SQLite restores into PostgreSQL and the other way round.
- A file has its name only when it is complete and on disk; it can be read by its owner alone (it holds token hashes).
- Unknown formats are refused. Lines are bounded, so that a damaged file cannot fill the memory.

Lines: {"shoal_backup", "schema", "made_at_ms", "sequences"}, then for each table {"table", "columns"} and a list a row,
and {"rows", "sha256"} of everything before. Bytes are base64.
"""

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import msgspec

from cloud.store.errors import BackupDamaged
from device_agent.failpoint import failpoint

FORMAT = 1
LINE_BYTES_MAX = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupHeader:
    """What a backup says of itself.

    Attributes:
        schema: Revision of the schema that the rows are of.
        made_at_ms: When.
        sequences: Table to the last row id that it gave, which may belong to no row any more.
    """

    schema: str
    made_at_ms: int
    sequences: Mapping[str, int]

    def to_line(self) -> dict[str, Any]:
        """The first line."""
        return {
            "shoal_backup": FORMAT,
            "schema": self.schema,
            "made_at_ms": self.made_at_ms,
            "sequences": dict(self.sequences),
        }

    @classmethod
    def from_line(cls, line: object) -> Self:
        """Reads the first line. Raises BackupDamaged."""
        if not isinstance(line, dict) or line.get("shoal_backup") != FORMAT:
            raise BackupDamaged(
                f"this is no backup of format {FORMAT}; name a file that `backup` wrote, "
                "or restore it with the version of Shoal that did"
            )
        try:
            return msgspec.convert(
                {name: line.get(name) for name in ("schema", "made_at_ms", "sequences")}, cls
            )
        except msgspec.ValidationError as error:
            raise BackupDamaged(
                f"the backup's first line is damaged: {error}; use another"
            ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """One row of a backup: its table, and column to value with bytes still as base64."""

    table: str
    values: Mapping[str, Any]


@dataclass(slots=True)
class BackupWriter:
    """Writes lines and what proves them whole."""

    file: gzip.GzipFile
    rows: int = 0
    _hash: Any = field(default_factory=hashlib.sha256)

    def header(self, header: BackupHeader) -> None:
        """The first line."""
        self._line(header.to_line())

    def table(self, name: str, columns: list[str]) -> None:
        """Rows of this table follow."""
        self._line({"table": name, "columns": columns})

    def row(self, values: list[Any]) -> None:
        """A row of the table named last."""
        self._line(values)
        self.rows += 1

    def end(self) -> None:
        """The last line."""
        self._line({"rows": self.rows, "sha256": self._hash.hexdigest()})

    def _line(self, value: object) -> None:
        line = json.dumps(value, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        assert len(line) <= LINE_BYTES_MAX, "rows are bounded where they are written"
        self._hash.update(line)
        self.file.write(line)


@contextmanager
def written_backup(path: Path) -> Iterator[BackupWriter]:
    """A writer whose file gets its name when the block ends well, and is gone when it does not."""
    partial = path.with_name(f"{path.name}.partial")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(handle, "wb") as plain:
            with gzip.GzipFile(fileobj=plain, mode="wb", filename="", mtime=0) as packed:
                writer = BackupWriter(packed)
                yield writer
                writer.end()
            plain.flush()
            os.fsync(plain.fileno())
        failpoint("store.backup.before_name")
        partial.replace(path)
        _sync_folder(path.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def read_header(path: Path) -> BackupHeader:
    """Checks the whole file, and gives its header.

    Raises:
        BackupDamaged: it is cut, changed, too long in a line, or of another format.
    """
    hashed, rows, last = hashlib.sha256(), 0, b""
    header: BackupHeader | None = None
    for line in _lines(path):
        if header is None:
            header = BackupHeader.from_line(_parsed(line))
        hashed.update(last)
        rows += last.startswith(b"[")
        last = line
    end = _parsed(last) if last else None
    if header is None or end != {"rows": rows, "sha256": hashed.hexdigest()}:
        raise BackupDamaged(f"{path.name} is cut or was changed; use another backup")
    return header


def read_rows(path: Path) -> Iterator[TableRow]:
    """The rows of a file that `read_header` has checked, table by table."""
    table = ""
    columns: list[str] = []
    for line in _lines(path):
        value = _parsed(line)
        if isinstance(value, list):
            if len(value) != len(columns):
                raise BackupDamaged(f"a row of {table} has other columns; use another backup")
            yield TableRow(table=table, values=dict(zip(columns, value, strict=True)))
        elif isinstance(value, dict) and "table" in value:
            named, listed = value["table"], value.get("columns")
            if not isinstance(named, str) or not isinstance(listed, list):
                raise BackupDamaged("a table of the backup has no columns; use another backup")
            table, columns = named, listed


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path, "rb") as file:
            while line := file.readline(LINE_BYTES_MAX + 1):
                if len(line) > LINE_BYTES_MAX:
                    raise BackupDamaged(f"{path.name} has a line that is too long; use another")
                yield line
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BackupDamaged(f"{path.name} is cut or damaged ({error}); use another") from None
    except OSError as error:
        raise BackupDamaged(f"{path.name} cannot be read: {error.strerror}") from None


def _parsed(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise BackupDamaged("a line of the backup is not JSON; use another backup") from None


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
