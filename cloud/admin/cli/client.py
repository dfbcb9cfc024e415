"""A small REST client: JSON in, JSON out, errors by name.

Rules of this module:

- Bounded: connect and read time-outs, pages of a list; reads that failed to connect are tried again, writes are
  tried again only when they carry an Idempotency-Key.
- What a person typed is quoted on its way into a path: a name with a slash or a question mark asks for nothing else.
- A redirect is no success: nothing was done yet.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import urllib3

from cloud.admin.cli.context import Context
from cloud.admin.cli.errors import ServerAway, ServerFailed, UsageWrong

# JSON as the API gives it; its shape is the API's to promise (docs/reference, openapi.json).
Answer = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLimits:
    """Limits of the client.

    Attributes:
        connect_seconds_max: Time to connect.
        read_seconds_max: Silence after which an answer is given up.
        retries_max: Tries more after a connection that failed.
        page_size: Items of a page of a list.
        pages_max: Pages of a list that are followed.
    """

    connect_seconds_max: float = 5.0
    read_seconds_max: float = 60.0
    retries_max: int = 2
    page_size: int = 500
    pages_max: int = 1000


class RestClient:
    """Speaks to one cloud."""

    def __init__(self, context: Context, limits: ClientLimits | None = None) -> None:
        self.context = context
        self._limits = limits or ClientLimits()
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(
                connect=self._limits.connect_seconds_max, read=self._limits.read_seconds_max
            ),
            retries=False,
        )

    def __enter__(self) -> "RestClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.clear()

    def get(self, path: str, **query: str | int) -> Answer:
        """Reads one object. Raises ServerAway, ServerFailed."""
        return self.request("GET", path, query=query)

    def items(self, path: str, **query: str | int) -> Iterator[Answer]:
        """Reads all items of a list, page by page. Raises ServerAway, ServerFailed."""
        token, asked = "", {"page_size": self._limits.page_size, **query}
        for _ in range(self._limits.pages_max):
            page = self.get(path, **asked, **({"page_token": token} if token else {}))
            items, following = page.get("items"), page.get("next_page_token")
            if not isinstance(items, list) or not isinstance(following, str):
                raise _no_answer(200, "no list of items in the answer")
            yield from items
            token = following
            if not token:
                return
        raise UsageWrong(
            f"the list is longer than {self._limits.pages_max * self._limits.page_size} items: ask for fewer"
        )

    def post(
        self,
        path: str,
        body: Mapping[str, object],
        *,
        idempotency_key: str = "",
        if_revision: int = 0,
    ) -> Answer:
        """Writes. Raises ServerAway, ServerFailed."""
        headers = {}
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        if if_revision:
            headers["If-Match"] = f'"{if_revision}"'
        return self.request("POST", path, body=body, headers=headers)

    def delete(self, path: str, **query: str | int) -> Answer:
        """Deletes. Raises ServerAway, ServerFailed."""
        return self.request("DELETE", path, query=query)

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request. Raises ServerAway, ServerFailed."""
        sent = {"Accept": "application/json", **(headers or {})}
        if self.context.token:
            _check_token(self.context.token)
            sent["Authorization"] = f"Bearer {self.context.token}"
        if body is not None:
            sent["Content-Type"] = "application/json"
        url = self.context.address + path + (f"?{urlencode(query)}" if query else "")
        data = json.dumps(body).encode() if body is not None else None
        again = method == "GET" or "Idempotency-Key" in sent
        answer = self._send(method, url, data, sent, self._limits.retries_max if again else 0)
        return _read(answer)

    def _send(
        self, method: str, url: str, data: bytes | None, headers: dict[str, str], retries: int
    ) -> urllib3.BaseHTTPResponse:
        while True:
            try:
                return self._pool.request(method, url, body=data, headers=headers, redirect=False)
            except urllib3.exceptions.HTTPError as error:
                if retries == 0:
                    raise ServerAway(
                        f"no answer from {self.context.address} ({type(error).__name__}): "
                        "is the cloud running there? `shoal doctor` looks closer"
                    ) from None
                retries -= 1


def named(name: str) -> str:
    """A name as one part of a path, whatever is in it."""
    if name in ("", ".", "..") or "/" in name:
        raise UsageWrong(f"{name!r} is not a name: the list command of the same noun shows names")
    return quote(name, safe="")


def _check_token(token: str) -> None:
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise UsageWrong(
            "the token has blanks, line breaks or signs that no token has: copy it again, without anything around it"
        )


def _no_answer(status: int, why: str) -> ServerFailed:
    hint = "is this the address of the admin REST API of a Shoal cloud?"
    return ServerFailed(status, "ANSWER_INVALID", why, hint)


def _read(answer: urllib3.BaseHTTPResponse) -> Answer:
    try:
        found: object = json.loads(answer.data) if answer.data else {}
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _no_answer(
            answer.status, f"status {answer.status} and a body that is not a JSON object"
        )
    if 200 <= answer.status < 300:
        return found
    said = found.get("error")
    # A proxy on the way has its own ideas of what an error is.
    error = said if isinstance(said, dict) else {"message": said} if isinstance(said, str) else {}
    raise ServerFailed(
        answer.status,
        str(error.get("code", "INTERNAL")),
        str(error.get("message", f"status {answer.status}")),
        str(error.get("hint", "")),
    )
