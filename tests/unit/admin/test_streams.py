import asyncio
import json
from collections.abc import AsyncIterator, Iterable

import pytest

from cloud.admin.errors import NotReady, Unauthenticated
from cloud.admin.rest.streams import HEARTBEAT, RETRY, EventStreams, Shared, Shown, shown_of
from cloud.admin.settings import AdminSettings
from device_agent.clock import SystemClock
from tests.helpers.manual_clock import ManualClock

FAST = AdminSettings(sse_poll_ms=2, sse_heartbeat_ms=6, sse_streams_max=2)
WAIT_S = 5


class Board:
    """What a stream looks at; a test changes it."""

    def __init__(self) -> None:
        self.shown: dict[str, int] = {}
        self.looks = 0

    async def look(self) -> Iterable[Shown]:
        self.looks += 1
        return [shown_of("release", key, {"n": n}) for key, n in self.shown.items()]


async def nothing_to_say() -> None:
    return


async def next_event(stream: AsyncIterator[bytes]) -> dict[str, str]:
    async with asyncio.timeout(WAIT_S):
        async for chunk in stream:
            if chunk not in (HEARTBEAT, RETRY):
                lines = chunk.decode().strip().splitlines()
                return dict(line.split(": ", 1) for line in lines)
    raise AssertionError("the stream ended")


def open_stream(streams: EventStreams, board: Board) -> AsyncIterator[bytes]:
    streams.admit()
    return streams.stream(streams.shared("demo/app", board.look), nothing_to_say)


async def test_a_stream_begins_with_all_and_then_sends_what_changes() -> None:
    board, streams = Board(), EventStreams(FAST, SystemClock())
    board.shown = {"r1": 1, "r2": 1}
    stream = open_stream(streams, board)
    first = [await next_event(stream), await next_event(stream)]
    assert [json.loads(event["data"]) for event in first] == [{"n": 1}, {"n": 1}]
    board.shown["r2"] = 2
    changed = await next_event(stream)
    assert json.loads(changed["data"]) == {"n": 2}
    assert changed["id"] == "3"


async def test_a_reconnect_begins_again_with_all() -> None:
    board, streams = Board(), EventStreams(FAST, SystemClock())
    board.shown = {"r1": 7}
    for _ in range(2):
        assert json.loads((await next_event(open_stream(streams, board)))["data"]) == {"n": 7}


async def test_silence_is_filled_by_heartbeats_and_the_token_is_checked_there() -> None:
    checked = asyncio.Event()

    async def revoked() -> None:
        checked.set()
        raise Unauthenticated("revoked")

    board, streams = Board(), EventStreams(FAST, SystemClock())
    stream = streams.stream(streams.shared("demo/app", board.look), revoked)
    async with asyncio.timeout(WAIT_S):
        chunks = [chunk async for chunk in stream]
    assert checked.is_set()
    assert b"UNAUTHENTICATED" in chunks[-1]


async def test_streams_are_bounded() -> None:
    board, streams = Board(), EventStreams(FAST, SystemClock())
    board.shown = {"r1": 1}
    stream_a, stream_b = open_stream(streams, board), open_stream(streams, board)
    await next_event(stream_a)
    await next_event(stream_b)
    with pytest.raises(NotReady, match="too many"):
        streams.admit()


async def test_closing_ends_every_stream() -> None:
    board, streams = Board(), EventStreams(FAST, SystemClock())
    board.shown = {"r1": 1}
    stream = open_stream(streams, board)
    await next_event(stream)
    streams.close()
    async with asyncio.timeout(WAIT_S):
        assert [chunk async for chunk in stream] == []


async def test_readers_share_a_look() -> None:
    slow = AdminSettings(sse_poll_ms=60_000)
    board, streams = Board(), EventStreams(slow, SystemClock())
    board.shown = {"r1": 1}
    for _ in range(2):
        await next_event(open_stream(streams, board))
    assert board.looks == 1


async def test_a_dear_look_is_taken_rarely_and_shared() -> None:
    clock, looks = ManualClock(), 0

    async def look() -> int:
        nonlocal looks
        looks += 1
        clock.advance_ms(300)  # what counting a big fleet takes
        return looks

    shared = Shared(look, 250, 20, clock)
    assert await asyncio.gather(*(shared() for _ in range(5))) == [1] * 5
    clock.advance_ms(250)
    assert await shared() == 2, "one slow look says nothing yet"
    clock.advance_ms(5_999)
    assert await asyncio.gather(*(shared() for _ in range(5))) == [2] * 5
    clock.advance_ms(1)
    assert await shared() == 3


async def test_one_slow_look_among_quick_ones_does_not_make_what_is_shown_old() -> None:
    clock, looks, took_ms = ManualClock(), 0, [1, 1, 3_000, 1]

    async def look() -> int:
        nonlocal looks
        looks += 1
        clock.advance_ms(took_ms[looks - 1])
        return looks

    shared = Shared(look, 250, 20, clock)
    seen = []
    for _ in took_ms:
        seen.append(await shared())
        clock.advance_ms(250)
    assert seen == [1, 2, 3, 4]


async def test_a_cheap_look_is_as_fresh_as_the_interval() -> None:
    clock, looks = ManualClock(), 0

    async def look() -> int:
        nonlocal looks
        looks += 1
        return looks

    shared = Shared(look, 250, 20, clock)
    seen = []
    for _ in range(4):
        seen.append(await shared())
        clock.advance_ms(125)
    assert seen == [1, 1, 2, 2]


async def test_a_look_that_fails_is_taken_again_at_once() -> None:
    async def look() -> int:
        raise NotReady("away")

    shared = Shared(look, 250, 20, ManualClock())
    for _ in range(2):
        with pytest.raises(NotReady):
            await shared()
