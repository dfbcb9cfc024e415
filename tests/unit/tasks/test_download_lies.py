"""A server that lies, breaks off and stalls as it likes, seeded: the file is the signed one or is not there."""

import asyncio
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from device_agent.clock import SystemClock
from device_agent.tasks.director import Scope
from device_agent.tasks.download import Downloader, Wanted, _content_range, _number
from device_agent.tasks.settings import DownloadSettings
from device_agent.tasks.trust_errors import LinkBroken, TrustError
from tests.helpers.memory_fetcher import Answer, Ask, MemoryFetcher

CONTENT = bytes(Random(1).randbytes(3_000))
DIGEST = hashlib.sha256(CONTENT).hexdigest()
SETTINGS = DownloadSettings(chunk_bytes=500, attempts=4)
QUOTA = 1 << 20
NUMBERS = ["", "0", "12", "-1", "9" * 19, "9" * 5_000, "٣", "1_0", "0x10", " 5", "1e3"]


class Liar:
    """Answers each request with one of the ways to be wrong, or rightly."""

    def __init__(self, seed: int, honesty: float) -> None:
        self.random = Random(seed)
        self.honesty = honesty

    def __call__(self, ask: Ask) -> Answer:
        start = (
            int(ask.headers["range"].removeprefix("bytes=").rstrip("-"))
            if "range" in ask.headers
            else 0
        )
        if self.random.random() < self.honesty:
            return self.right(start)
        return self.random.choice(
            [
                self.cut,
                self.flipped,
                self.long,
                self.restarted,
                self.odd_range,
                self.refused,
                self.length,
            ]
        )(start)

    def right(self, start: int) -> Answer:
        headers = {"content-range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"}
        return Answer(206 if start else 200, self.pieces(CONTENT[start:]), headers if start else {})

    def pieces(self, data: bytes) -> Iterator[bytes | Exception]:
        while data:
            size = self.random.randint(1, 900)
            yield data[:size]
            data = data[size:]

    def cut(self, start: int) -> Answer:
        right = self.right(start)
        end = self.random.randint(0, len(CONTENT) - start)
        parts: list[bytes | Exception] = [*self.pieces(CONTENT[start : start + end])]
        if self.random.random() < 0.5:
            parts.append(LinkBroken("cut"))
        return Answer(right.status, parts, right.headers)

    def flipped(self, start: int) -> Answer:
        wrong = bytearray(CONTENT[start:])
        if wrong:
            wrong[self.random.randrange(len(wrong))] ^= 1
        right = self.right(start)
        return Answer(right.status, self.pieces(bytes(wrong)), right.headers)

    def long(self, start: int) -> Answer:
        right = self.right(start)
        return Answer(right.status, self.pieces(CONTENT[start:] + b"more"), right.headers)

    def restarted(self, start: int) -> Answer:
        del start
        return self.right(0)

    def odd_range(self, start: int) -> Answer:
        odd = self.random.choice(NUMBERS)
        text = self.random.choice(
            [f"bytes {odd}-/3000", f"bytes {start}-9/{odd}", odd, "bits 0-1/2", "bytes */9"]
        )
        return Answer(206, self.pieces(CONTENT[start:]), {"content-range": text})

    def length(self, start: int) -> Answer:
        right = self.right(start)
        return Answer(
            right.status,
            right.body,
            right.headers | {"content-length": self.random.choice(NUMBERS)},
        )

    def refused(self, start: int) -> Answer:
        del start
        return Answer(self.random.choice([204, 302, 416, 429, 500, 503]), b"no")


async def no_wait(_: float) -> None:
    return


async def fetch(folder: Path, server: Liar) -> str:
    """One call of the agent's; the code that it ends with."""
    downloader = Downloader(
        MemoryFetcher(server), SystemClock(), Random(1), settings=SETTINGS, wait=no_wait
    )
    wanted = Wanted(
        digest=f"sha256:{DIGEST}",
        size=len(CONTENT),
        scope=Scope.SHARED,
        destination=folder / "file",
    )
    try:
        await downloader.fetch([wanted], quota_bytes=QUOTA)
    except TrustError as error:
        return error.code
    return ""


@pytest.mark.slow
@hypothesis_settings(max_examples=60)
@given(seed=st.integers(0, 2**32), honesty=st.sampled_from([0.0, 0.3, 0.7]))
def test_a_file_is_the_signed_one_or_absent_and_an_honest_server_ends_it(
    seed: int, honesty: float
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "other").write_text("of somebody else")
        liar = Liar(seed, honesty)
        for _ in range(3):
            code = asyncio.run(fetch(folder, liar))
            there = folder / "file"
            assert there.exists() == (code == "")
            assert not there.exists() or there.read_bytes() == CONTENT
            assert {path.name for path in folder.iterdir()} <= {"file", "file.part", "other"}
        assert asyncio.run(fetch(folder, Liar(seed, 1.0))) == ""
        assert (folder / "file").read_bytes() == CONTENT
        assert sorted(path.name for path in folder.iterdir()) == ["file", "other"]
        assert (folder / "other").read_text() == "of somebody else"


@pytest.mark.parametrize("text", NUMBERS)
def test_a_number_in_a_header_is_one_or_none(text: str) -> None:
    plain = text.isdecimal() and len(text) < 20
    assert _number(text) == (int(text) if plain else -1)
    assert _content_range(f"bytes {text}-9/10")[0] == _number(text)


@given(st.text(max_size=40))
def test_any_range_is_read_or_none(text: str) -> None:
    start, total = _content_range(text)
    assert start >= -1
    assert total >= -1
