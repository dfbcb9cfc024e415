"""The home folder from outside: whatever it is called, who holds it, and what `status` finds there."""

import fcntl
import multiprocessing
import os
import sqlite3
from collections.abc import Iterator
from multiprocessing.synchronize import Event as Signal
from pathlib import Path
from random import Random

import pytest

from device_agent.agent.core import DATABASE
from device_agent.agent.errors import HomeInUse, StoreDamaged, StoreFailed
from device_agent.agent.home import LOCK, is_running, locked, read_status
from device_agent.agent.settings import AgentSettings
from device_agent.agent.store.database import MIGRATIONS
from device_agent.agent.store.held import TaskRow
from device_agent.agent.store.store import Store

ODD_NAMES = [
    "plain",
    "a b",
    "a?b",
    "a#b",
    "a%41b",
    "a&mode=memory",
    "ä☃",
    "a'b\"c",
    "file:x",
    "a;b",
]


def a_store(home: Path) -> Store:
    home.mkdir(parents=True, exist_ok=True)
    return Store(home / DATABASE, random=Random(1), settings=AgentSettings())


@pytest.mark.parametrize("name", ODD_NAMES)
def test_status_reads_a_home_of_any_name(tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    store = a_store(home)
    with store.transaction():
        store.held.put_task(TaskRow(task="echo", version=3, digest="d"))
        store.held.put_opted_out("other", True)
    store.close()
    status = read_status(home)
    assert status is not None
    assert [(row.task, row.version) for row in status.tasks] == [("echo", 3)]
    assert status.opted_out == {"other"}
    assert not status.running
    assert sorted(path.name for path in tmp_path.iterdir()) == [name], "and makes none of another"


def test_status_works_from_a_relative_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_store(tmp_path / "home").close()
    monkeypatch.chdir(tmp_path)
    assert read_status(Path("home")) is not None


def test_status_reads_and_never_writes(tmp_path: Path) -> None:
    assert read_status(tmp_path / "nowhere") is None
    assert not (tmp_path / "nowhere").exists()
    a_store(tmp_path).close()
    before = (tmp_path / DATABASE).read_bytes()
    assert read_status(tmp_path) is not None
    assert (tmp_path / DATABASE).read_bytes() == before
    assert not (tmp_path / LOCK).exists()


@pytest.mark.slow
def test_a_file_that_an_agent_began_to_make_holds_nothing_yet(tmp_path: Path) -> None:
    """A power cut between making the tables and filling them, or before either."""
    path = tmp_path / DATABASE
    path.touch()
    assert read_status(tmp_path) is None
    connection = sqlite3.connect(path)
    for migration in MIGRATIONS:
        connection.executescript(migration)
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    connection.close()
    assert read_status(tmp_path) is None
    a_store(tmp_path).close()
    assert read_status(tmp_path) is not None


@pytest.mark.parametrize("what", ["folder", "garbage", "text"])
def test_a_database_that_is_none_is_named(tmp_path: Path, what: str) -> None:
    path = tmp_path / DATABASE
    if what == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"not a database " * 4096 if what == "garbage" else b"x" * 100)
    with pytest.raises((StoreDamaged, StoreFailed)) as caught:
        read_status(tmp_path)
    assert str(path) in str(caught.value)


def test_one_agent_a_home(tmp_path: Path) -> None:
    assert not is_running(tmp_path)
    with locked(tmp_path):
        assert is_running(tmp_path)
        with pytest.raises(HomeInUse, match="stop it first"), locked(tmp_path):
            raise AssertionError("two agents in one home")
        assert is_running(tmp_path), "who was refused took nothing away"
    assert not is_running(tmp_path)
    with locked(tmp_path):
        pass


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Path]:
    """A home that somebody looks at, all the time: the lock is in shared hands."""
    (tmp_path / LOCK).touch()
    descriptor = os.open(tmp_path / LOCK, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    try:
        yield tmp_path
    finally:
        os.close(descriptor)


def test_two_who_look_do_not_take_each_other_for_an_agent(watched: Path) -> None:
    assert not is_running(watched)


def test_who_looks_forever_keeps_an_agent_out_by_name(watched: Path) -> None:
    with pytest.raises(HomeInUse), locked(watched):
        raise AssertionError("the lock is not free")


def look(home: str, end: Signal) -> None:
    while not end.is_set():
        is_running(Path(home))


@pytest.mark.slow
def test_an_agent_starts_beside_programs_that_keep_asking_for_its_status(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    end = context.Event()
    with locked(tmp_path):
        pass
    lookers = [context.Process(target=look, args=(str(tmp_path), end)) for _ in range(2)]
    for one in lookers:
        one.start()
    try:
        for _ in range(200):
            with locked(tmp_path):
                assert is_running(tmp_path)
    finally:
        end.set()
        for one in lookers:
            one.join(30)
    assert [one.exitcode for one in lookers] == [0, 0]


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreFailed, match="home folder"), locked(tmp_path / "file" / "home"):
        raise AssertionError("a file is no folder")
