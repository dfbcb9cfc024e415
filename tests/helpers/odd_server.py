"""An HTTP server on loopback that answers what a test says, also what no server may: for clients of any kind.

Example:
    with odd_server(lambda request: b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\n{}") as server:
        urlopen(server.url)
        assert server.seen == ["GET /"]
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

WAIT_S = 10.0


@dataclass
class OddServer:
    """Where it listens, and the first words of each request."""

    port: int
    seen: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def said(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """A plain answer."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@contextmanager
def odd_server(answer: Callable[[str], bytes]) -> Iterator[OddServer]:
    """Serves one connection after the other; an empty answer hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = OddServer(listening.getsockname()[1])
        thread = threading.Thread(target=_serve, args=(listening, server, answer))
        thread.start()
        try:
            yield server
        finally:
            server.seen.append("")  # from here on the next connection ends it
            with suppress(OSError), socket.create_connection(("127.0.0.1", server.port), WAIT_S):
                pass
            thread.join(WAIT_S)
            server.seen.remove("")


def _serve(listening: socket.socket, server: OddServer, answer: Callable[[str], bytes]) -> None:
    while "" not in server.seen:
        connection, _ = listening.accept()
        with connection, suppress(OSError):
            connection.settimeout(WAIT_S)
            request = _request(connection)
            if request:
                server.seen.append(" ".join(request.split(" ")[:2]))
                connection.sendall(answer(request))


def _request(connection: socket.socket) -> str:
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65_536)
        if not part:
            return ""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.decode("latin-1").lower().split("\r\n"):
        if line.startswith("content-length:"):
            length = int(line.partition(":")[2])
    while len(body) < length:
        body += connection.recv(65_536)
    return (head + b"\r\n\r\n" + body).decode("latin-1")
