"""Answers what a run asks (kv, table, clock), on whatever keeps a task's state; never loaded inside a VM.

Rules of this module:

- Pure but for the `Kept` that it reads: changes are collected, seen by the run itself, and applied by whoever ends the
  run well.
- Whatever is asked is checked here, once for a device and for an author's unit tests; a refusal is a ValueError whose
  text the task gets.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

KEY_BYTES_MAX = 256
VALUE_BYTES_MAX = 64 * 1024
VALUES_BYTES_MAX = 1024 * 1024
ROW_BYTES_MAX = 4 * 1024
ROWS_MAX = 1_000
TABLES_MAX = 16


class Kept(Protocol):
    """The state of one task, as the last runs left it."""

    def value(self, key: str) -> bytes | None:
        """The value of a key."""
        ...

    def sizes(self) -> dict[str, int]:
        """Every key, with the bytes of its value."""
        ...

    def rows(self, table: str) -> list[str]:
        """A table's rows, oldest first."""
        ...

    def tables(self) -> set[str]:
        """Tables that have rows."""
        ...


@dataclass(slots=True, kw_only=True)
class Changes:
    """What a run changes.

    Attributes:
        values: Key to its new value; None deletes it.
        cleared: Tables whose rows of before go.
        rows: Table to the rows that are added, after that.
    """

    values: dict[str, bytes | None] = field(default_factory=dict)
    cleared: set[str] = field(default_factory=set)
    rows: dict[str, list[str]] = field(default_factory=dict)


@dataclass(slots=True)
class MemoryKept:
    """State in memory, for unit tests and dry runs."""

    by_key: dict[str, bytes] = field(default_factory=dict)
    by_table: dict[str, list[str]] = field(default_factory=dict)

    def value(self, key: str) -> bytes | None:
        """The value of a key."""
        return self.by_key.get(key)

    def sizes(self) -> dict[str, int]:
        """Every key, with the bytes of its value."""
        return {key: len(value) for key, value in self.by_key.items()}

    def rows(self, table: str) -> list[str]:
        """A table's rows, oldest first."""
        return list(self.by_table.get(table, []))

    def tables(self) -> set[str]:
        """Tables that have rows."""
        return set(self.by_table)

    def apply(self, changes: Changes) -> None:
        """Keeps what a run that ended well has changed."""
        for key, value in changes.values.items():
            if value is None:
                self.by_key.pop(key, None)
            else:
                self.by_key[key] = value
        for table in changes.cleared:
            self.by_table.pop(table, None)
        for table, rows in changes.rows.items():
            self.by_table[table] = [*self.by_table.get(table, []), *rows][-ROWS_MAX:]


class RunState:
    """What one run sees and changes; `answer` is its host."""

    def __init__(self, kept: Kept, wall_ms: Callable[[], int]) -> None:
        self.changes = Changes()
        self._kept = kept
        self._wall_ms = wall_ms
        self._sizes: dict[str, int] | None = None

    def answer(self, what: str, data: bytes) -> bytes:
        """Answers one question.

        Raises:
            ValueError: it is refused; the text says why.
        """
        match what:
            case "clock.wall_ms":
                return str(self._wall_ms()).encode()
            case "kv.get":
                value = self._value(_key(data))
                return b"" if value is None else b"1" + value
            case "kv.put":
                size = int.from_bytes(data[:2], "little")
                self._put(_key(data[2 : 2 + size]), data[2 + size :])
            case "kv.delete":
                self._now_sizes().pop(_key(data), None)
                self.changes.values[_key(data)] = None
            case "kv.keys":
                prefix = data.decode()
                keys = sorted(key for key in self._now_sizes() if key.startswith(prefix))
                return "\0".join(keys).encode()
            case "table.append":
                self._append(*_name_and_rest(data))
            case "table.rows":
                table, last = _name_and_rest(data)
                rows = self._rows(table)
                return "\0".join(rows[-max(int(last), 0) :] if int(last) > 0 else []).encode()
            case "table.clear":
                table, _ = _name_and_rest(data + b"\0")
                self.changes.cleared.add(table)
                self.changes.rows.pop(table, None)
            case _:
                raise ValueError(f"this agent does not know '{what}'; a newer one might")
        return b""

    def _value(self, key: str) -> bytes | None:
        if key in self.changes.values:
            return self.changes.values[key]
        return self._kept.value(key)

    def _now_sizes(self) -> dict[str, int]:
        if self._sizes is None:
            self._sizes = dict(self._kept.sizes())
        return self._sizes

    def _put(self, key: str, value: bytes) -> None:
        if len(value) > VALUE_BYTES_MAX:
            raise ValueError(f"a value of {len(value)} bytes; it may have {VALUE_BYTES_MAX}")
        sizes = {**self._now_sizes(), key: len(value)}
        total = sum(sizes.values()) + sum(len(one.encode()) for one in sizes)
        if total > VALUES_BYTES_MAX:
            raise ValueError(
                f"the task would keep {total} bytes; it may keep {VALUES_BYTES_MAX}: delete keys first"
            )
        self._sizes = sizes
        self.changes.values[key] = value

    def _append(self, table: str, row: str) -> None:
        if len(row.encode()) > ROW_BYTES_MAX:
            raise ValueError(f"a row of {len(row.encode())} bytes; it may have {ROW_BYTES_MAX}")
        known = (self._kept.tables() - self.changes.cleared) | self.changes.rows.keys()
        if table not in known and len(known) >= TABLES_MAX:
            raise ValueError(f"the task has {len(known)} tables already, of {TABLES_MAX}")
        rows = self.changes.rows.setdefault(table, [])
        rows.append(row)
        del rows[:-ROWS_MAX]

    def _rows(self, table: str) -> list[str]:
        before = [] if table in self.changes.cleared else self._kept.rows(table)
        return [*before, *self.changes.rows.get(table, [])][-ROWS_MAX:]


def _key(data: bytes) -> str:
    if not 0 < len(data) <= KEY_BYTES_MAX or b"\0" in data:
        raise ValueError(
            f"a key has 1 to {KEY_BYTES_MAX} bytes and no zero; this one has {len(data)}"
        )
    return data.decode()


def _name_and_rest(data: bytes) -> tuple[str, str]:
    name, _, rest = data.partition(b"\0")
    return _key(name), rest.decode()
