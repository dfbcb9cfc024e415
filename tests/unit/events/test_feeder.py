"""Feeder and agent over a real Unix socket."""

import asyncio
import contextlib
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest
from shoal_task.event import Event

from device_agent.events import frames
from device_agent.events.errors import FeederUnreachable, FrameInvalid, SocketPathTooLong
from device_agent.events.feeder import FeederClient
from device_agent.events.frames import FeedAnswer
from device_agent.events.server import CONNECTIONS_MAX, FeederServer, feed_rows
from tests.helpers.memory_log import ACCEPTED, MemoryLog


def event(number: int, payload: bytes = b"") -> Event:
    return Event(7, payload, uid=number.to_bytes(16, "big"))


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
async def path(log: MemoryLog, tmp_path: Path) -> AsyncIterator[Path]:
    server = FeederServer(tmp_path / "agent.sock", log)
    await server.start()
    yield tmp_path / "agent.sock"
    await server.close()


async def fed(path: Path, events: list[Event]) -> list[FeedAnswer]:
    def feed() -> list[FeedAnswer]:
        with FeederClient(path, timeout_s=5) as feeder:
            return feeder.feed(events)

    return await asyncio.to_thread(feed)


async def test_each_event_is_answered(path: Path, log: MemoryLog) -> None:
    log.room = 2
    answers = await fed(path, [event(1), event(2, b"p"), event(1), event(3)])
    assert [(answer.status.value, answer.code) for answer in answers] == [
        ("accepted", ""),
        ("accepted", ""),
        ("duplicate", ""),
        ("refused", "EVENT_LOG_FULL"),
    ]
    assert log.events[event(2).uid].payload == b"p"


async def test_many_and_long_events_go_in_several_frames(path: Path, log: MemoryLog) -> None:
    events = [event(number, b"x" * 60_000) for number in range(40)]
    events += [event(number) for number in range(40, 640)]
    assert await fed(path, events) == [ACCEPTED] * 640
    assert len(log.events) == 640


async def test_only_the_agents_user_may_feed(path: Path) -> None:
    status = await asyncio.to_thread(path.stat)
    assert stat.S_IMODE(status.st_mode) == 0o600


def test_rows_that_are_no_events_are_refused_one_by_one() -> None:
    answers = feed_rows(MemoryLog(), [event(1).to_bytes(), b"rubbish", event(2).to_bytes()])
    assert [answer.code for answer in answers] == ["", "EVENT_INVALID", ""]


async def test_a_frame_that_is_none_closes_the_connection(log: MemoryLog, tmp_path: Path) -> None:
    told: list[str] = []
    server = FeederServer(tmp_path / "agent.sock", log, on_invalid=told.append)
    await server.start()
    reader, writer = await asyncio.open_unix_connection(tmp_path / "agent.sock")
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    assert "not a BATCH or PROFILE or CHANGES frame" in told[0]
    await server.close()


type Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
EMPTY = frames.encode_batch([])


async def connect(path: Path, *, says: bytes) -> Connection:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(says)
    return reader, writer


async def is_answered(connection: Connection) -> bool:
    reader, writer = connection
    try:
        await asyncio.wait_for(reader.readexactly(frames.HEADER.size), 5)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
        return False
    return True


async def test_the_longest_idle_connection_makes_room_for_a_new_one(path: Path) -> None:
    idle = []
    for _ in range(CONNECTIONS_MAX):
        idle.append(await connect(path, says=EMPTY))
        assert await is_answered(idle[-1])
    idle[0][1].write(EMPTY)  # speaks again: the second is now the longest idle
    assert await is_answered(idle[0])
    late = await connect(path, says=EMPTY)
    assert await is_answered(late)
    assert not await is_answered(idle[1])
    for connection in [idle[0], *idle[2:], late]:
        connection[1].write(EMPTY)
        assert await is_answered(connection)
        connection[1].close()


async def test_connections_in_the_middle_of_a_frame_are_bounded(path: Path) -> None:
    busy = [await connect(path, says=EMPTY + EMPTY[:3]) for _ in range(CONNECTIONS_MAX)]
    for connection in busy:
        assert await is_answered(connection)
    late = await connect(path, says=EMPTY)
    assert not await is_answered(late)
    for connection in busy:
        connection[1].write(EMPTY[3:])
        assert await is_answered(connection)
        connection[1].close()


async def test_a_frame_that_does_not_end_closes_its_connection(
    log: MemoryLog, tmp_path: Path
) -> None:
    said: list[str] = []
    path = tmp_path / "agent.sock"
    server = FeederServer(path, log, on_invalid=said.append, frame_seconds_max=0.05)
    await server.start()
    slow = await connect(path, says=EMPTY[:5])
    assert not await is_answered(slow)
    assert said == ["a frame did not end within 0.05 s"]
    patient = await connect(path, says=EMPTY)
    assert await is_answered(patient)
    patient[1].close()
    await server.close()


