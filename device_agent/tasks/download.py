"""Files by digest: resumed, bounded, measured, and verified before they get their name.

Rules of this module:

- D1 Nothing is fetched that would not fit: quota and disk are looked at first.
- D2 A file grows in `<destination>.part` and is resumed from there; only a file whose digest and length are the signed
  ones is renamed, after it and before its folder are synced.
- D3 A body that goes on past the signed length is cut at once; one slower than the least throughput is given up.
- D4 What was refused is deleted, and nothing else on disk changes. What merely broke off is kept to resume from.
- D5 Attempts are bounded, with growing, jittered waits; only getting further than ever before starts the count anew.
"""

import asyncio
import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import BinaryIO, Final

from device_agent.clock import Clock
from device_agent.failpoint import failpoint
from device_agent.tasks.director import Scope
from device_agent.tasks.fetch import Body, Fetcher, Headers
from device_agent.tasks.names import digest_hex
from device_agent.tasks.settings import DOWNLOAD, DownloadSettings
from device_agent.tasks.trust_errors import (
    DiskQuota,
    DownloadFailed,
    DownloadSlow,
    FileDamaged,
    FileMissing,
    FileTooLong,
    FileTruncated,
    LinkBroken,
    TicketInvalid,
    TrustError,
)

PART_SUFFIX: Final = ".part"
NUMBER_CHARS_MAX: Final = 19  # of 64 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A file to fetch.

    Attributes:
        digest: "sha256:" and 64 hex digits, as signed.
        size: Bytes, as signed.
        scope: Exclusive files need the credentials that the Downloader was given.
        destination: Final name; its folder exists.
    """

    digest: str
    size: int
    scope: Scope
    destination: Path

    @property
    def part(self) -> Path:
        """Where the file grows."""
        return self.destination.with_name(self.destination.name + PART_SUFFIX)

    @property
    def url(self) -> str:
        """Path on the cloud's HTTPS face."""
        kind = "exclusive" if self.scope is Scope.EXCLUSIVE else "files"
        return f"/v1/{kind}/{digest_hex(self.digest)}"


type Credentials = Callable[[str], Awaitable[Headers]]
"""Gives the headers (ticket and proof) that open the exclusive file of a digest."""


