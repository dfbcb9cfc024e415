"""HTTPS with a pinned CA, and mTLS with device certificates: over real sockets on loopback."""

import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from cloud.keys.authority import (
    CertificateAuthority,
    create_authority,
    private_pem,
    read_device_certificate,
)
from cloud.keys.files import load_tls_key
from device_agent.tasks.fetch import HttpFetcher
from device_agent.tasks.settings import DownloadSettings
from device_agent.tasks.trust_errors import LinkBroken

type Handle = Callable[[BaseHTTPRequestHandler], None]


def new_authority(folder: Path) -> CertificateAuthority:
    key_pem, certificate_pem = create_authority()
    (folder / "ca.pem").write_bytes(key_pem)
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    return CertificateAuthority(load_tls_key(folder / "ca.pem"), certificate)


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    return new_authority(tmp_path)


@contextmanager
def https_server(
    authority: CertificateAuthority, folder: Path, handle: Handle, hosts: tuple[str, ...]
) -> Iterator[str]:
    """A server on loopback; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            handle(self)

        def do_POST(self) -> None:
            handle(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base's name
            """Quiet."""

    key, chain = authority.issue_server(hosts)
    (folder / "tls.pem").write_bytes(key + chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that hang up are the point
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join(timeout=5)
        server.server_close()


@contextmanager
def fetching(
    authority: CertificateAuthority, folder: Path, handle: Handle
) -> Iterator[HttpFetcher]:
    with https_server(authority, folder, handle, ("127.0.0.1",)) as url:
        fetcher = HttpFetcher(url, authority.certificate_pem, DownloadSettings(read_timeout_ms=500))
        yield fetcher
        fetcher.close()


def send(handler: BaseHTTPRequestHandler, body: bytes, length: int | None = None) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.send_header("X-Seen", handler.headers.get("X-Asked", ""))
    handler.end_headers()
    handler.wfile.write(body)


def read_all(fetcher: HttpFetcher, path: str = "/x", **headers: str) -> bytes:
    data = b""
    with fetcher.request("GET", path, headers=headers) as body:
        assert body.status == 200
        while piece := body.read(1000):
            data += piece
    return data


def test_a_body_comes_over_tls_and_the_connection_is_kept(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    ports: set[int] = set()

    def handle(handler: BaseHTTPRequestHandler) -> None:
        ports.add(handler.client_address[1])
        send(handler, b"x" * 5000)

    with fetching(authority, tmp_path, handle) as fetcher:
        for _ in range(3):
            assert read_all(fetcher) == b"x" * 5000
    assert len(ports) == 1


def test_headers_and_bodies_go_both_ways(authority: CertificateAuthority, tmp_path: Path) -> None:
    def handle(handler: BaseHTTPRequestHandler) -> None:
        send(handler, handler.rfile.read(int(handler.headers["Content-Length"])))

    with (
        fetching(authority, tmp_path, handle) as fetcher,
        fetcher.request("POST", "/x", headers={"x-asked": "yes"}, body=b"said") as body,
    ):
        assert body.read(100) == b"said"
        assert body.headers["x-seen"] == "yes"


def test_a_body_that_is_not_read_to_its_end_costs_the_connection(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    ports: list[int] = []

    def handle(handler: BaseHTTPRequestHandler) -> None:
        ports.append(handler.client_address[1])
        send(handler, b"x" * 100_000)

    with fetching(authority, tmp_path, handle) as fetcher:
        for _ in range(2):
            with fetcher.request("GET", "/x") as body:
                body.read(10)
    assert len(set(ports)) == 2


def test_a_server_of_another_authority_is_refused(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = new_authority(tmp_path / "other")
    with https_server(authority, tmp_path, lambda one: send(one, b"x"), ("127.0.0.1",)) as url:
        with pytest.raises(LinkBroken, match="certificate"):
            read_all(HttpFetcher(url, other.certificate_pem))
        assert read_all(HttpFetcher(url, None)) == b"x"  # the first look at the CA


def test_a_server_of_another_name_is_refused(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    with (
        https_server(authority, tmp_path, lambda one: send(one, b"x"), ("elsewhere",)) as url,
        pytest.raises(LinkBroken),
    ):
        read_all(HttpFetcher(url, authority.certificate_pem))


def test_a_redirect_is_not_followed(authority: CertificateAuthority, tmp_path: Path) -> None:
    def handle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", "/elsewhere")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with fetching(authority, tmp_path, handle) as fetcher, fetcher.request("GET", "/x") as body:
        assert body.status == 302


def test_a_body_that_breaks_off_is_named(authority: CertificateAuthority, tmp_path: Path) -> None:
    def handle(handler: BaseHTTPRequestHandler) -> None:
        send(handler, b"x" * 10, length=1000)
        handler.close_connection = True

    with fetching(authority, tmp_path, handle) as fetcher, pytest.raises(LinkBroken):
        read_all(fetcher)


@pytest.mark.slow
def test_a_silent_server_is_given_up(authority: CertificateAuthority, tmp_path: Path) -> None:
    done = threading.Event()

    def handle(handler: BaseHTTPRequestHandler) -> None:
        send(handler, b"x" * 10, length=1000)
        handler.wfile.flush()
        done.wait(timeout=5)

    with fetching(authority, tmp_path, handle) as fetcher:
        with pytest.raises(LinkBroken):
            read_all(fetcher)
        done.set()


def test_a_trickle_is_seen_piece_by_piece(authority: CertificateAuthority, tmp_path: Path) -> None:
    go_on = threading.Event()

    def handle(handler: BaseHTTPRequestHandler) -> None:
        send(handler, b"a", length=2)
        handler.wfile.flush()
        go_on.wait(timeout=5)
        handler.wfile.write(b"b")

    with fetching(authority, tmp_path, handle) as fetcher, fetcher.request("GET", "/x") as body:
        assert body.read(1000) == b"a"  # the reader can measure before the rest is there
        go_on.set()
        assert body.read(1000) == b"b"
        assert body.read(1000) == b""


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "127.0.0.1:1", "https://"])
def test_only_https_is_spoken(url: str) -> None:
    with pytest.raises(ValueError, match="https"):
        HttpFetcher(url, None)


def test_nobody_there_is_named() -> None:
    with pytest.raises(LinkBroken):
        read_all(HttpFetcher("https://127.0.0.1:1", None))


def certificate_request(key: ec.EllipticCurvePrivateKey) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


@pytest.mark.slow
def test_grpc_knows_a_device_by_its_certificate(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    """The certificates in the stack that devices speak: accepted with, refused without and from another CA."""
    seen: list[str] = []

    def handle(request: bytes, context: Any) -> bytes:
        pem = context.auth_context()["x509_pem_cert"][0]
        seen.append(read_device_certificate(pem).namespace)
        return request

    server = grpc.server(ThreadPoolExecutor(1))
    method: Any = grpc.unary_unary_rpc_method_handler(handle)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t", {"echo": method}),))
    key, chain = authority.issue_server(["127.0.0.1"])
    port = server.add_secure_port(
        "127.0.0.1:0",
        grpc.ssl_server_credentials([(key, chain)], authority.certificate_pem, True),
    )
    server.start()
    device = ec.generate_private_key(ec.SECP256R1())
    now_ms = 1_790_000_000_000
    longest = f"{'a' * 63}/{'b' * 63}"
    mine = authority.issue_device(certificate_request(device), longest, now_ms).pem
    (tmp_path / "other").mkdir()
    foreign = new_authority(tmp_path / "other").issue_device(
        certificate_request(device), longest, now_ms
    )

    def call(certificate: bytes | None) -> bytes:
        credentials = grpc.ssl_channel_credentials(
            authority.certificate_pem, private_pem(device) if certificate else None, certificate
        )
        with grpc.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
            echo: Any = channel.unary_unary("/t/echo")
            return bytes(echo(b"hello", timeout=5))

    try:
        assert call(mine) == b"hello"
        for certificate in (None, foreign.pem):
            with pytest.raises(grpc.RpcError):
                call(certificate)
    finally:
        server.stop(None).wait(timeout=5)
    assert seen == [longest]
