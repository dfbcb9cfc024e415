"""Storage that fails under an agent, or is not what was written: named, nothing lost, and the agent comes back."""

import asyncio
import contextlib
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from device_agent.agent.errors import StoreDamaged, StoreFailed
from device_agent.agent.home import read_status
from device_agent.agent.settings import AgentSettings
from device_agent.agent.store.database import set_aside
from device_agent.agent.store.store import Store
from device_agent.events.feeder import FeederClient
from tests.helpers.device_identity import enrolled_home
from tests.helpers.devices import VirtualDevice, event
from tests.helpers.fake_cloud import FakeCloud
from tests.helpers.manual_clock import ManualClock

SOURCE = "def on_event(event): emit('answer', event.payload)"
COMMAND = [sys.executable, "-m", "device_agent.agent.main"]
LIMIT_S = 60
MIB = 1024 * 1024


# --- agent.db is not what was written --------------------------------------------------------------------------


def lived_in(folder: Path) -> Path:
    """A home folder whose agent has installed, run and reported."""
    clock = ManualClock()
    cloud = FakeCloud(clock)
    cloud.publish("echo", 1, SOURCE, triggers=[1001])
    cloud.release("echo", 1)

    async def live() -> None:
        with VirtualDevice(cloud, folder, clock=clock) as device:
            await device.until(lambda: "echo" in device.core.store.held.tasks())
            await device.turns(5)
            device.core.feed([event(number) for number in range(1, 40)])
            await device.turns(1)

    asyncio.run(live())
    return folder


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = lived_in(tmp_path_factory.mktemp("home"))
    assert not (folder / "agent.db-wal").exists()
    return (folder / "agent.db").read_bytes()


@pytest.mark.slow
@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    cut=st.none() | st.integers(0, 2**20),
    places=st.lists(
        st.tuples(st.integers(0, 2**20), st.binary(min_size=1, max_size=600)),
        min_size=1,
        max_size=4,
    ),
)
def test_whatever_lies_in_agent_db_is_used_or_named(
    healthy: bytes, tmp_path: Path, cut: int | None, places: list[tuple[int, bytes]]
) -> None:
    damaged = bytearray(healthy[: None if cut is None else cut % len(healthy)])
    for number, garbage in places:
        place = number % max(len(damaged), 1)
        damaged[place : place + len(garbage)] = garbage
    path = tmp_path / "agent.db"
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.write_bytes(damaged)
    try:
        store = Store(path, random=Random(1), settings=AgentSettings())
    except (StoreDamaged, StoreFailed):
        set_aside(path)
        store = Store(path, random=Random(1), settings=AgentSettings())
    with contextlib.closing(store), contextlib.suppress(StoreDamaged), store.transaction():
        store.log.append(event(1000), [])


async def test_a_damaged_store_is_set_aside_and_everything_wanted_is_installed_again(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    cloud = FakeCloud(clock)
    cloud.publish("echo", 1, SOURCE, triggers=[1001])
    cloud.release("echo", 1)
    with VirtualDevice(cloud, tmp_path, clock=clock) as device:
        await device.until(lambda: "echo" in device.core.store.held.tasks())
        await device.turns(5)
        device.core.feed([event(1)])
        await device.turns(5)
        device.core.close()
        path = tmp_path / "agent.db"
        garbage = b"not a database " * 4096
        path.write_bytes(garbage)
        device.reborn()
        assert (tmp_path / "agent.db.damaged").read_bytes() == garbage
        await device.until(lambda: bool(device.core.store.held.tasks().get("echo")))
        await device.turns(5)
        device.core.feed([event(2)])
        await device.turns(5)
    assert [notice.code for notice in device.known.notices] == ["AGENT_STORE_DAMAGED"]
    assert {uid: times for (uid, _, _), times in device.known.runs.items()} == {
        event(1).uid: 1,
        event(2).uid: 1,
    }


def test_a_second_damaged_file_takes_the_place_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    for content in (b"first", b"second"):
        path.write_bytes(content)
        path.with_name("agent.db-wal").write_bytes(b"log of " + content)
        aside = set_aside(path)
        assert not path.exists()
        assert aside.read_bytes() == content
        assert aside.with_name("agent.db.damaged-wal").read_bytes() == b"log of " + content


def test_status_of_a_damaged_store_has_a_name(tmp_path: Path) -> None:
    (tmp_path / "agent.db").write_bytes(b"not a database " * 4096)
    with pytest.raises(StoreDamaged, match=r"keeps it as agent\.db\.damaged"):
        read_status(tmp_path)


async def test_a_store_that_cannot_be_written_refuses_feeders_and_goes_on(tmp_path: Path) -> None:
    clock = ManualClock()
    cloud = FakeCloud(clock)
    cloud.publish("echo", 1, SOURCE, triggers=[1001])
    cloud.release("echo", 1)
    with VirtualDevice(cloud, tmp_path, clock=clock) as device:
        await device.until(lambda: "echo" in device.core.store.held.tasks())
        await device.turns(5)
        connection = device.core.store.log._connection
        connection.execute("PRAGMA query_only = ON")
        (answer,) = device.core.feed([event(1)])
        assert (answer.status, answer.code) == ("refused", "DEVICE_STORAGE_FAILED")
        clock.advance_ms(120_000)
        assert not await device.core.syncer.sync_if_due()
        assert device.core.syncer.last_error == "AGENT_STORE_FAILED"
        connection.execute("PRAGMA query_only = OFF")
        (answer,) = device.core.feed([event(1)])
        assert answer.status == "accepted"
        await device.turns(5)
    assert {uid: times for (uid, _, _), times in device.known.runs.items()} == {event(1).uid: 1}


# --- a real process on a disk without room ----------------------------------------------------------------------


def agent(home: Path, *words: str, prefix: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*prefix, *COMMAND, *words, "--home", str(home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    _, said = process.communicate(timeout=LIMIT_S)
    return process.returncode, said


@contextlib.contextmanager
def running(home: Path) -> Iterator["subprocess.Popen[str]"]:
    process = agent(home, "run")
    try:
        assert process.stderr is not None
        assert any('"listening"' in line for line in process.stderr), "it ended before it listened"
        yield process
    finally:
        process.kill()
        process.communicate(timeout=LIMIT_S)


def status_of(home: Path, number: int) -> tuple[str, str]:
    with FeederClient(home / "agent.sock") as feeder:
        (answer,) = feeder.feed([event(number)])
    return answer.status, answer.code


@pytest.mark.slow
def test_a_disk_that_fills_up_and_is_emptied_again(tmp_path: Path) -> None:
    home = enrolled_home(tmp_path / "home")
    with running(home) as process:
        assert status_of(home, 1) == ("accepted", "")
        unlimited = resource.RLIM_INFINITY
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, unlimited))
        assert status_of(home, 2) == ("refused", "DEVICE_STORAGE_FAILED")
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))
        assert status_of(home, 2) == ("accepted", "")
        assert status_of(home, 1) == ("duplicate", "")