class Downloader:
    """Fetches files, several at a time."""

    def __init__(
        self,
        fetcher: Fetcher,
        clock: Clock,
        random: Random,
        *,
        credentials: Credentials | None = None,
        settings: DownloadSettings = DOWNLOAD,
        wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._random = random
        self._credentials = credentials
        self._settings = settings
        self._wait = wait
        self._free = asyncio.Semaphore(settings.concurrency)

    async def fetch(self, wanted: Sequence[Wanted], *, quota_bytes: int) -> None:
        """Fetches all files, or raises; those that are there already are not fetched again.

        Raises:
            DiskQuota: they do not fit; nothing was fetched.
            FileDamaged, FileTooLong, FileTruncated, FileMissing, TicketInvalid: the first file that was refused.
            DownloadSlow, DownloadFailed: the link did not allow it; a later call resumes.
        """
        files = {one.destination: one for one in wanted}.values()
        missing = await asyncio.to_thread(_missing, files)
        self._check_room(missing, quota_bytes)  # D1
        try:
            async with asyncio.TaskGroup() as group:
                for one in missing:
                    group.create_task(self._fetch_one(one))
        except* TrustError as errors:
            first = _first(errors)
        else:
            return
        raise first

    def _check_room(self, missing: Sequence[Wanted], quota_bytes: int) -> None:
        if not missing:
            return
        needed = sum(one.size for one in missing) - sum(_size(one.part) for one in missing)
        if needed > quota_bytes:
            raise DiskQuota(
                f"{needed} bytes do not fit the {quota_bytes} left of the device's quota"
            )
        free = shutil.disk_usage(missing[0].destination.parent).free
        if needed + self._settings.disk_reserve_bytes > free:
            raise DiskQuota(f"{needed} bytes do not fit a disk with {free} free; make room")

    async def _fetch_one(self, one: Wanted) -> None:
        failures, furthest = 0, _size(one.part)
        reason: TrustError | None = None
        while True:
            try:
                async with self._free:
                    await self._in_thread(one, await self._headers(one))
                return
            except (LinkBroken, FileTruncated, DownloadSlow, _FileStale) as error:
                # A stale part is how an attempt begins anew; what made it stale says more.
                reason = reason if isinstance(error, _FileStale) and reason else error
                reached = _size(one.part)
                progress = reached >= furthest + self._settings.chunk_bytes
                furthest = max(furthest, reached)
                failures = 1 if progress else failures + 1  # D5
                if failures >= self._settings.attempts:
                    raise _final(reason, one) from error
            await self._wait(self._backoff_ms(failures) / 1000)

    async def _headers(self, one: Wanted) -> Headers:
        if one.scope is not Scope.EXCLUSIVE:
            return {}
        if self._credentials is None:
            raise TicketInvalid("this agent has nothing to open exclusive files with")
        return await self._credentials(one.digest)

    async def _in_thread(self, one: Wanted, headers: Headers) -> None:
        """Runs an attempt in a thread; when cancelled, waits for it, so that no two ever write one file."""
        stop = threading.Event()
        attempt = asyncio.ensure_future(asyncio.to_thread(self._attempt, one, headers, stop))
        try:
            await asyncio.shield(attempt)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait([attempt])
            attempt.exception()
            raise

    def _backoff_ms(self, failures: int) -> float:
        settings = self._settings
        full: float = min(settings.backoff_first_ms * 2 ** (failures - 1), settings.backoff_ms_max)
        return full * self._random.uniform(0.5, 1.0)

    # --- below: in a thread -------------------------------------------------------------------------------------

    def _attempt(self, one: Wanted, headers: Headers, stop: threading.Event) -> None:
        with _named_errors(one), one.part.open("ab+") as file:
            hasher = hashlib.sha256()
            resumed = _resume(file, hasher, one.size)
            if resumed < one.size:
                self._receive(one, headers, file, hasher, stop)
            file.flush()
            os.fsync(file.fileno())
        failpoint("download.part.synced")
        if f"sha256:{hasher.hexdigest()}" != one.digest:
            one.part.unlink()  # D4
            if resumed:
                raise _FileStale("what was resumed from did not fit; the file is fetched anew")
            raise FileDamaged(f"{one.url}: the content is not what was signed; it was deleted")
        one.part.rename(one.destination)  # D2
        _sync_folder(one.destination.parent)
        failpoint("download.file.renamed")

    def _receive(
        self,
        one: Wanted,
        headers: Headers,
        file: BinaryIO,
        hasher: "hashlib._Hash",
        stop: threading.Event,
    ) -> None:
        """Appends what is missing."""
        offset = file.tell()
        asked = dict(headers)
        if offset:
            asked |= {"range": f"bytes={offset}-", "if-range": f'"{digest_hex(one.digest)}"'}
        with self._fetcher.request("GET", one.url, headers=asked) as body:
            if not _check_answer(one, body, offset):
                raise _FileStale("the server started from the beginning")
            pace = _Pace(self._clock, self._settings)
            while data := body.read(min(self._settings.chunk_bytes, one.size - offset + 1)):
                offset += len(data)
                if offset > one.size:  # D3
                    one.part.unlink()
                    raise FileTooLong(
                        f"{one.url}: more than the signed {one.size} bytes; it was deleted"
                    )
                file.write(data)
                hasher.update(data)
                pace.received(len(data))
                if stop.is_set():
                    raise LinkBroken("the download was stopped")
        if offset < one.size:
            raise FileTruncated(f"{one.url}: ended after {offset} of {one.size} bytes")


@contextmanager
def _named_errors(one: Wanted) -> Iterator[None]:
    """What the disk does wrong gets a name, and an attempt that brought nothing leaves nothing."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise (DiskQuota if full else DownloadFailed)(
            f"{one.destination.name} could not be written: {error}; make room or mend the disk"
        ) from error
    finally:
        if one.size and not _size(one.part):
            one.part.unlink(missing_ok=True)


class _FileStale(DownloadFailed):
    """The partial file is of no use; the next attempt starts from nothing."""


class _Pace:
    """Throughput over windows (D3)."""

    def __init__(self, clock: Clock, settings: DownloadSettings) -> None:
        self._clock = clock
        self._settings = settings
        self._start_ns = clock.monotonic_ns()
        self._bytes = 0

    def received(self, count: int) -> None:
        self._bytes += count
        elapsed_ms = (self._clock.monotonic_ns() - self._start_ns) // 1_000_000
        if elapsed_ms < self._settings.throughput_window_ms:
            return
        if self._bytes * 1000 < self._settings.throughput_bytes_s_min * elapsed_ms:
            raise DownloadSlow(
                f"{self._bytes} bytes in {elapsed_ms} ms are under "
                f"{self._settings.throughput_bytes_s_min} a second; it is tried again later"
            )
        self._start_ns, self._bytes = self._clock.monotonic_ns(), 0


def _check_answer(one: Wanted, body: Body, offset: int) -> bool:
    """Whether the body goes on at `offset`; raises when there is no body to use."""
    status = body.status
    if status == 206 and offset:
        start, total = _content_range(body.headers.get("content-range", ""))
        if start == offset and total == one.size:
            return True
    if status == 200 and not offset:
        declared = body.headers.get("content-length", "")
        if _number(declared) > one.size:
            one.part.unlink()
            raise FileTooLong(f"{one.url}: {declared} bytes are offered, {one.size} were signed")
        return True
    if status in (200, 206, 416):
        one.part.unlink()
        return False
    if status in (401, 403):
        raise TicketInvalid(f"{one.url}: the cloud refused (status {status}); ask for a new ticket")
    if status in (404, 410):
        raise FileMissing(
            f"{one.url}: the cloud does not have this file; publish the version again"
        )
    raise LinkBroken(f"{one.url}: status {status}")


def _content_range(text: str) -> tuple[int, int]:
    """Start and total of "bytes 5-9/10"; (-1, -1) when it is anything else."""
    unit, _, rest = text.partition(" ")
    span, _, total = rest.partition("/")
    if unit != "bytes":
        return -1, -1
    return _number(span.partition("-")[0]), _number(total)


def _number(text: str) -> int:
    """A count of bytes; -1 when it is none, or longer than any."""
    return int(text) if text.isdecimal() and len(text) <= NUMBER_CHARS_MAX else -1


def _resume(file: BinaryIO, hasher: "hashlib._Hash", size: int) -> int:
    """Hashes what is there; a part that is too long is emptied."""
    file.seek(0)
    if _size(Path(file.name)) > size:
        file.truncate()
    while data := file.read(1 << 20):
        hasher.update(data)
    return file.tell()


def _final(error: TrustError, one: Wanted) -> TrustError:
    """What a file ends with when its attempts are used up."""
    if isinstance(error, FileTruncated):
        one.part.unlink(missing_ok=True)  # D4
        return error
    return error if isinstance(error, DownloadSlow) else DownloadFailed(f"{one.url}: {error}")


def _missing(files: Iterable[Wanted]) -> list[Wanted]:
    return [one for one in files if not _is_there(one)]


def _is_there(one: Wanted) -> bool:
    if _size(one.destination) != one.size or not one.destination.exists():
        return False
    with one.destination.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" == one.digest


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _first(group: BaseExceptionGroup[TrustError]) -> TrustError:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
