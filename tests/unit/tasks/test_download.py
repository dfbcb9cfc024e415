"""Downloads: resumed, bounded, measured, verified; and what is left on disk after each way to fail."""

import asyncio
import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from device_agent.tasks import download
from device_agent.tasks.director import Scope
from device_agent.tasks.download import Credentials, Downloader, Wanted
from device_agent.tasks.settings import DownloadSettings
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
)
from tests.helpers.memory_fetcher import Answer, Ask, MemoryFetcher

CONTENT = bytes(range(256)) * 40
DIGEST = hashlib.sha256(CONTENT).hexdigest()
SETTINGS = DownloadSettings(chunk_bytes=1000, attempts=3)
QUOTA = 1 << 30


class TickingClock:
    """Goes on by a fixed step at each look."""

    def __init__(self, step_ms: int = 0) -> None:
        self.now_ns = 0
        self.step_ms = step_ms

    def wall_ms(self) -> int:
        return self.now_ns // 1_000_000

    def monotonic_ns(self) -> int:
        self.now_ns += self.step_ms * 1_000_000
        return self.now_ns


class Device:
    """A downloader over a function that answers, and the waits that it asked for."""

    def __init__(
        self,
        folder: Path,
        answer: Callable[[Ask], Answer],
        *,
        clock: TickingClock | None = None,
        credentials: Credentials | None = None,
        settings: DownloadSettings = SETTINGS,
    ) -> None:
        self.fetcher = MemoryFetcher(answer)
        self.waits: list[float] = []
        self.folder = folder
        self.downloader = Downloader(
            self.fetcher,
            clock or TickingClock(),
            Random(1),
            credentials=credentials,
            settings=settings,
            wait=self.wait,
        )

    async def wait(self, seconds: float) -> None:
        self.waits.append(seconds)

    def wanted(
        self, name: str = "file", scope: Scope = Scope.SHARED, size: int = len(CONTENT)
    ) -> Wanted:
        return Wanted(
            digest=f"sha256:{DIGEST}", size=size, scope=scope, destination=self.folder / name
        )

    async def fetch(self, *wanted: Wanted, quota_bytes: int = QUOTA) -> None:
        await self.downloader.fetch(wanted or (self.wanted(),), quota_bytes=quota_bytes)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


def serve(ask: Ask, content: bytes = CONTENT) -> Answer:
    """A server with ranges."""
    span = ask.headers.get("range")
    if span is None:
        return Answer(200, content, {"Content-Length": str(len(content))})
    start = int(span.removeprefix("bytes=").rstrip("-"))
    if start >= len(content):
        return Answer(416, headers={"Content-Range": f"bytes */{len(content)}"})
    total = len(content)
    return Answer(206, content[start:], {"Content-Range": f"bytes {start}-{total - 1}/{total}"})


async def test_a_file_arrives_and_nothing_else_is_left(tmp_path: Path) -> None:
    device = Device(tmp_path, serve)
    await device.fetch()
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert device.names() == ["file"]
    assert device.fetcher.asked[0].path == f"/v1/files/{DIGEST}"


async def test_a_file_that_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    device = Device(tmp_path, serve)
    await device.fetch()
    await device.fetch(quota_bytes=0)
    assert len(device.fetcher.asked) == 1


async def test_a_file_with_another_content_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * len(CONTENT))
    await Device(tmp_path, serve).fetch()
    assert (tmp_path / "file").read_bytes() == CONTENT


async def test_an_empty_file_needs_no_request(tmp_path: Path) -> None:
    device = Device(tmp_path, serve)
    empty = hashlib.sha256(b"").hexdigest()
    wanted = Wanted(
        digest=f"sha256:{empty}", size=0, scope=Scope.SHARED, destination=tmp_path / "empty"
    )
    await device.fetch(wanted)
    await device.fetch(wanted)
    assert device.names() == ["empty"]
    assert not device.fetcher.asked


async def test_many_files_are_fetched_together_within_the_bound(tmp_path: Path) -> None:
    together, most, lock = 0, 0, threading.Lock()
    enough = threading.Barrier(SETTINGS.concurrency)

    def answer(ask: Ask) -> Answer:
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
        enough.wait(timeout=5)
        with lock:
            together -= 1
        return serve(ask)

    device = Device(tmp_path, answer)
    await device.fetch(*(device.wanted(f"f{n}") for n in range(2 * SETTINGS.concurrency)))
    assert most == SETTINGS.concurrency
    assert len(device.names()) == 2 * SETTINGS.concurrency


