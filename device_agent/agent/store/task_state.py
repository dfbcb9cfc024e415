"""What tasks keep on this device: values by key, and the rows of tables.

Rules of this module:

- State belongs to a task, not to a version: it outlives a switch, and goes when the task is removed.
- Changes of a run are applied in the transaction that consumes its event.
- Limits were checked when the run asked; the newest rows of a table are kept.
"""

import sqlite3

from shoal_task.run_state import ROWS_MAX, Changes


class TaskState:
    """One task's state; a shoal_task.run_state.Kept."""

    def __init__(self, connection: sqlite3.Connection, task: str) -> None:
        self._connection = connection
        self._task = task

    def value(self, key: str) -> bytes | None:
        """The value of a key."""
        row = self._connection.execute(
            "SELECT value FROM task_values WHERE task=? AND key=?", [self._task, key]
        ).fetchone()
        return None if row is None else bytes(row[0])

    def sizes(self) -> dict[str, int]:
        """Every key, with the bytes of its value."""
        return dict(
            self._connection.execute(
                "SELECT key, length(value) FROM task_values WHERE task=?", [self._task]
            )
        )

    def rows(self, table: str) -> list[str]:
        """A table's rows, oldest first."""
        found = self._connection.execute(
            "SELECT row FROM task_rows WHERE task=? AND name=? ORDER BY number", [self._task, table]
        )
        return [row for (row,) in found]

    def tables(self) -> set[str]:
        """Tables that have rows."""
        found = self._connection.execute(
            "SELECT DISTINCT name FROM task_rows WHERE task=?", [self._task]
        )
        return {name for (name,) in found}

    def apply(self, changes: Changes) -> None:
        """Keeps what a run that ended well has changed; inside a transaction."""
        for key, value in changes.values.items():
            if value is None:
                self._connection.execute(
                    "DELETE FROM task_values WHERE task=? AND key=?", [self._task, key]
                )
            else:
                self._connection.execute(
                    "INSERT OR REPLACE INTO task_values (task, key, value) VALUES (?,?,?)",
                    [self._task, key, value],
                )
        for table in changes.cleared:
            self._connection.execute(
                "DELETE FROM task_rows WHERE task=? AND name=?", [self._task, table]
            )
        for table, rows in changes.rows.items():
            self._append(table, rows)

    def _append(self, table: str, rows: list[str]) -> None:
        self._connection.executemany(
            "INSERT INTO task_rows (task, name, row) VALUES (?,?,?)",
            [(self._task, table, row) for row in rows],
        )
        self._connection.execute(
            "DELETE FROM task_rows WHERE task=?1 AND name=?2 AND number <= coalesce((SELECT number FROM task_rows"
            " WHERE task=?1 AND name=?2 ORDER BY number DESC LIMIT 1 OFFSET ?3), 0)",
            [self._task, table, ROWS_MAX],
        )
