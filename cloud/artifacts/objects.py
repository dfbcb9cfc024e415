"""Named objects in a folder, in memory or in a bucket: the one place that speaks to obstore.

Rules of this module:

- A put is atomic: a reader sees the old object or the new one. In a local folder it is durable as well, because
  obstore leaves flushing to the system: the file and its folder are synced before the put returns.
- Names are checked by the callers; none is taken from a request unchecked.
- Errors of the store become StoreUnusable with what to look at, a missing object is None.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, MemoryStore, ObjectStore, from_url

from cloud.artifacts.errors import StoreUnusable
from cloud.artifacts.settings import SETTINGS
from device_agent.failpoint import failpoint


class ObjectFolder:
    """Objects below one prefix of one store."""

    def __init__(self, store: ObjectStore, prefix: str = "", local: Path | None = None) -> None:
        self._store = store
        self._prefix = prefix
        self._local = local

    @classmethod
    def open(cls, url: str) -> Self:
        """Opens `file:///path`, `memory://`, `s3://bucket/prefix`, `gs://…` or `az://…`.

        Raises:
            StoreUnusable: the URL or the place that it names cannot be used.
        """
        parts = urlsplit(url)
        try:
            if parts.scheme == "memory":
                return cls(MemoryStore())
            if parts.scheme == "file":
                path = Path(unquote(parts.path))
                path.mkdir(parents=True, exist_ok=True)
                return cls(LocalStore(path), local=path)
            return cls(from_url(url))
        except (BaseError, ValueError, OSError) as error:
            raise StoreUnusable(
                f"{parts.scheme}:// store cannot be opened: {error}; "
                "use file:///path, memory://, s3://bucket/prefix, gs:// or az://"
            ) from error

    def below(self, prefix: str) -> "ObjectFolder":
        """The same store, one folder down."""
        return ObjectFolder(self._store, f"{self._prefix}{prefix}/", self._local)

    async def put(self, name: str, data: bytes | Path) -> None:
        """Writes an object, replacing what was there."""
        with _unusable("write"):
            await self._store.put_async(self._prefix + name, data)
            if self._local is not None:
                await asyncio.to_thread(_sync, self._local / (self._prefix + name))
        failpoint("artifacts.object.written")

    async def get(self, name: str) -> bytes | None:
        """Reads an object; None when there is none."""
        with _unusable("read"):
            try:
                result = await self._store.get_async(self._prefix + name)
                return bytes(await result.bytes_async())
            except (NotFoundError, FileNotFoundError):
                return None

    async def size(self, name: str) -> int | None:
        """Bytes of an object; None when there is none."""
        with _unusable("read"):
            try:
                return int((await self._store.head_async(self._prefix + name))["size"])
            except (NotFoundError, FileNotFoundError):
                return None

    async def get_range(self, name: str, start: int, end: int) -> bytes:
        """Bytes [start, end) of an object that is there."""
        with _unusable("read"):
            return bytes(
                await self._store.get_range_async(self._prefix + name, start=start, end=end)
            )

    async def stream(
        self, name: str, start: int, end: int, chunk_bytes: int = SETTINGS.stream_chunk_bytes
    ) -> AsyncIterator[bytes]:
        """Bytes [start, end) of an object that is there, in chunks: a big file never stands in memory."""
        for place in range(start, end, chunk_bytes):
            yield await self.get_range(name, place, min(place + chunk_bytes, end))

    async def delete(self, name: str) -> None:
        """Removes an object; one that is not there is fine."""
        with _unusable("delete"):
            try:
                await self._store.delete_async(self._prefix + name)
            except (NotFoundError, FileNotFoundError):
                return


@contextmanager
def _unusable(what: str) -> Iterator[None]:
    try:
        yield
    except (BaseError, OSError) as error:
        raise StoreUnusable(
            f"the artifact store could not {what}: {error}; look at --artifacts-url and its credentials"
        ) from error


def _sync(path: Path) -> None:
    for place, flags in ((path, os.O_RDONLY), (path.parent, os.O_RDONLY | os.O_DIRECTORY)):
        descriptor = os.open(place, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