async def test_a_broken_body_is_resumed_where_it_broke(tmp_path: Path) -> None:
    def answer(ask: Ask) -> Answer:
        if "range" in ask.headers:
            assert ask.headers["if-range"] == f'"{DIGEST}"'
            return serve(ask)
        return Answer(200, [CONTENT[:3000], LinkBroken("cut")])

    device = Device(tmp_path, answer)
    await device.fetch()
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert device.fetcher.asked[1].headers["range"] == "bytes=3000-"
    assert len(device.waits) == 1


async def test_a_part_of_an_earlier_life_is_resumed(tmp_path: Path) -> None:
    device = Device(tmp_path, serve)
    (tmp_path / "file.part").write_bytes(CONTENT[:5000])
    await device.fetch(quota_bytes=len(CONTENT) - 5000)
    assert device.fetcher.asked[0].headers["range"] == "bytes=5000-"
    assert device.names() == ["file"]


async def test_a_complete_part_needs_no_request(tmp_path: Path) -> None:
    device = Device(tmp_path, serve)
    (tmp_path / "file.part").write_bytes(CONTENT)
    await device.fetch()
    assert not device.fetcher.asked


@pytest.mark.parametrize("part", [b"wrong" * 100, CONTENT + b"more", b"y" * len(CONTENT)])
async def test_a_part_that_does_not_fit_is_fetched_anew(tmp_path: Path, part: bytes) -> None:
    device = Device(tmp_path, serve)
    (tmp_path / "file.part").write_bytes(part)
    await device.fetch()
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "wrong",
    [
        Answer(200, CONTENT),
        Answer(206, CONTENT, {"Content-Range": f"bytes 0-9/{len(CONTENT)}"}),
        Answer(206, CONTENT[500:], {"Content-Range": "bytes 500-999/1000"}),
        Answer(206, CONTENT[500:], {"Content-Range": "nonsense"}),
        Answer(416),
    ],
)
async def test_a_server_that_does_not_resume_starts_anew(tmp_path: Path, wrong: Answer) -> None:
    device = Device(tmp_path, lambda ask: wrong if "range" in ask.headers else serve(ask))
    (tmp_path / "file.part").write_bytes(CONTENT[:500])
    await device.fetch()
    assert (tmp_path / "file").read_bytes() == CONTENT


async def test_a_flipped_bit_is_noticed_and_the_file_deleted(tmp_path: Path) -> None:
    flipped = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]
    device = Device(tmp_path, lambda ask: serve(ask, flipped))
    with pytest.raises(FileDamaged):
        await device.fetch()
    assert device.names() == []
    assert not device.waits


async def test_a_long_file_is_cut(tmp_path: Path) -> None:
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 100
            yield b"x" * 100

    device = Device(tmp_path, lambda _: Answer(200, endless()))
    with pytest.raises(FileTooLong):
        await device.fetch()
    assert read <= len(CONTENT) + 100
    assert device.names() == []


async def test_a_declared_length_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    device = Device(
        tmp_path, lambda _: Answer(200, [AssertionError("read")], {"Content-Length": "99999999"})
    )
    with pytest.raises(FileTooLong):
        await device.fetch()
    assert device.names() == []


async def test_a_truncated_file_is_given_up_and_deleted(tmp_path: Path) -> None:
    device = Device(tmp_path, lambda ask: serve(ask, CONTENT[:7000]))
    with pytest.raises(FileTruncated):
        await device.fetch()
    assert device.names() == []
    assert len(device.fetcher.asked) <= 2 * SETTINGS.attempts


async def test_a_body_slower_than_the_least_throughput_is_given_up(tmp_path: Path) -> None:
    settings = DownloadSettings(chunk_bytes=1000, attempts=2, throughput_window_ms=10_000)
    device = Device(
        tmp_path,
        lambda _: Answer(200, (bytes([byte]) for byte in CONTENT)),
        clock=TickingClock(step_ms=1000),
        settings=settings,
    )
    with pytest.raises(DownloadSlow):
        await device.fetch()
    assert "file" not in device.names()


