"""Which part of a file a request asks for (RFC 9110, sections 13 and 14), decided without I/O.

Rules of this module:

- One range at a time; several, or a unit that is not bytes, are answered with the whole file, as the RFC allows.
- A file of a digest never changes, so its digest is a strong ETag; If-Range with any other tag means the whole file.
- A range that begins beyond the end is 416 and says how long the file is.
"""

import re
from dataclasses import dataclass
from typing import Final

_RANGE: Final = re.compile(r"bytes=(?:([0-9]{1,19})-([0-9]{1,19})?|-([0-9]{1,19}))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What to answer.

    Attributes:
        status: 200, 206, 304 or 416.
        start: First byte.
        end: First byte that is not sent.
    """

    status: int
    start: int = 0
    end: int = 0


def choose_part(
    size: int, etag: str, *, wanted: str | None, if_range: str | None, if_none_match: str | None
) -> Part:
    """Decides by the headers Range, If-Range and If-None-Match; None stands for a header that is not there."""
    if if_none_match is not None and _names(if_none_match, etag):
        return Part(status=304)
    whole = Part(status=200, end=size)
    if wanted is None or (if_range is not None and if_range != etag):
        return whole
    match = _RANGE.fullmatch(wanted.replace(" ", ""))
    if match is None:
        return whole
    first, last, suffix = match.groups()
    if suffix is not None:
        start, end = max(0, size - int(suffix)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last is not None else size
        if last is not None and int(last) < start:
            return whole
    return Part(status=416) if start >= end else Part(status=206, start=start, end=end)


def _names(header: str, etag: str) -> bool:
    tags = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return "*" in tags or etag in tags
