"""An agent that VMs have worn out drains, says why and begins anew, and nothing is lost or done twice."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from shoal.telemetry.v1 import telemetry_pb2

from device_agent.agent.settings import AgentSettings
from device_agent.agent.store.outbox import ReportKind
from device_agent.agent.wear import why_worn
from device_agent.clock import SystemClock
from device_agent.events.errors import FeederUnreachable
from device_agent.events.feeder import FeederClient
from device_agent.vm.interface import Wear
from tests.helpers.device_identity import enrolled_home
from tests.helpers.devices import VirtualDevice, event
from tests.helpers.fake_cloud import FakeCloud
from tests.helpers.manual_clock import ManualClock

COMMAND = [sys.executable, "-m", "device_agent.agent.main"]
LIMIT_S = 90
CARRIED = 2
STUCK = """
import re
from shoal_task import emit
def on_event(event):
    if event.payload == b"stuck": re.match("(a+)+$", "a" * 60 + "b")
    emit("answer", event.payload)
"""


def test_a_fresh_process_is_not_worn() -> None:
    settings = AgentSettings()
    assert why_worn(Wear(), settings) == ""
    carried = Wear(left_behind=settings.vms_left_behind_max, left_bytes=settings.left_bytes_max)
    assert why_worn(carried, settings) == ""


def test_why_it_is_worn_is_told_with_its_figures() -> None:
    settings = AgentSettings(vms_left_behind_max=3, left_bytes_max=2 * 1024 * 1024)
    assert why_worn(Wear(left_behind=4), settings).startswith("4 VMs are in calls")
    assert why_worn(Wear(left_bytes=3 * 1024 * 1024), settings).startswith("VMs have left 3 MiB")


async def installed_home(home: Path) -> Path:
    """A home folder in which the task lies, of a cloud that is not there any more."""
    cloud = FakeCloud(SystemClock())
    cloud.publish("stuck", 1, STUCK, triggers=[1001], wall_ms=100)
    cloud.release("stuck", 1)
    with VirtualDevice(cloud, home, clock=ManualClock(wall_ms=SystemClock().wall_ms())) as device:
        await device.turns(3)
        assert [row.version for row in device.core.store.held.tasks().values()] == [1]
    limits = f"[limits]\nvms_left_behind_max = {CARRIED}\ndrain_ms_max = 2000\n"
    (home / "agent.toml").write_text(limits)
    return enrolled_home(home)


@contextmanager
def running(home: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, "run", "--home", str(home)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    watchdog = threading.Timer(LIMIT_S, process.kill)
    watchdog.start()
    try:
        yield process
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate(timeout=LIMIT_S)


def said(process: subprocess.Popen[str], wanted: str) -> dict[str, Any]:
    """What the agent logs as `wanted`, next."""
    assert process.stderr is not None
    for line in process.stderr:
        found: dict[str, Any] = json.loads(line)
        if found["event"] == wanted:
            return found
    raise AssertionError(f"the agent ended before it said '{wanted}'")


def until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < ends, "not in time"
        time.sleep(0.05)  # noqa: TID251 - another process is watched


def feed(home: Path, *events: tuple[int, bytes]) -> None:
    """Feeds until it is accepted, as an app does whose agent restarts."""
    ends = time.monotonic() + LIMIT_S
    with FeederClient(home / "agent.sock") as feeder:
        while True:
            try:
                answers = feeder.feed([event(number, payload=data) for number, data in events])
            except FeederUnreachable:
                assert time.monotonic() < ends, "the agent did not come back"
                time.sleep(0.05)  # noqa: TID251 - another process comes back
                continue
            assert {answer.status for answer in answers} <= {"accepted", "duplicate"}
            return


def reports(home: Path) -> list[tuple[int, bytes, bytes]]:
    with closing(sqlite3.connect(home / "agent.db", timeout=30)) as connection:
        return connection.execute("SELECT kind, event_uid, payload FROM reports").fetchall()


def outcomes(home: Path) -> dict[int, str]:
    """Event to how its run ended; each must have ended once."""
    runs = [(uid, data) for kind, uid, data in reports(home) if kind == ReportKind.RUN]
    assert max(Counter(uid for uid, _ in runs).values(), default=1) == 1, "an event ran twice"
    return {
        int.from_bytes(uid): telemetry_pb2.RunSummary.FromString(data).outcome for uid, data in runs
    }


def notices(home: Path) -> list[str]:
    found = [data for kind, _, data in reports(home) if kind == ReportKind.NOTICE]
    return [telemetry_pb2.AgentNotice.FromString(data).code for data in found]


@pytest.mark.slow
async def test_a_worn_process_begins_anew_and_loses_nothing(tmp_path: Path) -> None:
    home = await installed_home(tmp_path / "home")
    events = [(n, b"stuck" if n % 4 == 0 else b"good") for n in range(1, 25)]
    with running(home) as process:
        said(process, "listening")
        for some in (events[:12], events[12:]):
            for one in some:
                feed(home, one)
            assert said(process, "worn")["code"] == "AGENT_WORN"
            said(process, "stopped")
            said(process, "listening")
        until(lambda: len(outcomes(home)) == len(events))
        assert process.poll() is None, "it goes on in the same process id"
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0
    want = {n: "WALL_LIMIT" if data == b"stuck" else "ok" for n, data in events}
    assert outcomes(home) == want
    assert notices(home) == ["AGENT_WORN", "AGENT_WORN"]
    answers = Counter(data for kind, _, data in reports(home) if kind == ReportKind.EMIT)
    assert answers == {b"good": 18}


@pytest.mark.slow
async def test_a_death_between_the_notice_and_the_restart_loses_nothing(tmp_path: Path) -> None:
    home = await installed_home(tmp_path / "home")
    events = [(n, b"stuck") for n in range(1, CARRIED + 2)]
    with running(home, SHOAL_FAILPOINT="agent.worn.noted") as process:
        said(process, "listening")
        feed(home, *events)
        assert process.wait(LIMIT_S) == -signal.SIGKILL
    assert notices(home) == ["AGENT_WORN"]
    with running(home) as process:
        said(process, "listening")
        feed(home, (99, b"good"))
        until(lambda: 99 in outcomes(home))
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0
    assert outcomes(home) == {n: "WALL_LIMIT" for n, _ in events} | {99: "ok"}