async def test_a_link_that_stays_down_is_given_up_after_growing_waits(tmp_path: Path) -> None:
    def down(ask: Ask) -> Answer:
        raise LinkBroken(ask.path)

    device = Device(tmp_path, down, settings=DownloadSettings(attempts=4))
    with pytest.raises(DownloadFailed):
        await device.fetch()
    assert len(device.waits) == 3
    assert 0.25 <= device.waits[0] <= 0.5 < device.waits[2] <= 2.0
    assert device.names() == []


async def test_what_arrived_over_a_broken_link_is_kept(tmp_path: Path) -> None:
    healthy = False

    def flaky(ask: Ask) -> Answer:
        if healthy:
            return serve(ask)
        if "range" in ask.headers:
            raise LinkBroken("down")
        return Answer(200, [CONTENT[:2000], LinkBroken("cut")])

    device = Device(tmp_path, flaky)
    with pytest.raises(DownloadFailed):
        await device.fetch()
    assert (tmp_path / "file.part").read_bytes() == CONTENT[:2000]
    healthy = True
    await device.fetch()
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, FileMissing),
        (410, FileMissing),
        (401, TicketInvalid),
        (403, TicketInvalid),
        (500, DownloadFailed),
        (302, DownloadFailed),
    ],
)
async def test_a_refusal_has_its_name_and_leaves_nothing(
    tmp_path: Path, status: int, error: type[Exception]
) -> None:
    device = Device(tmp_path, lambda _: Answer(status, b"no"))
    with pytest.raises(error):
        await device.fetch()
    assert device.names() == []


async def test_files_beyond_the_quota_are_not_begun(tmp_path: Path) -> None:
    device = Device(tmp_path, serve)
    with pytest.raises(DiskQuota):
        await device.fetch(quota_bytes=len(CONTENT) - 1)
    assert not device.fetcher.asked
    assert device.names() == []


async def test_files_beyond_the_disk_are_not_begun(tmp_path: Path) -> None:
    reserve = DownloadSettings(disk_reserve_bytes=shutil.disk_usage(tmp_path).total)
    device = Device(tmp_path, serve, settings=reserve)
    with pytest.raises(DiskQuota):
        await device.fetch()
    assert not device.fetcher.asked


async def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    device = Device(tmp_path, serve)
    (tmp_path / "taken.part").mkdir()
    with pytest.raises(DownloadFailed, match="could not be written"):
        await device.fetch(device.wanted("taken"))


async def test_exclusive_files_are_asked_for_with_credentials(tmp_path: Path) -> None:
    async def credentials(digest: str) -> dict[str, str]:
        return {"shoal-ticket": f"for {digest}"}

    device = Device(tmp_path, serve, credentials=credentials)
    await device.fetch(device.wanted(scope=Scope.EXCLUSIVE))
    assert device.fetcher.asked[0].path == f"/v1/exclusive/{DIGEST}"
    assert device.fetcher.asked[0].headers["shoal-ticket"] == f"for sha256:{DIGEST}"
    bare = Device(tmp_path, serve)
    with pytest.raises(TicketInvalid):
        await bare.fetch(bare.wanted("other", Scope.EXCLUSIVE))


async def test_a_stopped_download_stops_reading_and_keeps_its_part(tmp_path: Path) -> None:
    reading, go_on = threading.Event(), threading.Event()

    def slow() -> Iterator[bytes]:
        yield CONTENT[:1000]
        reading.set()
        assert go_on.wait(timeout=5)
        yield CONTENT[1000:2000]
        raise AssertionError("read on after the stop")

    device = Device(tmp_path, lambda _: Answer(200, slow()))
    task = asyncio.create_task(device.fetch())
    await asyncio.to_thread(reading.wait, 5)
    task.cancel()
    asyncio.get_running_loop().call_soon(go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert device.names() == ["file.part"]


def test_the_part_stands_beside_the_file() -> None:
    wanted = Wanted(
        digest=f"sha256:{DIGEST}", size=1, scope=Scope.SHARED, destination=Path("/x/a.bin")
    )
    assert wanted.part == Path("/x/a.bin" + download.PART_SUFFIX)
