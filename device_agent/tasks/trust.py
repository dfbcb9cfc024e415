"""What signed metadata says of files and of the director's keys, with python-tuf's client.

Rules of this module:

- Trust starts from the root that came with enrolment, never from a file on disk alone.
- Time is handed in: expiry is judged by the agent's trusted clock.
- Only metadata and the director's keys are fetched here; files come by download.py, which resumes and measures.
- tuf keeps what it has verified in `folder`, for rollback protection across restarts; nothing unverified is stored.
- Everything blocking runs in a thread, one at a time for a folder. Errors of tuf leave as the named errors of
  trust_errors.py.
"""

import asyncio
import datetime as dt
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from tuf.api import exceptions
from tuf.api.metadata import TargetFile
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from device_agent.clock import Clock, SystemClock
from device_agent.failpoint import failpoint
from device_agent.tasks.fetch import Fetcher
from device_agent.tasks.settings import TRUST, TrustSettings
from device_agent.tasks.trust_errors import (
    LinkBroken,
    MetadataExpired,
    MetadataInvalid,
    MetadataMismatch,
    MetadataRollback,
    MetadataTooLong,
    MetadataUnavailable,
    SignatureInvalid,
    TargetUnknown,
)
from device_agent.tasks.verify import DirectorKeys, TargetInfo

DIRECTOR_TARGET: Final = "shoal/keys/director"
_KEYS_FILE: Final = "director-keys.json"


