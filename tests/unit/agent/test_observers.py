"""What a process lets be seen, and what can be seen of a home folder from outside."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from prometheus_client import generate_latest

from device_agent.agent.errors import HomeInUse
from device_agent.agent.home import is_running, locked, read_status
from device_agent.agent.messages import cut
from device_agent.agent.observer import Observer
from device_agent.agent.process_observer import ProcessObserver, configure_logs
from device_agent.events.frames import FeedAnswer, FeedStatus
from device_agent.tasks.director import Action, TaskInstruction
from device_agent.vm.interface import RunResult, Wear
from tests.helpers.devices import VirtualDevice
from tests.helpers.fake_cloud import FakeCloud
from tests.helpers.manual_clock import ManualClock

INSTRUCTION = TaskInstruction(
    task="echo",
    action=Action.INSTALL,
    version=3,
    release_id="r1",
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)
BAD_RUN = RunResult(outcome="WALL_LIMIT", emits=(), logs=("one",), wall_us=2_000, message="late")


def drive(observer: Observer) -> None:
    full = FeedAnswer(status=FeedStatus.REFUSED, code="EVENT_LOG_FULL")
    observer.fed([FeedAnswer(status=FeedStatus.ACCEPTED), full, full])
    observer.ran("echo", 3, BAD_RUN)
    observer.broken("echo", "FILE_DAMAGED", "cut")
    observer.installed(INSTRUCTION, 12)
    observer.put_off(INSTRUCTION, "BATTERY_LOW", "3 %")
    observer.worn("AGENT_WORN", "9 VMs")
    observer.sync_failed("PEER_UNREACHABLE", "no route")
    observer.tunnel_failed("PEER_UNREACHABLE", "no route")


def test_the_base_sees_nothing() -> None:
    drive(Observer())


@pytest.fixture
def logs_as_they_were() -> Iterator[None]:
    """Logging is the process's: other tests must not write into this one's captured stream."""
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("logs_as_they_were")
def test_metrics_count_and_logs_are_json_without_payloads(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs("INFO")
    observer = ProcessObserver()
    drive(observer)
    text = generate_latest(observer.registry).decode()
    assert 'shoal_agent_events_total{answer="EVENT_LOG_FULL"} 2.0' in text
    assert 'shoal_agent_runs_total{outcome="WALL_LIMIT",task="echo"} 1.0' in text
    assert 'shoal_agent_installs_total{outcome="BATTERY_LOW",task="echo"} 1.0' in text
    assert 'shoal_agent_link_failures_total{call="sync",code="PEER_UNREACHABLE"} 1.0' in text
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == [
        "run failed",
        "task log",
        "task cannot run",
        "installed",
        "not installed",
        "worn",
        "sync failed",
        "tunnel failed",
    ]


def test_metrics_are_served_on_loopback(tmp_path: Path) -> None:
    observer = ProcessObserver()
    with VirtualDevice(FakeCloud(ManualClock()), tmp_path, clock=ManualClock()) as device:
        observer.watch(device.core.store.held)
    with observer.serve(0) as port:
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read()
    assert b"shoal_agent_reports_open_count 0.0" in page


def test_one_agent_a_home(tmp_path: Path) -> None:
    assert not is_running(tmp_path / "home")
    with locked(tmp_path / "home"):
        assert is_running(tmp_path / "home")
        with pytest.raises(HomeInUse), locked(tmp_path / "home"):
            pass
    assert not is_running(tmp_path / "home")


async def test_status_reads_beside_a_running_agent(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None
    cloud = FakeCloud(ManualClock())
    cloud.publish("echo", 1, "def on_event(event): pass", triggers=[1])
    cloud.release("echo", 1)
    with VirtualDevice(cloud, tmp_path, clock=ManualClock()) as device:
        await device.turns(2)
        status = read_status(tmp_path)
    assert status is not None
    assert [(row.task, row.version) for row in status.tasks] == [("echo", 1)]
    assert status.agent.epoch == cloud.epoch


@pytest.mark.parametrize(("text", "length"), [("x" * 600, 512), ("ä" * 300, 512), ("€" * 200, 510)])
def test_a_persons_text_is_cut_between_characters(text: str, length: int) -> None:
    assert len(cut(text).encode()) == length


def test_what_vms_left_behind_is_shown() -> None:
    observer = ProcessObserver()
    observer.wear(Wear(left_behind=3, left_bytes=4_096))
    page = generate_latest(observer.registry).decode()
    assert "shoal_agent_vms_left_behind_count 3.0" in page
    assert "shoal_agent_vms_left_bytes 4096.0" in page
