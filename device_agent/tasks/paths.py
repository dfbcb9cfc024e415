"""Which paths a file of a bundle may have.

Rules of this module:

- A path is relative, forward-slashed, already normal, and means the same on every file system: ASCII letters, digits
  and "._-" only, no dot files, no segment that ends in a dot, no name that Windows reserves.
- Two paths of a bundle differ by more than the case of their letters, and none is a folder of another.
"""

import re
from collections.abc import Iterable

PATH_CHARS_MAX = 200
DEPTH_MAX = 8
# Made by the cloud beside the author's files on a device.
MADE_BY_CLOUD = frozenset({"manifest.json", "code.bin"})
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")


def path_problem(path: str) -> str | None:
    """What is wrong with a path, as half a sentence that says how to mend it; None when nothing is."""
    if not path or len(path) > PATH_CHARS_MAX:
        return f"has {len(path)} characters; keep it within 1 to {PATH_CHARS_MAX}"
    segments = path.split("/")
    if len(segments) > DEPTH_MAX:
        return f"is {len(segments)} folders deep; keep it within {DEPTH_MAX}"
    for segment in segments:
        if segment in {"", ".", ".."} or "\\" in segment or ":" in segment:
            return "is not a plain relative path inside the bundle; write it like models/a.bin"
        if not _SEGMENT.fullmatch(segment) or segment.endswith("."):
            return f"has the odd name {segment!r}; use letters, digits, '_', '-' and inner dots"
        if _RESERVED.fullmatch(segment):
            return f"has the name {segment!r}, which some systems reserve; choose another"
    if path.casefold() in MADE_BY_CLOUD:
        return "is a name that publishing itself writes; choose another"
    return None


def clashes(paths: Iterable[str]) -> list[str]:
    """Pairs of paths that could not lie side by side on every file system, as sentences."""
    seen: dict[str, str] = {}
    problems: list[str] = []
    for path in sorted(paths):
        other = seen.setdefault(path.casefold(), path)
        if other != path:
            problems.append(f"{other} and {path} differ only by the case of letters; rename one")
    for folded, path in seen.items():
        for end, char in enumerate(folded):
            if char == "/" and folded[:end] in seen:
                problems.append(
                    f"{seen[folded[:end]]} is a file and a folder of {path}; rename one"
                )
    return problems
