"""Recording events on a device and reading them back for a dry run."""

import asyncio
import resource
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from cloud.simulation.errors import SamplesInvalid
from cloud.simulation.recordings import read_samples
from device_agent.agent.recording import FILE, Recorder, count, record
from device_agent.agent.settings import AgentSettings
from tests.helpers.devices import VirtualDevice, event
from tests.helpers.fake_cloud import FakeCloud
from tests.helpers.manual_clock import ManualClock


@pytest.fixture
def device(tmp_path: Path) -> Iterator[VirtualDevice]:
    clock = ManualClock()
    with VirtualDevice(FakeCloud(clock), tmp_path / "home", clock=clock) as device:
        yield device


def test_what_is_fed_is_recorded_as_it_was_logged(device: VirtualDevice, tmp_path: Path) -> None:
    out = tmp_path / "walk.shoalevents"
    device.core.feed([event(0)])  # before: not recorded
    told: list[int] = []
    recording = threading.Thread(
        target=lambda: told.append(record(device.home, out, events=3, seconds=30))
    )
    recording.start()
    while not (device.home / FILE).exists():
        pass
    device.core.feed([event(1, payload=b"a"), event(2, payload=bytes(60_000))])
    device.core.feed([event(3)])
    recording.join()
    device.core.feed([event(4)])  # after: not recorded
    samples = read_samples(out)
    assert [sample.name for sample in samples] == ["walk#1", "walk#2", "walk#3"]
    assert [sample.event.uid for sample in samples] == [event(n).uid for n in (1, 2, 3)]
    assert samples[1].event.payload == bytes(60_000)
    assert all(sample.event.wall_ms == device.core.clock.wall_ms() for sample in samples)
    assert told == [3]
    assert not (device.home / FILE).exists()


def test_a_recording_ends_after_its_time_and_overwrites_nothing(tmp_path: Path) -> None:
    out = tmp_path / "a.shoalevents"
    assert record(tmp_path, out, events=1, seconds=0) == 0
    with pytest.raises(FileExistsError, match="name another"):  # what lies there stays
        record(tmp_path, out, events=1, seconds=0)
    (tmp_path / FILE).touch()
    with pytest.raises(FileExistsError):
        record(tmp_path, tmp_path / "b.shoalevents", events=1, seconds=0)
    assert not (tmp_path / "b.shoalevents").exists()


def test_a_full_recording_stands_still_and_holds_whole_events(tmp_path: Path) -> None:
    (tmp_path / FILE).touch()
    recorder = Recorder(tmp_path, bytes_max=200)
    for number in range(5):
        recorder.take([event(number)])
    assert count(tmp_path / FILE) == 3
    assert len(read_samples(tmp_path / FILE)) == 3
    assert AgentSettings().recording_bytes_max > 200


@pytest.mark.parametrize("cut", [1, 64, 70])
def test_a_damaged_recording_is_named_with_the_place(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "cut.shoalevents"
    whole = event(1).to_bytes() + event(2).to_bytes()
    path.write_bytes(whole[:-cut] if cut != 64 else whole + b"x" * 64)
    with pytest.raises(SamplesInvalid, match=r"cut\.shoalevents, event [123] at byte"):
        read_samples(path)


def test_payloads_and_recordings_of_a_folder_come_in_order_of_name(tmp_path: Path) -> None:
    (tmp_path / "1001-b.bin").write_bytes(b"payload")
    (tmp_path / "0-first.shoalevents").write_bytes(event(1).to_bytes())
    (tmp_path / "zz.shoalevents").write_bytes(event(2).to_bytes())
    names = [sample.name for sample in read_samples(tmp_path)]
    assert names == ["0-first#1", "1001-b.bin", "zz#1"]


@pytest.mark.slow
def test_only_what_was_logged_is_recorded(tmp_path: Path) -> None:
    """A dry run must see what the device saw: no event twice, and none that was refused and is fed again."""
    clock = ManualClock()
    cloud = FakeCloud(clock)
    cloud.publish("echo", 1, "def on_event(event): pass", triggers=[1001])
    cloud.release("echo", 1)
    settings = AgentSettings(events_open_max=2)
    with VirtualDevice(cloud, tmp_path / "home", clock=clock, settings=settings) as device:
        asyncio.run(device.turns(2))
        (device.home / FILE).touch()
        answers = device.core.feed([event(1), event(1), event(2), event(3)])
        assert [one.status for one in answers] == ["accepted", "duplicate", "accepted", "refused"]
        asyncio.run(device.turns(1))
        assert [one.status for one in device.core.feed([event(3), event(2)])] == [
            "accepted",
            "duplicate",
        ]
        recorded = [sample.event.uid for sample in read_samples(device.home / FILE)]
    assert recorded == [event(number).uid for number in (1, 2, 3)]


def test_a_disk_that_takes_a_part_of_an_event_leaves_whole_events(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.touch()
    recorder = Recorder(tmp_path, bytes_max=1 << 20)
    recorder.take([event(1)])
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limits[1]))
    try:
        recorder.take([event(2)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.read_bytes() == before
    recorder.take([event(3)])
    assert [sample.event.uid for sample in read_samples(path)] == [event(1).uid, event(3).uid]


def test_a_place_that_cannot_be_written_is_told_before_the_recording(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        record(tmp_path, tmp_path / "nowhere" / "a.shoalevents", events=1, seconds=3_600)
    assert not (tmp_path / FILE).exists(), "the agent does not go on recording"
    assert record(tmp_path, tmp_path / "a.shoalevents", events=1, seconds=0) == 0


@hypothesis_settings(max_examples=40)
@given(st.lists(st.binary(max_size=40), max_size=5), st.integers(0, 120))
def test_a_torn_recording_counts_its_whole_events(payloads: list[bytes], cut: int) -> None:
    events = [event(number, payload=payload).to_bytes() for number, payload in enumerate(payloads)]
    whole = b"".join(events)
    kept = whole[: max(len(whole) - cut, 0)]
    complete = 0
    while sum(map(len, events[: complete + 1])) <= len(kept) and complete < len(events):
        complete += 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        path.write_bytes(kept)
        assert count(path) == complete
