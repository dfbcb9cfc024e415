"""Keyset paging: a page token names the last row of a page, so that a page costs the same however deep it is.

Rules of this module:

- A token is opaque to callers, carries the list that made it, and is refused by any other list.
- A page is asked one row longer than it is; the extra row only says that there is more.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from cloud.admin.errors import ArgumentInvalid, PageTokenInvalid
from cloud.admin.settings import AdminSettings

type Key = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """Which page is asked for.

    Attributes:
        size: Items; 0 takes the default.
        token: `next_page_token` of the page before; empty is the first page.
    """

    size: int = 0
    token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page[T]:
    """A page of a list.

    Attributes:
        items: At most the size asked for.
        next_page_token: Asks for the page after; empty at the end.
    """

    items: tuple[T, ...]
    next_page_token: str = ""


def encode_token(list_name: str, key: Key) -> str:
    """Makes the token that continues `list_name` after `key`."""
    raw = msgspec.json.encode((list_name, *key))
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode_token(list_name: str, token: str, types: tuple[type, ...]) -> Key | None:
    """Reads a token; None is the first page.

    Raises:
        PageTokenInvalid: It was not made for this list.
    """
    if not token:
        return None
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        name, *key = msgspec.json.decode(raw, type=tuple[str | int, ...])
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise PageTokenInvalid(
            f"the page token is damaged: start again without one ({error})"
        ) from error
    if name != list_name or tuple(map(type, key)) != types or not all(map(_is_bounded, key)):
        raise PageTokenInvalid("the page token belongs to another list: start again without one")
    return tuple(key)


def _is_bounded(part: str | int) -> bool:
    """Whether a database takes it: a forged token must not get as far as one."""
    return "\0" not in part if isinstance(part, str) else -(2**63) <= part < 2**63


def page_limit(request: PageRequest, settings: AdminSettings) -> int:
    """Number of items of the page asked for.

    Raises:
        ArgumentInvalid: Out of bounds.
    """
    size = request.size or settings.page_size_default
    if not 1 <= size <= settings.page_size_max:
        raise ArgumentInvalid(f"page_size {size}: choose 1 to {settings.page_size_max}")
    return size


def cut_page[T](rows: Sequence[T], limit: int, list_name: str, key: Callable[[T], Key]) -> Page[T]:
    """Cuts `limit + 1` rows to a page."""
    items = tuple(rows[:limit])
    more = len(rows) > limit
    return Page(
        items=items, next_page_token=encode_token(list_name, key(items[-1])) if more else ""
    )
