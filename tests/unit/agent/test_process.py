"""`shoal-agent run` as a real process: its door, its lock, its metrics, its end, and its death."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from device_agent.events.feeder import FeederClient
from tests.helpers.device_identity import enrolled_home
from tests.helpers.devices import event

pytestmark = pytest.mark.slow
COMMAND = [sys.executable, "-m", "device_agent.agent.main"]
LIMIT_S = 60


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return enrolled_home(tmp_path / "home")


@contextmanager
def running(home: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """An agent whose door is open."""
    process = subprocess.Popen(
        [*COMMAND, "run", "--home", str(home)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=LIMIT_S)


def started(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if json.loads(line)["event"] == "listening":
            return
    raise AssertionError("the agent ended before it listened")


def test_it_runs_without_a_cloud_and_ends_cleanly(home: Path) -> None:
    with running(home) as process:
        started(process)
        with FeederClient(home / "agent.sock") as feeder:
            answers = feeder.feed([event(1), event(1)])
        assert [answer.status for answer in answers] == ["accepted", "duplicate"]
        second = subprocess.run(
            [*COMMAND, "run", "--home", str(home)],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert second.returncode == 3
        assert "HOME_IN_USE: " in second.stderr
        status = subprocess.run(
            [*COMMAND, "status", "--home", str(home), "-o", "json"],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=True,
        )
        assert json.loads(status.stdout)["running"] is True
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0
        assert not (home / "agent.sock").exists()


def test_what_was_answered_survives_a_kill(home: Path) -> None:
    with running(home) as process:
        started(process)
        with FeederClient(home / "agent.sock") as feeder:
            feeder.feed([event(1)])
        process.kill()
        assert process.wait(LIMIT_S) == -signal.SIGKILL
    with running(home) as process:
        started(process)
        with FeederClient(home / "agent.sock") as feeder:
            (answer,) = feeder.feed([event(1)])
        assert answer.status == "duplicate"


def test_a_failpoint_from_the_environment_kills(home: Path) -> None:
    with running(home, SHOAL_FAILPOINT="agent.loop.started") as process:
        assert process.wait(LIMIT_S) == -signal.SIGKILL


def test_metrics_when_a_port_is_set(home: Path) -> None:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (home / "agent.toml").write_text(f"[metrics]\nport = {port}\n")
    with running(home) as process:
        started(process)
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=LIMIT_S).read()
        assert b"shoal_agent_events_open_count" in page


def test_a_configuration_that_cannot_be(home: Path) -> None:
    (home / "agent.toml").write_text("[limts]")
    ended = subprocess.run(
        [*COMMAND, "run", "--home", str(home)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert ended.returncode == 2
    assert "AGENT_CONFIG_INVALID: " in ended.stderr
    assert not (home / "agent.db").exists()
