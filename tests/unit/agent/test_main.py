"""The command line: what it says, and the number it ends with."""

import asyncio
import io
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from shoal_task.event import Event

from device_agent.agent import main as command_line
from device_agent.agent.main import BAD_INPUT, NOT_READY, OK, REFUSED, UNREACHABLE, main
from device_agent.agent.settings import AgentSettings
from device_agent.agent.store.held import TaskRow
from device_agent.agent.store.store import Store
from device_agent.events.server import FeederServer
from tests.helpers.device_identity import enrolled_home
from tests.helpers.memory_log import MemoryLog


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder that is enrolled."""
    return enrolled_home(tmp_path / "home")


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    shown: dict[str, object] = json.loads(capsys.readouterr().out)
    return shown


@pytest.mark.parametrize("command", [["status"], ["opt-out", "echo"]])
def test_a_device_that_is_not_enrolled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert main([command[0], "--home", str(tmp_path), *command[1:]]) == NOT_READY
    error = capsys.readouterr().err
    assert error.startswith("NOT_ENROLLED: ")
    assert "shoal-agent enrol" in error
    assert list(tmp_path.iterdir()) == []


def test_a_code_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["enrol", "--home", str(tmp_path), "--code", "rubbish"]) == BAD_INPUT
    assert capsys.readouterr().err.startswith("ENROLMENT_CODE_INVALID: ")
    assert not (tmp_path / "identity").exists()


def test_a_code_from_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("rubbish\n"))
    assert main(["enrol", "--home", str(tmp_path), "--code", "-"]) == BAD_INPUT
    assert "ENROLMENT_CODE_INVALID" in capsys.readouterr().err


def test_status_before_and_after_the_first_run(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--home", str(home), "-o", "json"]) == OK
    assert said(capsys)["namespace"] == "demo/app"
    store = Store(home / "agent.db", random=Random(1), settings=AgentSettings())
    with store.transaction():
        store.held.put_task(TaskRow(task="echo", version=2, digest="d"))
    store.close()
    assert main(["opt-out", "--home", str(home), "echo"]) == OK
    assert main(["status", "--home", str(home), "-o", "json"]) == OK
    shown = said(capsys)
    assert shown["running"] is False
    assert shown["tasks"] == [
        {
            "task": "echo",
            "version": 2,
            "wanted": None,
            "told": "",
            "quarantined": False,
            "killed": False,
            "opted_out": True,
        }
    ]
    assert main(["opt-out", "--home", str(home), "echo", "--undo"]) == OK
    assert main(["status", "--home", str(home)]) == OK
    assert "opted_out=False" in capsys.readouterr().out


def test_names_are_checked(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["opt-out", "--home", str(home), "No Such"]) == BAD_INPUT
    assert capsys.readouterr().err.startswith("NAME_INVALID: ")


@pytest.fixture
def log(home: Path) -> Iterator[MemoryLog]:
    """A feeder's door on the home folder, in a thread of its own."""
    log, loop, ready = MemoryLog(room=1), asyncio.new_event_loop(), threading.Event()
    server = FeederServer(home / "agent.sock", log)

    def serve() -> None:
        loop.run_until_complete(server.start())
        loop.call_soon(ready.set)
        loop.run_forever()
        loop.run_until_complete(server.close())
        loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    assert ready.wait(5)
    yield log
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)


def test_feeding_from_the_command_line(
    home: Path, log: MemoryLog, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "payload").write_bytes(b"pixels")
    uid = "ab" * 16
    feed = ["feed", "--home", str(home), "--event-id", "7", "--uid", uid]
    assert main([*feed, "--payload", str(home / "payload")]) == OK
    assert said(capsys) == {"uid": uid, "status": "accepted", "code": ""}
    (event,) = log.events.values()
    assert isinstance(event, Event)
    assert (event.event_id, event.payload) == (7, b"pixels")
    assert main(feed) == OK
    assert said(capsys)["status"] == "duplicate"
    assert main(["feed", "--home", str(home), "--event-id", "7"]) == REFUSED
    assert said(capsys)["code"] == "EVENT_LOG_FULL"


@pytest.mark.parametrize(
    "wrong",
    [["--event-id", "-1"], ["--event-id", "7", "--uid", "zz"], ["--event-id", "7", "--uid", "ab"]],
)
def test_events_that_cannot_be(home: Path, log: MemoryLog, wrong: list[str]) -> None:
    assert main(["feed", "--home", str(home), *wrong]) == BAD_INPUT
    assert log.events == {}


def test_feeding_without_an_agent(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["feed", "--home", str(home), "--event-id", "7"]) == UNREACHABLE
    assert capsys.readouterr().err.startswith("FEEDER_UNREACHABLE: ")


def test_a_payload_that_is_not_there(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    feed = ["feed", "--home", str(home), "--event-id", "7", "--payload", str(home / "none")]
    assert main(feed) == BAD_INPUT
    assert "none" in capsys.readouterr().err


def test_every_exit_code_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs/reference/exit-codes.md").read_text()
    section = page.partition("## shoal-agent")[2]
    for code in {OK, *command_line.EXIT_CODES.values(), command_line.INTERNAL}:
        assert f"| {code} |" in section


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ("enrol", "run", "status", "opt-out", "feed"))
