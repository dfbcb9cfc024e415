"""What a command prints, and how it ends.

Rules of this module:

- `-o json` and `-o yaml` print one envelope, {schema_version, status,
  exit_code, data, error}; `-o table` prints for people.
- Results go to stdout, errors, progress and "none yet" to stderr; NO_COLOR and pipes switch colour off (rich does).
- In a pipe a row of a table is a line; on a terminal where the rows do not fit, each is a block of lines.
- What devices and others said is text: it moves no cursor, changes no colour, and makes no row of its own.
- Exit codes: 0 done, 1 failed, 2 usage, authorisation or connection, 3 a wait ran out of time.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import yaml
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape

from cloud.admin.cli.errors import ServerAway, ServerFailed, UsageWrong, WaitTimeout
from device_agent.errors import ShoalError

SCHEMA_VERSION = 1
EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_TIMEOUT = 0, 1, 2, 3
_ACCESS_STATUSES = {401, 403}
# What a person wrote on the command line is wrong, whoever noticed: this machine or the cloud.
_USAGE_CODES = {"ARGUMENT_INVALID", "NAME_INVALID", "SETTINGS_INVALID", "DATABASE_URL_INVALID"}
_GAP = 2
# What a face cannot know: how a person at a command line does it.
_HINTS = {
    "UNAUTHENTICATED": "set SHOAL_TOKEN or pass --token-file; a cloud's first token lies in its home, admin.token",
    "SERVER_UNREACHABLE": "`shoal cloud serve` runs a cloud; `shoal doctor` looks closer",
}


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


def pairs_text(value: object) -> str:
    """An object as "name=value" by name; what is not text stands as JSON."""
    if not isinstance(value, Mapping):
        return ""
    shown = {
        name: part if isinstance(part, str) else json.dumps(part) for name, part in value.items()
    }
    return " ".join(f"{name}={part}" for name, part in sorted(shown.items()))


def pairs_field(heading: str, name: str) -> Column:
    """A column that shows an object as "name=value"."""
    return Column(heading, lambda row: pairs_text(row.get(name)))


def utc(at_ms: object) -> str:
    """Milliseconds since 1970 as text; "" for None."""
    if not isinstance(at_ms, int):
        return ""
    try:
        at = datetime.fromtimestamp(at_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{at_ms} ms"  # a device's clock may be where no calendar is
    return f"{at:%Y-%m-%d %H:%M:%S}"


def percent(ppm: object) -> str:
    """Millionths as per cent."""
    return f"{ppm / 10_000:g} %" if isinstance(ppm, int) else ""


def printable(text: str, kept: str = "") -> str:
    """The text with every sign that is not to be seen written out, e.g. "\\x1b", except those that are kept."""
    return "".join(
        char if char.isprintable() or char in kept else char.encode("unicode_escape").decode()
        for char in text
    )


def show_rows(
    rows: Iterable[Mapping[str, object]], columns: Sequence[Column], form: Format
) -> None:
    """Prints a list."""
    found = list(rows)
    if form is not Format.TABLE:
        _envelope(form, {"items": found})
        return
    if not found:
        print("(none)", file=sys.stderr)
    headings = [column.heading for column in columns]
    cells = [[printable(column.text(row)) for column in columns] for row in found]
    widths = [max(map(cell_len, column)) for column in zip(headings, *cells, strict=True)]
    width = sum(widths) + _GAP * (len(widths) - 1)
    console = Console()
    if console.is_terminal and width > console.width and found:
        _print_blocks(console, headings, cells)
        return
    _print_line(console, headings, widths, "bold")
    for row_cells in cells:
        _print_line(console, row_cells, widths)


def _print_line(
    console: Console, cells: Sequence[str], widths: Sequence[int], style: str | None = None
) -> None:
    padded = [
        text + " " * (width - cell_len(text)) for text, width in zip(cells, widths, strict=True)
    ]
    line = (" " * _GAP).join(padded).rstrip()
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def _print_blocks(
    console: Console, headings: Sequence[str], cells: Sequence[Sequence[str]]
) -> None:
    """Prints each row as lines of heading and text, for a terminal that is too narrow for rows."""
    widest = max(map(len, headings))
    for number, row in enumerate(cells):
        if number:
            console.print()
        for heading, text in zip(headings, row, strict=True):
            if text:
                console.print(
                    f"[bold]{heading:{widest}}[/]  {escape(text)}", highlight=False, soft_wrap=True
                )


def show(data: Mapping[str, object], form: Format, text: str) -> None:
    """Prints one object; `text` is its form for people."""
    if form is Format.TABLE:
        said = printable(text, "\n\t")
        Console(soft_wrap=True).print(said, markup=False, highlight=False)
    else:
        _envelope(form, data)


def show_line(data: Mapping[str, object], form: Format, text: str) -> None:
    """Prints one step of a watch: a line for people, a JSON line, or a YAML document."""
    lines = {
        Format.TABLE: lambda: printable(text) + "\n",
        Format.JSON: lambda: json.dumps(data, sort_keys=True) + "\n",
        Format.YAML: lambda: yaml.safe_dump(dict(data), explicit_start=True, sort_keys=False),
    }
    sys.stdout.write(lines[form]())
    sys.stdout.flush()


def note(text: str) -> None:
    """Tells a person something that is no result."""
    print(text, file=sys.stderr, flush=True)


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
    if isinstance(error, UsageWrong | ServerAway) or _code(error) in _USAGE_CODES:
        return EXIT_USAGE
    if isinstance(error, ServerFailed) and error.http_status in _ACCESS_STATUSES:
        return EXIT_USAGE
    return EXIT_FAILED


def _code(error: ShoalError) -> str:
    return error.server_code if isinstance(error, ServerFailed) else error.code


def show_error(error: ShoalError, form: Format) -> int:
    """Prints an error and gives the exit code."""
    code = exit_code(error)
    name = _code(error)
    hint = _HINTS.get(name, error.hint if isinstance(error, ServerFailed) else "")
    if form is not Format.TABLE:
        _envelope(form, None, {"code": name, "message": str(error), "hint": hint}, code)
    console = Console(stderr=True, soft_wrap=True)
    message = printable(str(error), "\n\t")
    console.print(f"[bold red]{escape(printable(name))}[/] {escape(message)}", highlight=False)
    if hint:
        console.print(f"  {escape(printable(hint))}", highlight=False)
    return code
