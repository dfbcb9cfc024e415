"""What a command prints, and how it ends.

Rules of this module:

- `-o json` and `-o yaml` print one envelope, {schema_version, status,
  exit_code, data, error}; `-o table` prints for people.
- Results go to stdout, errors and progress to stderr; NO_COLOR and pipes switch colour off (rich does).
- Exit codes: 0 done, 1 failed, 2 usage, authorisation or connection, 3 a wait ran out of time.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cloud.admin.cli.errors import ServerAway, ServerFailed, UsageWrong, WaitTimeout
from device_agent.errors import ShoalError

SCHEMA_VERSION = 1
EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_TIMEOUT = 0, 1, 2, 3
_ACCESS_STATUSES = {401, 403}


class Format(StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its heading, and the text of a row."""

    heading: str
    text: Callable[[Mapping[str, object]], str]


def field(heading: str, name: str) -> Column:
    """A column that shows a field as it is."""
    return Column(heading, lambda row: "" if row.get(name) is None else str(row[name]))


def time_field(heading: str, name: str) -> Column:
    """A column that shows milliseconds since 1970 as UTC time."""
    return Column(heading, lambda row: utc(row.get(name)))


def utc(at_ms: object) -> str:
    """Milliseconds since 1970 as text; "" for None."""
    if not isinstance(at_ms, int):
        return ""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def percent(ppm: object) -> str:
    """Millionths as per cent."""
    return f"{ppm / 10_000:g} %" if isinstance(ppm, int) else ""


def show_rows(
    rows: Iterable[Mapping[str, object]], columns: Sequence[Column], form: Format
) -> None:
    """Prints a list."""
    found = list(rows)
    if form is not Format.TABLE:
        _envelope(form, {"items": found})
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.heading, overflow="fold")
    for row in found:
        table.add_row(*(escape(column.text(row)) for column in columns))
    Console().print(table)


def show(data: Mapping[str, object], form: Format, text: str) -> None:
    """Prints one object; `text` is its form for people."""
    if form is Format.TABLE:
        Console(soft_wrap=True).print(text, markup=False, highlight=False)
    else:
        _envelope(form, data)


def show_line(data: Mapping[str, object], form: Format, text: str) -> None:
    """Prints one step of a watch: a JSON line, or a line for people."""
    line = text if form is Format.TABLE else json.dumps(data, sort_keys=True)
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _envelope(
    form: Format, data: object, error: Mapping[str, str] | None = None, code: int = 0
) -> None:
    whole = {
        "schema_version": SCHEMA_VERSION,
        "status": "error" if error else "ok",
        "exit_code": code,
        "data": data,
        "error": error,
    }
    if form is Format.YAML:
        sys.stdout.write(yaml.safe_dump(whole, sort_keys=False))
    else:
        sys.stdout.write(json.dumps(whole, indent=2) + "\n")


def exit_code(error: ShoalError) -> int:
    """The exit code that an error ends with."""
    if isinstance(error, WaitTimeout):
        return EXIT_TIMEOUT
    if isinstance(error, UsageWrong | ServerAway):
        return EXIT_USAGE
    if isinstance(error, ServerFailed) and error.http_status in _ACCESS_STATUSES:
        return EXIT_USAGE
    return EXIT_FAILED


def show_error(error: ShoalError, form: Format) -> int:
    """Prints an error and gives the exit code."""
    code = exit_code(error)
    name = error.server_code if isinstance(error, ServerFailed) else error.code
    hint = error.hint if isinstance(error, ServerFailed) else ""
    if form is not Format.TABLE:
        _envelope(form, None, {"code": name, "message": str(error), "hint": hint}, code)
    console = Console(stderr=True, soft_wrap=True)
    console.print(f"[bold red]{escape(name)}[/] {escape(str(error))}", highlight=False)
    if hint:
        console.print(f"  {escape(hint)}", highlight=False)
    return code
