"""What changed between two versions of a task, for a person who is about to release one.

Rules of this module:

- Pure: it is given rows and texts, and reads nothing.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloud.registry.settings import SETTINGS, RegistrySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """A file that differs.

    Attributes:
        kind: source or resource.
        path: Place in the bundle.
        change: added, removed or changed.
        before: Digest before; "" when added.
        after: Digest after; "" when removed.
    """

    kind: str
    path: str
    change: str
    before: str
    after: str


def file_changes(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> list[FileChange]:
    """Sources and resources that differ, in order of path; derived files follow from these."""
    old, new = _by_path(before), _by_path(after)
    return [
        FileChange(
            kind=kind,
            path=path,
            change=_change(old.get((kind, path), ""), new.get((kind, path), "")),
            before=old.get((kind, path), ""),
            after=new.get((kind, path), ""),
        )
        for kind, path in sorted(old.keys() | new.keys())
        if old.get((kind, path)) != new.get((kind, path))
    ]


def _by_path(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    kept = ("source", "resource")
    return {(row["kind"], row["path"]): row["digest"] for row in rows if row["kind"] in kept}


def _change(before: str, after: str) -> str:
    return "changed" if before and after else "added" if after else "removed"


def manifest_changes(
    before: object, after: object, place: str = ""
) -> Iterator[tuple[str, object, object]]:
    """Fields of two manifest documents that differ: (dotted place, before, after)."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            where = f"{place}.{key}" if place else str(key)
            yield from manifest_changes(before.get(key), after.get(key), where)
    elif before != after:
        yield place, before, after


def text_diff(path: str, before: str, after: str, settings: RegistrySettings = SETTINGS) -> str:
    """A unified diff of one script, cut to `diff_lines_max` lines."""
    lines = list(
        difflib.unified_diff(
            before.splitlines(), after.splitlines(), f"a/{path}", f"b/{path}", lineterm=""
        )
    )
    if len(lines) > settings.diff_lines_max:
        left = len(lines) - settings.diff_lines_max
        lines = [*lines[: settings.diff_lines_max], f"… {left} lines more"]
    return "\n".join(lines)
