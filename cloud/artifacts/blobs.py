"""Files by digest.

Rules of this module:

- The name of a file is its digest: a put of what is there already changes nothing, and two puts cannot collide.
- A digest that the caller names is checked against the bytes before they are stored.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self

from cloud.artifacts.errors import BlobDamaged, BlobMissing, BlobTooLarge
from cloud.artifacts.objects import ObjectFolder
from cloud.artifacts.settings import SETTINGS, ArtifactSettings
from device_agent.failpoint import failpoint
from device_agent.tasks.names import digest_hex, sha256_digest


class BlobStore:
    """Content-addressed files of one cloud."""

    def __init__(self, objects: ObjectFolder, settings: ArtifactSettings = SETTINGS) -> None:
        self._objects = objects
        self._settings = settings

    @classmethod
    def open(cls, url: str, settings: ArtifactSettings = SETTINGS) -> Self:
        """Opens the store below `blobs/` of a URL (see ObjectFolder.open)."""
        return cls(ObjectFolder.open(url).below("blobs"), settings)

    async def put(self, data: bytes | Path) -> str:
        """Stores bytes, or the content of a file.

        Returns:
            The digest.

        Raises:
            BlobTooLarge: over `blob_bytes_max`.
        """
        digest, size = await asyncio.to_thread(_measure, data)
        if size > self._settings.blob_bytes_max:
            raise BlobTooLarge(f"{size} bytes are over {self._settings.blob_bytes_max}; split it")
        if await self.stat(digest) != size:
            failpoint("artifacts.blob.before_put")
            await self._objects.put(_name(digest), data)
        return digest

    async def put_as(self, digest: str, data: bytes | Path) -> None:
        """Stores bytes that must have this digest.

        Raises:
            BlobDamaged: they have another; nothing was stored.
        """
        found, _ = await asyncio.to_thread(_measure, data)
        if found != digest:
            raise BlobDamaged(f"the content has digest {found}, not {digest}; send it again")
        await self.put(data)

    async def get(self, digest: str) -> bytes:
        """The whole file, checked.

        Raises:
            BlobMissing: there is none.
            BlobDamaged: the store gave back something else.
        """
        data = await self._objects.get(_name(digest))
        if data is None:
            raise BlobMissing(f"no file has digest {digest}; publish it again")
        if sha256_digest(data) != digest:
            raise BlobDamaged(f"the stored file of {digest} has changed; restore it from a backup")
        return data

    async def stat(self, digest: str) -> int | None:
        """Size of the file; None when there is none."""
        return await self._objects.size(_name(digest))

    def stream(self, digest: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Bytes [start, end) of a file that is there; whoever receives them checks the digest."""
        return self._objects.stream(_name(digest), start, end, self._settings.stream_chunk_bytes)

    async def delete(self, digest: str) -> None:
        """Removes a file that nothing refers to any more."""
        await self._objects.delete(_name(digest))


def _name(digest: str) -> str:
    hexadecimal = digest_hex(digest)
    return f"{hexadecimal[:2]}/{hexadecimal}"


def _measure(data: bytes | Path) -> tuple[str, int]:
    if isinstance(data, bytes):
        return sha256_digest(data), len(data)
    with data.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return f"sha256:{digest}", file.tell()
