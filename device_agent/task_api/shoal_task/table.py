"""A task's own tables: rows added at the end, the oldest dropped, kept on the device as the values of `kv` are.

    from shoal_task import table

    table.append("dwell", {"page": event.page_id, "ms": 1200})
    last = table.rows("dwell", last=10)

Rules of this module:

- A row is a dict of names to numbers, text, booleans or None. Rows count when the run ends well; the run sees its own.
- A table keeps its newest 1,000 rows; a row is at most 4 KiB of JSON.
"""

import json

from shoal_task.border import ask

type Value = str | int | float | bool | None


def append(name: str, row: dict[str, Value]) -> None:
    """Adds a row.

    Raises:
        ValueError: the table's name or the row is too long.
        TypeError: the row holds what is no JSON.
    """
    ask("table.append", f"{name}\0{json.dumps(row, separators=(',', ':'))}".encode())


def rows(name: str, *, last: int = 1000) -> list[dict[str, Value]]:
    """The newest `last` rows, oldest first."""
    found = ask("table.rows", f"{name}\0{last}".encode()).decode()
    return [json.loads(line) for line in found.split("\0")] if found else []


def clear(name: str) -> None:
    """Drops all rows."""
    ask("table.clear", name.encode())
