"""The command line on homes and words of every bad kind: one line with a name, the documented number, no traceback."""

import contextlib
import io
import os
import sqlite3
import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from device_agent.agent.core import DATABASE
from device_agent.agent.errors import StoreFailed
from device_agent.agent.main import (
    BAD_INPUT,
    INTERNAL,
    NOT_READY,
    OK,
    UNREACHABLE,
    _told,
    main,
)
from device_agent.agent.recording import FILE
from device_agent.agent.settings import AgentSettings
from device_agent.agent.store.database import MIGRATIONS
from device_agent.agent.store.store import Store
from tests.helpers.device_identity import enrolled_home


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return enrolled_home(tmp_path / "home")


def ended(arguments: list[str]) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as error:
            code = int(error.code or 0)
    assert "Traceback" not in err.getvalue()
    return code, out.getvalue(), err.getvalue()


def a_store(home: Path) -> Path:
    Store(home / DATABASE, random=Random(1), settings=AgentSettings()).close()
    return home / DATABASE


@pytest.mark.parametrize("command", [["status"], ["status", "-o", "json"], ["opt-out", "echo"]])
@pytest.mark.parametrize(
    ("what", "code", "name"),
    [
        ("garbage", INTERNAL, "AGENT_STORE_DAMAGED"),
        ("folder", UNREACHABLE, "AGENT_STORE_FAILED"),
    ],
)
def test_a_database_that_is_none(
    home: Path, command: list[str], what: str, code: int, name: str
) -> None:
    path = home / DATABASE
    path.mkdir() if what == "folder" else path.write_bytes(b"no database at all " * 999)
    found, out, err = ended([command[0], "--home", str(home), *command[1:]])
    assert (found, out) == (code, "")
    assert err.startswith(f"{name}: ")
    assert err.count("\n") == 1
    assert path.is_dir() if what == "folder" else path.read_bytes().startswith(b"no database")


def test_a_database_of_a_newer_agent_is_not_touched(home: Path) -> None:
    path = a_store(home)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    before = path.read_bytes()
    code, _, err = ended(["opt-out", "--home", str(home), "echo"])
    assert (code, err.partition(":")[0]) == (NOT_READY, "AGENT_STORE_UNKNOWN")
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff", b"[" * 9_000, b'{"device_id": 7}'])
def test_an_identity_that_is_none(home: Path, damage: bytes) -> None:
    (home / "identity" / "identity.json").write_bytes(damage)
    for command in (["status"], ["opt-out", "echo"], ["record", "--out", str(home / "r")]):
        code, out, err = ended([command[0], "--home", str(home), *command[1:]])
        assert (code, out) == (INTERNAL, "")
        assert err.startswith("IDENTITY_INVALID: ")
        assert "enrol again" in err
    assert not (home / FILE).exists()


def test_a_configuration_that_is_none_stops_enrolment_before_anything_is_made(
    tmp_path: Path,
) -> None:
    home = tmp_path / "new"
    home.mkdir()
    (home / "agent.toml").write_text("[limits]\ndeaths_max = 0\n[attributes]\n'' = 'x'\n")
    code, _, err = ended(["enrol", "--home", str(home), "--code", "x"])
    assert code == BAD_INPUT
    assert err.startswith("AGENT_CONFIG_INVALID: ")
    assert "deaths_max is 0" in err
    assert "a key has 1 to" in err
    assert os.listdir(home) == ["agent.toml"]


@pytest.mark.parametrize("place", ["nowhere/r.shoalevents", ".", "there"])
def test_a_recording_with_no_place_to_go_is_not_begun(
    home: Path, tmp_path: Path, place: str
) -> None:
    (tmp_path / "there").write_text("of somebody else")
    code, out, err = ended(["record", "--home", str(home), "--out", str(tmp_path / place)])
    assert (code, out) == (BAD_INPUT, "")
    assert err.strip()
    assert not (home / FILE).exists()
    assert (tmp_path / "there").read_text() == "of somebody else"


def test_two_do_not_record_at_once(home: Path, tmp_path: Path) -> None:
    (home / FILE).write_bytes(b"of the other")
    code, _, err = ended(["record", "--home", str(home), "--out", str(tmp_path / "r")])
    assert code == BAD_INPUT
    assert FILE in err
    assert (home / FILE).read_bytes() == b"of the other"
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("seconds", ["nan", "-1", "0"])
def test_a_recording_of_no_time_ends_at_once(home: Path, tmp_path: Path, seconds: str) -> None:
    out = tmp_path / "r"
    code, said, _ = ended(["record", "--home", str(home), "--out", str(out), "--seconds", seconds])
    assert code == OK
    assert '"events": 0' in said
    assert out.read_bytes() == b""


words = st.text(max_size=8) | st.sampled_from(
    ["status", "feed", "opt-out", "--home", "-o", "json", "echo", "--undo", "-"]
)


@pytest.mark.slow
@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(arguments=st.lists(words.filter(lambda word: "\0" not in word), max_size=5))
def test_any_words_end_with_a_number_and_say_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    if "run" in arguments or "enrol" in arguments:
        return  # those reach further; they have tests of their own
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    code, out, err = ended(arguments)
    assert code in {OK, BAD_INPUT, NOT_READY, UNREACHABLE, INTERNAL}
    assert out or err


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (sqlite3.OperationalError("database or disk is full"), UNREACHABLE, "AGENT_STORE_FAILED: "),
        (OSError(28, "No space left on device"), UNREACHABLE, "AGENT_STORE_FAILED: "),
        (PermissionError(13, "Permission denied"), UNREACHABLE, "AGENT_STORE_FAILED: "),
        (StoreFailed("full"), UNREACHABLE, "AGENT_STORE_FAILED: full"),
        (
            ExceptionGroup("loops", [ExceptionGroup("one", [StoreFailed("deep")])]),
            UNREACHABLE,
            "AGENT_STORE_FAILED: deep",
        ),
        (ZeroDivisionError("ours"), INTERNAL, "Traceback"),
        (OSError(2, "No such file"), INTERNAL, "Traceback"),
    ],
)
def test_what_ends_the_agent_is_told_by_its_name(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, error: Exception, code: int, says: str
) -> None:
    """A fault of ours keeps its traceback; what the disk does has a name and a way out."""
    with pytest.raises(type(error)) as raised:
        raise error
    assert _told(raised.value, tmp_path) == code
    err = capsys.readouterr().err
    assert says in err
    assert ("Traceback" in err) == (code == INTERNAL)