async def test_an_app_keeps_its_client_over_a_restart_of_the_agent(
    log: MemoryLog, tmp_path: Path
) -> None:
    path = tmp_path / "agent.sock"
    with contextlib.ExitStack() as stack:
        server = FeederServer(path, log)
        await server.start()
        client = await asyncio.to_thread(
            lambda: stack.enter_context(FeederClient(path, timeout_s=5))
        )
        assert await asyncio.to_thread(client.feed, [event(1)]) == [ACCEPTED]
        await server.close()
        again = FeederServer(path, log)
        await again.start()
        answers = await asyncio.to_thread(client.feed, [event(1), event(2)])
        assert [answer.status for answer in answers] == ["duplicate", "accepted"]
        await again.close()
        with pytest.raises(FeederUnreachable):
            await asyncio.to_thread(client.feed, [event(3)])


async def test_whatever_is_sent_to_the_socket_the_next_app_is_served(path: Path) -> None:
    random = Random(20261125)
    for _ in range(200):
        garbage = random.randbytes(random.randint(0, 60))
        if random.random() < 0.5:  # close to a frame: one byte of it is another
            whole = bytearray(frames.encode_batch([event(1).to_bytes()]))
            whole[random.randrange(len(whole))] = random.randrange(256)
            garbage = bytes(whole)
        _, writer = await connect(path, says=garbage)
        writer.write_eof()
        writer.close()
    assert (await fed(path, [event(9_999)]))[0] == ACCEPTED


async def test_a_socket_left_by_a_killed_agent_is_replaced(log: MemoryLog, tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "agent.sock"))
    left.close()
    server = FeederServer(tmp_path / "agent.sock", log)
    await server.start()
    assert await fed(tmp_path / "agent.sock", [event(1)]) == [ACCEPTED]
    await server.close()
    assert not (tmp_path / "agent.sock").exists()


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(FeederUnreachable, match="shoal-agent run"):
        FeederClient(tmp_path / "agent.sock").feed([event(1)])


async def test_an_agent_that_goes_away_in_the_middle(tmp_path: Path) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_unix_server(hang_up, path=str(tmp_path / "agent.sock"))
    with pytest.raises(FeederUnreachable):
        await fed(tmp_path / "agent.sock", [event(1)])
    server.close()
    await server.wait_closed()


async def test_an_agent_that_answers_rubbish(tmp_path: Path) -> None:
    async def rubbish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"r" * 64)
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(rubbish, path=str(tmp_path / "agent.sock"))
    with pytest.raises(FeederUnreachable, match="ANSWERS"):
        await fed(tmp_path / "agent.sock", [event(1)])
    server.close()
    await server.wait_closed()


class Business:
    """A business face that remembers what it was given."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    def profile(self) -> str:
        return "v1.abc.def"

    async def take_changes(self, header: str) -> FeedAnswer:
        self.taken.append(header)
        return ACCEPTED


async def test_a_sync_rides_on_an_apps_request(tmp_path: Path) -> None:
    business = Business()
    server = FeederServer(tmp_path / "agent.sock", MemoryLog(), business=business)
    await server.start()

    def ride() -> tuple[str, FeedAnswer, list[FeedAnswer]]:
        with FeederClient(tmp_path / "agent.sock", timeout_s=5) as feeder:
            return feeder.profile(), feeder.take_changes("sync-now"), feeder.feed([event(1)])

    assert await asyncio.to_thread(ride) == ("v1.abc.def", ACCEPTED, [ACCEPTED])
    assert business.taken == ["sync-now"]
    await server.close()


async def test_without_a_business_face(path: Path) -> None:
    def ride() -> tuple[str, FeedAnswer]:
        with FeederClient(path, timeout_s=5) as feeder:
            return feeder.profile(), feeder.take_changes("sync-now")

    profile, answer = await asyncio.to_thread(ride)
    assert profile == ""
    assert answer.code == "BUSINESS_FACE_OFF"


@pytest.mark.parametrize("header", ["ä", "x" * 4097])
def test_headers_that_are_none(tmp_path: Path, header: str) -> None:
    with pytest.raises(FrameInvalid):
        FeederClient(tmp_path / "agent.sock").take_changes(header)


def test_a_path_that_the_system_would_cut(tmp_path: Path) -> None:
    with pytest.raises(SocketPathTooLong, match="shorter"):
        FeederClient(tmp_path / ("x" * 120))


@pytest.mark.slow
def test_feeding_needs_the_standard_library_only() -> None:
    code = (
        "import sys; before = set(sys.modules); import device_agent.events.feeder; "
        "new = {m.partition('.')[0] for m in set(sys.modules) - before}; "
        "print(*sorted(new - set(sys.stdlib_module_names)))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert loaded.stdout.split() == ["device_agent", "shoal_task"]
