"""Files by digest, in memory and in a folder, and the tickets of exclusive ones."""

import hashlib
from pathlib import Path

import pytest

from cloud.artifacts.blobs import BlobStore
from cloud.artifacts.errors import BlobDamaged, BlobMissing, BlobTooLarge, StoreUnusable
from cloud.artifacts.objects import ObjectFolder
from cloud.artifacts.settings import ArtifactSettings
from cloud.artifacts.tickets import TicketSigner
from device_agent.tasks.names import sha256_digest
from device_agent.tasks.trust_errors import TicketInvalid

CONTENT = bytes(range(256)) * 4096  # 1 MiB
DIGEST = sha256_digest(CONTENT)


@pytest.fixture(params=["memory", "file"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    url = "memory://" if request.param == "memory" else f"file://{tmp_path / 'a b'}"
    return BlobStore.open(url)


async def test_what_is_put_comes_back(blobs: BlobStore, tmp_path: Path) -> None:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    assert await blobs.put(CONTENT) == DIGEST
    assert await blobs.put(path) == DIGEST
    assert await blobs.get(DIGEST) == CONTENT
    assert await blobs.stat(DIGEST) == len(CONTENT)


async def test_a_big_file_is_put_from_disk(blobs: BlobStore, tmp_path: Path) -> None:
    path = tmp_path / "content"
    path.write_bytes(CONTENT * 8)  # over the size from which stores take parts
    digest = await blobs.put(path)
    assert await blobs.stat(digest) == len(CONTENT) * 8


async def test_a_part_comes_in_pieces(blobs: BlobStore) -> None:
    await blobs.put(CONTENT)
    pieces = [piece async for piece in blobs.stream(DIGEST, 100, len(CONTENT) - 100)]
    assert len(pieces) > 1
    assert b"".join(pieces) == CONTENT[100:-100]


async def test_an_empty_file_is_a_file(blobs: BlobStore) -> None:
    digest = await blobs.put(b"")
    assert await blobs.get(digest) == b""
    assert [piece async for piece in blobs.stream(digest, 0, 0)] == []


async def test_what_is_not_there_is_missing(blobs: BlobStore) -> None:
    assert await blobs.stat(DIGEST) is None
    with pytest.raises(BlobMissing):
        await blobs.get(DIGEST)
    await blobs.delete(DIGEST)
    await blobs.put(CONTENT)
    await blobs.delete(DIGEST)
    assert await blobs.stat(DIGEST) is None


async def test_a_digest_that_is_not_the_contents_is_refused(blobs: BlobStore) -> None:
    with pytest.raises(BlobDamaged):
        await blobs.put_as(DIGEST, b"other")
    assert await blobs.stat(DIGEST) is None
    await blobs.put_as(DIGEST, CONTENT)


async def test_a_file_over_the_limit_is_refused() -> None:
    small = BlobStore(ObjectFolder.open("memory://"), ArtifactSettings(blob_bytes_max=10))
    with pytest.raises(BlobTooLarge):
        await small.put(b"x" * 11)


def only_file(folder: Path) -> Path:
    (found,) = [path for path in folder.rglob("*") if path.is_file()]
    return found


async def test_a_file_that_changed_in_the_store_is_noticed(tmp_path: Path) -> None:
    blobs = BlobStore.open(f"file://{tmp_path}")
    await blobs.put(CONTENT)
    stored = only_file(tmp_path)
    assert stored.name == hashlib.sha256(CONTENT).hexdigest()
    stored.write_bytes(b"changed")
    with pytest.raises(BlobDamaged):
        await blobs.get(DIGEST)
    await blobs.put(CONTENT)  # another size: it is put again
    assert await blobs.get(DIGEST) == CONTENT


@pytest.mark.parametrize("url", ["nonsense", "ftp://x", "file:///proc/none/x", "s3://"])
def test_a_store_that_cannot_be_opened_is_named(url: str) -> None:
    with pytest.raises(StoreUnusable):
        ObjectFolder.open(url)


async def test_a_store_that_fails_is_named(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_bytes(b"a file where a folder must be")
    blobs = BlobStore.open(f"file://{tmp_path}")
    with pytest.raises(StoreUnusable):
        await blobs.put(CONTENT)


DEVICE = "ab" * 16
NOW = 1_790_000_000_000


def test_a_ticket_opens_one_file_to_one_device_for_a_while() -> None:
    signer = TicketSigner(b"s" * 32)
    ticket = signer.issue(DEVICE, DIGEST, NOW + 1000)
    signer.check(ticket, device_id=DEVICE, digest=DIGEST, now_ms=NOW)
    for change in (
        {"device_id": "cd" * 16},
        {"digest": sha256_digest(b"other")},
        {"now_ms": NOW + 1000},
    ):
        values: dict[str, object] = {"device_id": DEVICE, "digest": DIGEST, "now_ms": NOW}
        with pytest.raises(TicketInvalid):
            signer.check(ticket, **(values | change))  # type: ignore[arg-type]  # a test's shorthand


def test_a_changed_ticket_is_refused() -> None:
    signer = TicketSigner(b"s" * 32)
    ticket = signer.issue(DEVICE, DIGEST, NOW + 1000)
    longer_lived = ticket.replace(str(NOW + 1000), str(NOW + 9000))
    foreign = TicketSigner(b"t" * 32).issue(DEVICE, DIGEST, NOW + 1000)
    for wrong in ("", "v1", "v1.a.b.c.d", ticket[:-1], longer_lived, foreign, "ü" * 10, "9" * 300):
        with pytest.raises(TicketInvalid):
            signer.check(wrong, device_id=DEVICE, digest=DIGEST, now_ms=NOW)


def test_a_secret_is_long_enough() -> None:
    with pytest.raises(ValueError, match="at least"):
        TicketSigner(b"short")