@pytest.mark.slow
def test_an_agent_without_room_ends_by_name_and_comes_back_with_everything(tmp_path: Path) -> None:
    home = enrolled_home(tmp_path / "home")
    with running(home):
        assert status_of(home, 1) == ("accepted", "")
    code, said = ended(agent(home, "run", prefix=("prlimit", "--fsize=0:unlimited")))
    assert code == 4, said
    assert "AGENT_STORE_FAILED: " in said
    assert "Traceback" not in said
    with running(home):
        assert status_of(home, 1) == ("duplicate", "")


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="root mounts the folder read-only")
def test_a_home_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    home = enrolled_home(tmp_path / "home")
    with running(home):
        assert status_of(home, 1) == ("accepted", "")
    mount = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    code, said = ended(agent(home, "run", prefix=("unshare", "-m", "sh", "-c", mount, str(home))))
    assert code == 4, said
    assert "AGENT_STORE_FAILED: " in said
    assert "Traceback" not in said
    with running(home):
        assert status_of(home, 1) == ("duplicate", "")


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="root mounts a small disk")
def test_a_small_disk_that_is_full_is_named_and_nothing_that_was_answered_is_lost(
    tmp_path: Path,
) -> None:
    """On a real file system of 2 MiB: fed until it is full, then the agent goes on in a copy that has room."""
    home, copy = enrolled_home(tmp_path / "home"), tmp_path / "copy"
    script = (
        'cp -r "$0" /tmp/.small && mount -t tmpfs -o size=2m none "$0" && cp -r /tmp/.small/. "$0" && '
        'rm -r /tmp/.small && "$@"; cp -r "$0" "$COPY"'
    ).replace("/tmp/.small", str(tmp_path / "small"))
    process = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", script, str(home), *COMMAND, "run", "--home", str(home)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COPY": str(copy)},
    )
    assert process.stderr is not None
    assert any('"listening"' in line for line in process.stderr)
    # Its mounts are its own: the socket is reached through its root.
    (pid,) = children(process.pid)
    inside = Path(f"/proc/{pid}/root{home}")
    link = tmp_path / "in"
    link.symlink_to(inside)
    answers = fill(link)
    refused = [code for status, code in answers if status == "refused"]
    assert set(refused) <= {"DEVICE_STORAGE_FAILED", "EVENT_LOG_FULL"}
    os.kill(pid, 9)
    process.communicate(timeout=LIMIT_S)
    accepted = [number for number, (status, _) in enumerate(answers) if status == "accepted"]
    assert refused
    assert accepted
    shutil.rmtree(home)
    copy.rename(home)
    with contextlib.closing(sqlite3.connect(home / "agent.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with running(home):
        assert status_of(home, accepted[0] + 1) == ("duplicate", "")
        assert status_of(home, accepted[-1] + 1) == ("duplicate", "")


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def fill(home: Path) -> list[tuple[str, str]]:
    """Feeds big numbers of events until one is refused."""
    answers: list[tuple[str, str]] = []
    with FeederClient(home / "agent.sock") as feeder:
        while not any(status == "refused" for status, _ in answers) and len(answers) < 100_000:
            batch = [event(len(answers) + place + 1) for place in range(250)]
            answers += [(str(one.status), one.code) for one in feeder.feed(batch)]
    return answers
