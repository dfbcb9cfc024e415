"""Reads the tables of a manifest, collecting every problem instead of stopping at the first.

Rules of this module:

- A reader method gives a harmless value back when it notes a problem, so that reading goes on; `finish` raises.
- Keys that no method asked for are unknown, and are told with the nearest known one.
"""

import difflib
import keyword
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from device_agent.tasks.errors import ManifestInvalid, NameInvalid, Problem
from device_agent.tasks.names import check_task_name, check_topic, is_text
from device_agent.tasks.paths import path_problem

PYTHON_TAG = re.compile(r"cpython-3[0-9]{2}")
COMPARISONS = re.compile(
    r"(==|!=|>=|<=|>|<)[0-9]{1,6}(\.[0-9]{1,6}){0,3}"
    r"( *, *(==|!=|>=|<=|>|<)[0-9]{1,6}(\.[0-9]{1,6}){0,3}){0,7}"
)
CPU_FEATURE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,31}")
CPU_FEATURES_MAX = 32
NUMBER_MAX = 2**63 - 1
_HEADER = re.compile(r"\s*(\[\[?)\s*([A-Za-z0-9_-]+)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"\s*([A-Za-z0-9_-]+)\s*=")


class Reader:
    """A whole document; hands out its tables."""

    def __init__(self, document: dict[str, Any], source: str) -> None:
        self._document = document
        self._lines = _find_lines(source)
        self._problems: list[Problem] = []
        self._tables: list[Table] = []
        self._known: list[str] = []

    def note(self, field: str, message: str) -> None:
        """Notes a problem."""
        line = self._lines.get(field)
        self._problems.append(Problem(field=field, line=line, message=message))

    def table(self, name: str, *, required: bool = False) -> "Table":
        """A table by name; an empty one when it is absent or not a table."""
        self._known.append(name)
        value = self._document.get(name)
        if value is None and required:
            self.note(name, f"is missing; add a [{name}] table")
        elif value is not None and not isinstance(value, dict):
            self.note(name, f"must be a table; write it as [{name}]")
        table = Table(self, name, value if isinstance(value, dict) else {}, absent=value is None)
        self._tables.append(table)
        return table

    def rows(self, name: str, *, at_most: int, at_least: int = 0) -> "list[Table]":
        """The tables of an array of tables."""
        self._known.append(name)
        value = self._document.get(name, [])
        if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
            self.note(name, f"must be tables; write each as [[{name}]]")
            return []
        if not at_least <= len(value) <= at_most:
            self.note(name, f"has {len(value)} entries; it must have {at_least} to {at_most}")
        rows = [Table(self, f"{name}[{i}]", row) for i, row in enumerate(value[:at_most])]
        self._tables += rows
        return rows

    def unique(self, rows: "Sequence[Table]", key: str, values: Sequence[object]) -> None:
        """Notes every row whose value an earlier row has already."""
        seen: set[object] = set()
        for row, value in zip(rows, values, strict=True):
            if value in seen and value not in {"", 0}:
                self.note(f"{row.name}.{key}", f"{value} is there twice; remove one")
            seen.add(value)

    def finish(self) -> None:
        """Raises ManifestInvalid when anything was wrong."""
        self._note_unknown("", self._document, self._known)
        for table in self._tables:
            self._note_unknown(f"{table.name}.", table.values, table.known)
        if self._problems:
            order = sorted(self._problems, key=lambda p: (p.line is None, p.line or 0))
            raise ManifestInvalid(tuple(order))

    def _note_unknown(self, prefix: str, values: dict[str, Any], known: list[str]) -> None:
        for key in values.keys() - set(known):
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            self.note(f"{prefix}{key}", f"is not known; {hint}")


class Table:
    """One table; each method reads one key by one rule."""

    def __init__(
        self, reader: Reader, name: str, values: dict[str, Any], *, absent: bool = False
    ) -> None:
        self.name = name
        self.values = values
        self.known: list[str] = []
        self._reader = reader
        # The whole table is missing, which is told once already: its keys are not.
        self._absent = absent

    def number(self, key: str, low: int, high: int, *, default: int | None = None) -> int:
        """A whole number within bounds."""
        value = self._take(key, default)
        if value is None:
            return low
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self._note(key, f"is {_shown(value)}; give a whole number from {low} to {high}")
            return low
        return value

    def flag(self, key: str) -> bool:
        """True or false, optional."""
        value = self._take(key, False)
        if not isinstance(value, bool):
            self._note(key, f"is {_shown(value)}; write true or false")
            return False
        return value

    def settings(self, at_most: int, chars_max: int) -> dict[str, str | int | float | bool]:
        """Every key that is there: names of the author's own, to a number, text, or true or false."""
        kept: dict[str, str | int | float | bool] = {}
        if len(self.values) > at_most:
            self._reader.note(self.name, f"has {len(self.values)} entries; at most {at_most}")
        for key in sorted(self.values):
            value = self._take(key, None)
            whole = isinstance(value, int) and abs(value) <= NUMBER_MAX
            good = whole or (isinstance(value, float) and math.isfinite(value))
            if not key.isidentifier():
                self._note(key, "is no name; use letters, digits and _")
            elif not good and not (
                isinstance(value, str) and len(value) <= chars_max and is_text(value)
            ):
                self._note(key, f"must be a number, true, false, or text of at most {chars_max}")
            else:
                kept[key] = value
        return kept

    def line(self, key: str, *, at_most: int) -> str:
        """A line of text, optional."""
        value = self._take(key, "")
        if not isinstance(value, str) or len(value) > at_most or not value.isprintable():
            self._note(key, f"must be one line of at most {at_most} characters")
            return ""
        return value

    def task_name(self, key: str) -> str:
        """A task name."""
        return self._checked(key, check_task_name)

    def entry(self, key: str) -> str:
        """ "module:function", dotted modules allowed."""
        value = self._take(key, None)
        if value is None:
            return ""
        parts = value.split(":") if isinstance(value, str) else []
        names = [*parts[0].split("."), parts[1]] if len(parts) == 2 else [""]
        if not all(name.isidentifier() and not keyword.iskeyword(name) for name in names):
            self._note(key, f'is {_shown(value)}; write "module:function", e.g. "main:on_event"')
            return ""
        return str(value)

    def topic_of(self, key: str, emit: Sequence[str]) -> str:
        """A topic that the task may emit to."""
        topic = self._checked(key, check_topic)
        if topic and topic not in emit:
            self._note(key, f"{topic} is not in permissions.emit; add it there")
        return topic

    def path(self, key: str) -> str:
        """A path inside the bundle."""
        value = self._take(key, None)
        if value is None:
            return ""
        problem = path_problem(value) if isinstance(value, str) else "must be text"
        if problem is not None:
            self._note(key, f"{_shown(value)} {problem}")
            return ""
        return str(value)

    def choice(self, key: str, choices: Sequence[str], *, default: str) -> str:
        """One of a few words."""
        value = self._take(key, default)
        if value not in choices:
            self._note(key, f"is {_shown(value)}; choose {' or '.join(choices)}")
            return default
        return str(value)

    def comparisons(self, key: str) -> str:
        """Comparisons with dotted numbers, e.g. ">=0.1,<2"."""
        return self._matching(key, COMPARISONS, 'compare dotted numbers, e.g. ">=0.1,<2"')

    def python(self, key: str) -> str:
        """A bytecode tag without its magic number."""
        return self._matching(key, PYTHON_TAG, 'write the tag, e.g. "cpython-313"')

    def names(self, key: str, *, at_most: int) -> list[str]:
        """A list of topics, each once."""
        return self._list(key, at_most, lambda item: check_topic(item) == item)

    def features(self, key: str) -> list[str]:
        """A list of CPU features, each once."""
        return self._list(key, CPU_FEATURES_MAX, lambda s: CPU_FEATURE.fullmatch(s) is not None)

    def _list(self, key: str, at_most: int, holds: Callable[[str], bool]) -> list[str]:
        value = self._take(key, [])
        if not isinstance(value, list) or len(value) > at_most:
            self._note(key, f"must be a list of at most {at_most} names")
            return []
        kept: list[str] = []
        for item in value:
            if not isinstance(item, str) or not _holds(holds, item):
                self._note(key, f"has {_shown(item)}; use lower-case letters, digits and -")
            elif item in kept:
                self._note(key, f"has {item} twice; remove one")
            else:
                kept.append(item)
        return kept

    def _matching(self, key: str, pattern: re.Pattern[str], how: str) -> str:
        value = self._take(key, "")
        if value != "" and (not isinstance(value, str) or not pattern.fullmatch(value)):
            self._note(key, f"is {_shown(value)}; {how}")
            return ""
        return str(value).replace(" ", "")

    def _checked(self, key: str, check: Callable[[str], str]) -> str:
        value = self._take(key, None)
        if value is None:
            return ""
        try:
            return check(value if isinstance(value, str) else repr(value))
        except NameInvalid as error:
            self._note(key, str(error))
            return ""

    def _take(self, key: str, default: Any) -> Any:  # noqa: ANN401  a TOML value has any type
        self.known.append(key)
        if key not in self.values and default is None and not self._absent:
            self._note(key, "is missing; add it")
        return self.values.get(key, default)

    def _note(self, key: str, message: str) -> None:
        self._reader.note(f"{self.name}.{key}", message)


def _holds(holds: Callable[[str], bool], item: str) -> bool:
    try:
        return holds(item)
    except NameInvalid:
        return False


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except (
        ValueError
    ):  # Python writes no number of thousands of digits; TOML's hexadecimal reads one
        return "a number of too many digits"
    return text if len(text) <= 60 else text[:57] + "..."


def _find_lines(source: str) -> dict[str, int]:
    """Line of each table and key, for messages only: odd TOML (dotted keys, text blocks) goes without."""
    lines: dict[str, int] = {}
    rows: dict[str, int] = {}
    table = ""
    for number, line in enumerate(source.split("\n"), start=1):  # TOML's lines end nowhere else
        if header := _HEADER.match(line):
            table = header[2]
            if header[1] == "[[":
                rows[table] = rows.get(table, -1) + 1
                lines.setdefault(table, number)
                table = f"{table}[{rows[table]}]"
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            lines.setdefault(f"{table}.{key[1]}" if table else key[1], number)
    return lines
