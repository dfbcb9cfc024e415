"""Asking the cloud's HTTPS face: one small interface, spoken by urllib3 in an agent and by memory in tests.

Rules of this module:

- A body is read in pieces, each by at most one receive, so that the reader can measure how slowly it comes.
- Redirects, retries and decoding are off: what is fetched is checked by digest, and who tries again decides above.
- The server's certificate is checked against the cloud's own CA alone, never against the system's.
- Anything that the link does wrong is LinkBroken; what a status means is for the caller.
"""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import HTTPError

from device_agent.tasks.settings import DOWNLOAD, DownloadSettings
from device_agent.tasks.trust_errors import LinkBroken

type Headers = Mapping[str, str]


class Body(Protocol):
    """An answer whose body is still to be read."""

    @property
    def status(self) -> int:
        """HTTP status."""
        ...

    @property
    def headers(self) -> Headers:
        """Headers, names in lower case."""
        ...

    def read(self, size: int) -> bytes:
        """At most `size` bytes, as soon as some are there; b"" at the end.

        Raises:
            LinkBroken: the link failed.
        """
        ...


class Fetcher(Protocol):
    """Asks one cloud. Blocking: called in threads, by several at once."""

    def request(
        self, method: str, path: str, *, headers: Headers | None = None, body: bytes = b""
    ) -> AbstractContextManager[Body]:
        """Sends a request; `path` starts with "/".

        Raises:
            LinkBroken: the link failed.
        """
        ...


def check_address(url: str) -> tuple[str, int]:
    """Host and port of the cloud's HTTPS face.

    Raises:
        ValueError: it is no "https://host:port".
    """
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError(f"{url!r} is not an https:// address")
    return parts.hostname, parts.port or 443


class HttpFetcher:
    """A Fetcher over HTTPS with kept connections."""

    def __init__(
        self, url: str, ca_pem: bytes | None, settings: DownloadSettings = DOWNLOAD
    ) -> None:
        """Connects to nothing yet.

        Args:
            url: "https://host:port".
            ca_pem: The cloud's CA; None only to fetch that CA, whose fingerprint the caller checks.
            settings: Time-outs.
        """
        host, port = check_address(url)
        timeout = urllib3.Timeout(
            connect=settings.connect_timeout_ms / 1000, read=settings.read_timeout_ms / 1000
        )
        self._pool = urllib3.HTTPSConnectionPool(
            host,
            port,
            timeout=timeout,
            maxsize=settings.concurrency + 1,
            ssl_context=_context(ca_pem),
            retries=False,
        )
        if ca_pem is None:
            self._pool.ConnectionCls = _FirstLook

    @contextmanager
    def request(
        self, method: str, path: str, *, headers: Headers | None = None, body: bytes = b""
    ) -> Iterator[Body]:
        """Sends a request."""
        try:
            response = self._pool.urlopen(
                method,
                path,
                body=body or None,
                headers={"accept-encoding": "identity", **(headers or {})},
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        except (HTTPError, OSError) as error:
            raise LinkBroken(
                f"no answer from {self._pool.host}:{self._pool.port}: {error}"
            ) from error
        answer = _HttpBody(response)
        try:
            yield answer
        finally:
            # A body that was read to its end gives its connection back; any other must not be reused.
            if not answer.ended:
                response.close()
            response.release_conn()

    def close(self) -> None:
        """Closes kept connections."""
        self._pool.close()


class _FirstLook(HTTPSConnection):
    """A connection whose certificate nobody checks: only the CA is fetched by it, and that by its fingerprint."""

    def connect(self) -> None:
        super().connect()
        self.is_verified = True  # urllib3 would warn of what identity.py makes good


class _HttpBody:
    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self.ended = False

    def read(self, size: int) -> bytes:
        try:
            data = self._response.read1(size)
        except (HTTPError, OSError) as error:
            raise LinkBroken(f"the body broke off: {error}") from error
        self.ended = not data
        return data


def _context(ca_pem: bytes | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_pem is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(cadata=ca_pem.decode())
    return context
