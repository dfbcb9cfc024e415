"""The cloud's HTTPS face without sockets: a Fetcher whose other side is a function, a coroutine or an ASGI app.

fetcher = MemoryFetcher(lambda ask: Answer(200, b"hello"))
with fetcher.request("GET", "/v1/time") as body:
    assert body.read(100) == b"hello"
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from device_agent.tasks.fetch import Body, Fetcher, Headers
from device_agent.tasks.trust_errors import LinkBroken


@dataclass(frozen=True, slots=True)
class Ask:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; a body in parts is given out part by part, and an exception among the parts is raised there."""

    status: int
    body: bytes | Iterable[bytes | Exception] = b""
    headers: dict[str, str] = field(default_factory=dict)


class MemoryBody:
    def __init__(self, answer: Answer) -> None:
        self.status = answer.status
        self.headers: Headers = {name.lower(): value for name, value in answer.headers.items()}
        parts = [answer.body] if isinstance(answer.body, bytes) else answer.body
        self._parts = iter(parts)
        self._rest = b""

    def read(self, size: int) -> bytes:
        if not self._rest:
            part = next(self._parts, b"")
            if isinstance(part, Exception):
                raise part
            self._rest = part
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


class MemoryFetcher:
    """Counts what is asked, and asks a function."""

    def __init__(self, answer: Callable[[Ask], Answer]) -> None:
        self._answer = answer
        self.asked: list[Ask] = []

    @contextmanager
    def request(
        self, method: str, path: str, *, headers: Headers | None = None, body: bytes = b""
    ) -> Iterator[Body]:
        ask = Ask(method, path, dict(headers or {}), body)
        self.asked.append(ask)
        yield MemoryBody(self._answer(ask))


class LoopFetcher(MemoryFetcher):
    """Asks a coroutine function on a running loop, from the thread that a Fetcher is called in."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, answer: Callable[[Ask], Awaitable[Answer]]
    ) -> None:
        async def run(ask: Ask) -> Answer:
            return await answer(ask)

        super().__init__(
            lambda ask: asyncio.run_coroutine_threadsafe(run(ask), loop).result(timeout=10)
        )


class AsgiFetcher(LoopFetcher):
    """Asks an ASGI app."""

    def __init__(self, loop: asyncio.AbstractEventLoop, app: Any) -> None:
        async def answer(ask: Ask) -> Answer:
            return await call_asgi(app, ask)

        super().__init__(loop, answer)


async def call_asgi(app: Any, ask: Ask) -> Answer:
    """One request to an ASGI app; the whole answer."""
    path, _, query = ask.path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": ask.method,
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in ask.headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 443),
    }
    start: dict[str, Any] = {}
    parts: list[bytes] = []
    sent = False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if sent:
            await asyncio.Event().wait()
        sent = True
        return {"type": "http.request", "body": ask.body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            parts.append(message.get("body", b""))

    await app(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], b"".join(parts), headers)


def broken(ask: Ask) -> Answer:
    """The other side of a link that is down."""
    raise LinkBroken(f"no route for {ask.path}")


def check_protocol(fetcher: MemoryFetcher) -> Fetcher:
    """For the type checker: the fake is a Fetcher."""
    return fetcher
