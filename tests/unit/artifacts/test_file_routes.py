"""Ranges, and the routes that files are pulled from."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette

from cloud.artifacts.blobs import BlobStore
from cloud.artifacts.file_routes import FileRoutes
from cloud.artifacts.ranges import choose_part
from cloud.artifacts.tickets import TicketSigner
from device_agent.clock import SystemClock
from device_agent.tasks.director import Scope
from device_agent.tasks.names import device_id_of, sha256_digest
from device_agent.tasks.proof import PURPOSE_EXCLUSIVE, PURPOSE_RENEW, make_proof
from tests.helpers.memory_fetcher import Answer, Ask, call_asgi

CONTENT = bytes(range(256)) * 2000
DIGEST = sha256_digest(CONTENT)
HEXADECIMAL = DIGEST.removeprefix("sha256:")
TAG = f'"{HEXADECIMAL}"'
CLOCK = SystemClock()
KEY = ec.generate_private_key(ec.SECP256R1())
DEVICE = device_id_of(
    KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
)


def choose(wanted: str | None, if_range: str | None = None) -> tuple[int, int, int]:
    part = choose_part(1000, TAG, wanted=wanted, if_range=if_range, if_none_match=None)
    return part.status, part.start, part.end


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, (200, 0, 1000)),
        ("bytes=0-", (206, 0, 1000)),
        ("bytes=10-19", (206, 10, 20)),
        ("bytes=990-5000", (206, 990, 1000)),
        ("bytes=-10", (206, 990, 1000)),
        ("bytes=-5000", (206, 0, 1000)),
        ("bytes=1000-", (416, 0, 0)),
        ("bytes=-0", (416, 0, 0)),
        ("bytes=5-3", (200, 0, 1000)),
        ("bytes=0-1,5-6", (200, 0, 1000)),
        ("items=0-1", (200, 0, 1000)),
        ("bytes=", (200, 0, 1000)),
        ("bytes=-", (200, 0, 1000)),
        ("bytes=\u0661-", (200, 0, 1000)),
    ],
)
def test_ranges_are_read_as_the_rfc_says(
    wanted: str | None, expected: tuple[int, int, int]
) -> None:
    assert choose(wanted) == expected


def test_if_range_with_another_tag_means_the_whole_file() -> None:
    assert choose("bytes=5-", TAG) == (206, 5, 1000)
    assert choose("bytes=5-", '"other"') == (200, 0, 1000)
    assert choose("bytes=5-", f"W/{TAG}") == (200, 0, 1000)


@pytest.mark.parametrize(
    ("header", "status"), [(TAG, 304), ("*", 304), (f'"x", W/{TAG}', 304), ('"x"', 200)]
)
def test_what_the_client_has_is_not_sent_again(header: str, status: int) -> None:
    part = choose_part(9, TAG, wanted=None, if_range=None, if_none_match=header)
    assert part.status == status


@pytest.mark.slow
@given(st.text(max_size=30), st.integers(min_value=0, max_value=1000))
def test_no_range_goes_beyond_the_file(wanted: str, size: int) -> None:
    part = choose_part(size, TAG, wanted=f"bytes={wanted}", if_range=None, if_none_match=None)
    assert 0 <= part.start <= part.end <= size


class Face:
    def __init__(self, scopes: frozenset[Scope] = frozenset([Scope.SHARED])) -> None:
        self.blobs = BlobStore.open("memory://")
        self.tickets = TicketSigner(b"s" * 32)
        self.scopes = scopes
        routes = FileRoutes(self.blobs, self.tickets, self.scope_of, CLOCK).routes()
        self.app = Starlette(routes=routes)

    async def scope_of(self, digest: str) -> frozenset[Scope]:
        return self.scopes if digest == DIGEST else frozenset()

    async def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await call_asgi(self.app, Ask(method, path, named, b""))

    async def exclusive(self, ticket: str, proof: str) -> Answer:
        path = f"/v1/exclusive/{HEXADECIMAL}"
        return await self.get(path, shoal_ticket=ticket, shoal_proof=proof)


def code_of(answer: Answer) -> str:
    assert isinstance(answer.body, bytes)
    return str(json.loads(answer.body)["error"]["code"])


@pytest.fixture
async def face() -> Face:
    made = Face()
    await made.blobs.put(CONTENT)
    return made


PATH = f"/v1/files/{HEXADECIMAL}"


async def test_a_shared_file_is_anybodys(face: Face) -> None:
    answer = await face.get(PATH)
    assert (answer.status, answer.body) == (200, CONTENT)
    assert answer.headers["etag"] == TAG
    assert answer.headers["content-length"] == str(len(CONTENT))
    assert "immutable" in answer.headers["cache-control"]


async def test_a_part_says_which(face: Face) -> None:
    answer = await face.get(PATH, range="bytes=300000-300009")
    assert (answer.status, answer.body) == (206, CONTENT[300000:300010])
    assert answer.headers["content-range"] == f"bytes 300000-300009/{len(CONTENT)}"
    beyond = await face.get(PATH, range=f"bytes={len(CONTENT)}-")
    assert (beyond.status, beyond.headers["content-range"]) == (416, f"bytes */{len(CONTENT)}")
    known = await face.get(PATH, if_none_match=TAG)
    assert (known.status, known.body) == (304, b"")
    head = await face.get(PATH, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(CONTENT))


async def test_what_was_not_published_is_not_served(face: Face) -> None:
    face.scopes = frozenset()
    answer = await face.get(PATH)
    assert (answer.status, code_of(answer)) == (404, "BLOB_MISSING")


async def test_what_the_store_lost_is_named(face: Face) -> None:
    await face.blobs.delete(DIGEST)
    assert code_of(await face.get(PATH)) == "BLOB_MISSING"


async def test_an_exclusive_file_is_not_shared(face: Face) -> None:
    face.scopes = frozenset([Scope.EXCLUSIVE])
    assert code_of(await face.get(PATH)) == "BLOB_MISSING"


async def test_an_exclusive_file_opens_to_its_device(face: Face) -> None:
    face.scopes = frozenset([Scope.EXCLUSIVE])
    now_ms = CLOCK.wall_ms()
    ticket = face.tickets.issue(DEVICE, DIGEST, now_ms + 60_000)
    proof = make_proof(KEY, PURPOSE_EXCLUSIVE, ticket.encode(), now_ms)
    answer = await face.exclusive(ticket, proof)
    assert (answer.status, answer.body) == (200, CONTENT)
    assert answer.headers["cache-control"] == "private, no-store"


async def test_an_exclusive_file_stays_closed_to_others(face: Face) -> None:
    face.scopes = frozenset([Scope.EXCLUSIVE])
    now_ms, other = CLOCK.wall_ms(), ec.generate_private_key(ec.SECP256R1())
    ticket = face.tickets.issue(DEVICE, DIGEST, now_ms + 60_000)
    expired = face.tickets.issue(DEVICE, DIGEST, now_ms - 1)
    elsewhere = face.tickets.issue(DEVICE, sha256_digest(b""), now_ms + 60_000)

    def proof(key: ec.EllipticCurvePrivateKey, said: str, purpose: str = PURPOSE_EXCLUSIVE) -> str:
        return make_proof(key, purpose, said.encode(), now_ms)

    cases = [
        (ticket, proof(other, ticket), 403, "TICKET_INVALID"),
        (expired, proof(KEY, expired), 403, "TICKET_INVALID"),
        (elsewhere, proof(KEY, elsewhere), 403, "TICKET_INVALID"),
        ("", proof(KEY, ""), 403, "TICKET_INVALID"),
        (ticket, proof(KEY, expired), 401, "PROOF_INVALID"),
        (ticket, proof(KEY, ticket, PURPOSE_RENEW), 401, "PROOF_INVALID"),
        (ticket, "", 401, "PROOF_INVALID"),
    ]
    for said, proven, status, code in cases:
        answer = await face.exclusive(said, proven)
        assert (answer.status, code_of(answer)) == (status, code)
