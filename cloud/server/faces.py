"""The sockets of a cloud: devices' gRPC and HTTPS, operators' HTTP and gRPC.

Rules of this module:

- All sockets are bound before the first request is served, so that addresses are known and a taken port ends the start.
- A face drains: it takes nothing new, lets what runs end within `drain_ms`, then ends it.
- Nothing here decides: it is handed applications and services.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator

import grpc
import uvicorn
from starlette.types import ASGIApp

from cloud.server.errors import PortTaken
from cloud.server.home import CloudHome

BACKLOG = 1024
KEEP_ALIVE_S = 30


class QuietServer(uvicorn.Server):
    """uvicorn without its own signal handlers: this process has one way to be told to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield


def place(host: str, port: int) -> str:
    """host:port as URLs and gRPC write it; an IPv6 address stands in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        PortTaken: The port is not free.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        raise PortTaken(
            f"cannot listen on {place(host, port)} ({error.strerror}): choose another port, or 0"
        ) from None
    made.setblocking(False)
    return made


def tls_context(home: CloudHome, key_pem: bytes, chain_pem: bytes) -> ssl.SSLContext:
    """TLS of the HTTPS face; asks for no client certificate, because enrolment comes before there is one."""
    file = home.run / "https.pem"
    home.write_private(file, key_pem + b"\n" + chain_pem)  # ssl reads files only
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(file)
    file.unlink()
    return context


class HttpFace:
    """An ASGI application on a socket."""

    def __init__(
        self, app: ASGIApp, host: str, port: int, drain_ms: int, tls: ssl.SSLContext | None = None
    ) -> None:
        self._socket = bind(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._server = QuietServer(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=max(1, drain_ms // 1000),
                ssl_context_factory=_factory(tls),
            )
        )

    async def serve(self) -> None:
        """Serves until it is told to drain."""
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            self._socket.close()

    def drain(self) -> None:
        """Takes nothing new, and ends when what runs has ended."""
        self._server.should_exit = True


def _factory(
    tls: ssl.SSLContext | None,
) -> Callable[[uvicorn.Config, Callable[[], ssl.SSLContext]], ssl.SSLContext] | None:
    if tls is None:
        return None
    return lambda _config, _default: tls


class GrpcFace:
    """A gRPC server on a port."""

    def __init__(
        self,
        server: grpc.aio.Server,
        host: str,
        port: int,
        drain_ms: int,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        self._server = server
        self._drain_s = drain_ms / 1000
        self._draining = asyncio.Event()
        address = place(host, port)
        try:
            if credentials is None:
                self.port = server.add_insecure_port(address)
            else:
                self.port = server.add_secure_port(address, credentials)
        except RuntimeError:
            raise PortTaken(f"cannot listen on {address}: choose another port, or 0") from None

    async def serve(self) -> None:
        """Serves until it is told to drain."""
        await self._server.start()
        try:
            await self._draining.wait()
        finally:
            await self._server.stop(self._drain_s)

    def drain(self) -> None:
        """Takes nothing new, and ends when what runs has ended."""
        self._draining.set()