class TrustStore:
    """Verified metadata of one cloud, as one device holds it."""

    def __init__(
        self,
        folder: Path,
        root: bytes,
        fetcher: Fetcher,
        settings: TrustSettings = TRUST,
        clock: Clock | None = None,
    ) -> None:
        """Touches neither disk nor network yet.

        Args:
            folder: Cache of verified metadata, for this object alone.
            root: TUF root of enrolment.
            fetcher: The cloud's HTTPS face.
            settings: Limits.
            clock: Measures how long a fetch takes; what time it is comes with each call.
        """
        self._folder = folder
        self._root = root
        self._fetcher = fetcher
        self._settings = settings
        self._clock = clock or SystemClock()
        self._updater: Updater | None = None
        self._refreshed_at_ms = 0
        self._lock = threading.Lock()

    async def refresh(self, now_ms: int) -> None:
        """Brings root, timestamp, snapshot and targets up to date.

        Raises:
            TrustError: SignatureInvalid, MetadataInvalid, MetadataExpired, MetadataRollback, MetadataMismatch or
                MetadataTooLong when what the repository serves is refused; MetadataUnavailable when it could not be
                fetched, or not stored.
        """
        await asyncio.to_thread(self._locked, self._refresh, now_ms)

    async def targets(self, paths: Iterable[str], now_ms: int) -> dict[str, TargetInfo]:
        """What the metadata says of some targets; refreshes once when one is not known yet.

        Raises:
            TargetUnknown: after the refresh, too, one is unknown.
        """
        wanted = tuple(paths)
        return await asyncio.to_thread(self._locked, self._targets, now_ms, wanted)

    async def director_keys(self, now_ms: int, *, refresh: bool = False) -> DirectorKeys:
        """The director's public keys by key id; those on disk unless metadata was refreshed since, or shall be now."""
        return await asyncio.to_thread(self._locked, self._director_keys, now_ms, refresh)

    # --- below: in a thread, under the lock ---------------------------------------------------------------------

    def _locked[**P, T](self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._lock, _named_errors():
            return work(*args, **kwargs)

    def _refresh(self, now_ms: int) -> Updater:
        self._updater = None
        self._folder.mkdir(parents=True, exist_ok=True)
        limits = self._settings
        config = UpdaterConfig(
            max_root_rotations=limits.root_rotations_max,
            max_delegations=limits.delegations_max,
            root_max_length=limits.root_bytes_max,
            timestamp_max_length=limits.timestamp_bytes_max,
            snapshot_max_length=limits.snapshot_bytes_max,
            targets_max_length=limits.targets_bytes_max,
        )
        updater = Updater(
            str(self._folder),
            "/tuf/metadata/",
            fetcher=_TufFetcher(self._fetcher, limits, self._clock),
            config=config,
            bootstrap=self._root,
        )
        _set_time(updater, now_ms)
        updater.refresh()
        failpoint("trust.metadata.refreshed")
        self._updater, self._refreshed_at_ms = updater, now_ms
        return updater

    def _targets(self, now_ms: int, paths: tuple[str, ...]) -> dict[str, TargetInfo]:
        updater = self._updater
        # A clock that was set back counts as long ago.
        known = (
            updater is not None and 0 <= now_ms - self._refreshed_at_ms < self._settings.fresh_ms
        )
        if updater is None or not known:
            updater = self._refresh(now_ms)
        _set_time(updater, now_ms)
        found = _lookup(updater, paths)
        if len(found) < len(set(paths)) and known:
            found = _lookup(self._refresh(now_ms), paths)
        if missing := [path for path in paths if path not in found]:
            raise TargetUnknown(
                f"{missing[0]} is not a target of this repository; was the version published?"
            )
        return found

    def _director_keys(self, now_ms: int, refresh: bool) -> DirectorKeys:
        path = self._folder / _KEYS_FILE
        if refresh:
            self._refresh(now_ms)
        known = path.read_bytes() if path.exists() else b""
        if self._updater is None and known:
            return _parse_keys(known)
        updater = self._updater or self._refresh(now_ms)
        target = updater.get_targetinfo(DIRECTOR_TARGET)
        if target is None:
            raise MetadataInvalid(f"the repository has no target {DIRECTOR_TARGET}")
        if hashlib.sha256(known).hexdigest() != target.hashes["sha256"]:
            known = self._fetch_keys(target)
            _replace(path, known)
        return _parse_keys(known)

    def _fetch_keys(self, target: TargetFile) -> bytes:
        if target.length > self._settings.director_keys_bytes_max:
            raise MetadataTooLong(f"{DIRECTOR_TARGET} is said to have {target.length} bytes")
        folder, _, name = DIRECTOR_TARGET.rpartition("/")
        url = f"/tuf/targets/{folder}/{target.hashes['sha256']}.{name}"
        fetcher = _TufFetcher(self._fetcher, self._settings, self._clock)
        data = fetcher.download_bytes(url, target.length)
        target.verify_length_and_hashes(data)
        return data


class _TufFetcher(FetcherInterface):
    """Speaks tuf's interface over ours; tuf bounds the length, this the time."""

    def __init__(self, fetcher: Fetcher, settings: TrustSettings, clock: Clock) -> None:
        self._fetcher = fetcher
        self._settings = settings
        self._clock = clock

    def _fetch(self, url: str) -> Iterator[bytes]:
        end_ns = self._clock.monotonic_ns() + self._settings.metadata_wall_ms * 1_000_000
        with self._fetcher.request("GET", url) as body:
            if body.status != 200:
                raise exceptions.DownloadHTTPError(f"{url}: status {body.status}", body.status)
            while data := body.read(self._settings.metadata_chunk_bytes):
                if self._clock.monotonic_ns() > end_ns:
                    raise exceptions.SlowRetrievalError(
                        f"{url} took longer than {self._settings.metadata_wall_ms} ms"
                    )
                yield data


def _set_time(updater: Updater, now_ms: int) -> None:
    # tuf fixes "now" when an Updater is made and has no public way to say otherwise; a device with a wrong system
    # clock runs on the cloud's time, so this attribute is set. tests/attacks would notice if tuf renamed it.
    trusted = updater._trusted_set
    assert hasattr(trusted, "reference_time"), "tuf has changed how it keeps time"
    trusted.reference_time = dt.datetime.fromtimestamp(now_ms / 1000, tz=dt.UTC)


def _lookup(updater: Updater, paths: Iterable[str]) -> dict[str, TargetInfo]:
    found = {path: updater.get_targetinfo(path) for path in dict.fromkeys(paths)}
    return {path: _describe(target) for path, target in found.items() if target is not None}


def _describe(target: TargetFile) -> TargetInfo:
    custom = target.custom if isinstance(target.custom, dict) else {}
    paths = custom.get("paths", [])
    if "sha256" not in target.hashes or not isinstance(paths, list):
        raise MetadataInvalid(
            f"{target.path}: its metadata lacks a digest or a place in the bundle"
        )
    return TargetInfo(
        path=target.path,
        length=target.length,
        sha256=target.hashes["sha256"],
        bundle_paths=tuple(str(path) for path in paths),
    )


def _parse_keys(data: bytes) -> DirectorKeys:
    try:
        return {
            keyid: Ed25519PublicKey.from_public_bytes(bytes.fromhex(key["keyval"]["public"]))
            for keyid, key in json.loads(data)["keys"].items()
            if key["keytype"] == "ed25519" and key["scheme"] == "ed25519"
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MetadataInvalid(f"{DIRECTOR_TARGET} cannot be read: {error}") from error


def _replace(path: Path, data: bytes) -> None:
    working = path.with_suffix(".new")
    with working.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    failpoint("trust.director_keys.written")
    working.replace(path)


@contextmanager
def _named_errors() -> Iterator[None]:
    """Errors of tuf as ours: by kind, the most special first."""
    try:
        yield
    except exceptions.UnsignedMetadataError as error:
        raise SignatureInvalid(f"metadata is not signed as it must be: {error}") from error
    except exceptions.ExpiredMetadataError as error:
        raise MetadataExpired(
            f"{error}; check the device's clock and the cloud's repository"
        ) from error
    except exceptions.BadVersionNumberError as error:
        raise MetadataRollback(f"older metadata than the device has seen: {error}") from error
    except exceptions.LengthOrHashMismatchError as error:
        raise MetadataMismatch(f"metadata of different states is mixed: {error}") from error
    except exceptions.RepositoryError as error:
        raise MetadataInvalid(f"metadata cannot be used: {error}") from error
    except exceptions.DownloadLengthMismatchError as error:
        raise MetadataTooLong(f"{error}; it was cut") from error
    except (exceptions.DownloadError, LinkBroken) as error:
        raise MetadataUnavailable(
            f"metadata could not be fetched: {error}; it is tried again"
        ) from error
    except OSError as error:
        raise MetadataUnavailable(
            f"metadata could not be stored: {error}; is the disk full?"
        ) from error
