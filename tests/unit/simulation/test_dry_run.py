"""Trying a task on sample events in the real VM, from the command line down."""

import json
from pathlib import Path

import pytest

from cloud.admin.cli.main import run
from cloud.admin.cli.template import write_template
from cloud.simulation.errors import SamplesInvalid
from cloud.simulation.recordings import read_samples
from cloud.simulation.settings import DryRunSettings
from device_agent.vm.process import install


@pytest.fixture(autouse=True)
def _vm_process() -> None:
    install()


@pytest.fixture
def task(tmp_path: Path) -> Path:
    write_template(tmp_path / "counter", "counter")
    return tmp_path / "counter"


def outcome(task: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[dict[str, object]]]:
    code = run(["task", "test", str(task), "-o", "json"])
    return code, json.loads(capsys.readouterr().out)["data"]["runs"]


@pytest.mark.slow
def test_the_template_runs_and_says_what_came_of_it(
    task: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, runs = outcome(task, capsys)
    assert code == 0
    assert [one["outcome"] for one in runs] == ["ok", "ok"]
    assert runs[1]["logs"] == ["11 letters"]


@pytest.mark.slow
def test_an_endless_loop_ends_at_its_limit(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (task / "main.py").write_text("def on_event(event):\n    while True: pass\n")
    code, runs = outcome(task, capsys)
    assert code == 1
    assert {one["outcome"] for one in runs} == {"WALL_LIMIT"}


@pytest.mark.slow
def test_an_exception_is_told(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (task / "main.py").write_text("def on_event(event):\n    return 1 / len(event.payload)\n")
    code, runs = outcome(task, capsys)
    assert code == 1
    assert [one["outcome"] for one in runs] == ["TASK_ERROR", "ok"]
    assert "ZeroDivisionError" in str(runs[0]["message"])


@pytest.mark.slow
def test_an_event_that_triggers_nothing_is_said(
    task: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for sample in (task / "events").iterdir():
        sample.rename(sample.with_name(sample.name.replace("1001", "7")))
    code, runs = outcome(task, capsys)
    assert code == 1
    assert {one["outcome"] for one in runs} == {"not triggered"}


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("hello.bin", b"", "start the name"),
        ("1-x.bin", bytes(70_000), "limit"),
        ("99999999999.bin", b"", "start"),
    ],
)
def test_a_file_that_is_no_event_is_named(
    tmp_path: Path, name: str, data: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SamplesInvalid, match=says):
        read_samples(tmp_path)


def test_too_few_and_too_many_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SamplesInvalid, match="has 0"):
        read_samples(tmp_path / "none")
    for number in range(3):
        (tmp_path / f"1-{number}.bin").write_bytes(b"")
    with pytest.raises(SamplesInvalid, match="has 3"):
        read_samples(tmp_path, DryRunSettings(dry_run_events_max=2))


@pytest.mark.slow
def test_figures_and_the_flame_graph_say_where_time_went(
    task: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (task / "main.py").write_text(
        "from shoal_task import emit\n"
        "def busy(steps):\n"
        "    return sum(step * step for step in range(steps))\n"
        "def on_event(event):\n"
        "    busy(2_000_000)\n"
        "    emit('counted', b'12345')\n"
    )
    manifest = task / "task.toml"
    manifest.write_text(manifest.read_text().replace("wall_ms = 500 ", "wall_ms = 30000"))
    flame = task / "flame.svg"
    code = run(["task", "test", str(task), "--flame", str(flame), "-o", "json"])
    summary = json.loads(capsys.readouterr().out)["data"]["summary"]
    assert code == 0
    assert summary["outcomes"] == {"ok": 2}
    assert 0 < summary["wall_ms_p50"] <= summary["wall_ms_max"] <= summary["wall_ms_limit"]
    assert 1 < summary["memory_mib_max"] < summary["memory_mib_limit"]
    assert 0 <= summary["engine_mib_max"] < summary["engine_mib_limit"] == 64
    assert summary["outputs"] == [{"topic": "counted", "messages": 2, "payload_bytes": 10}]
    assert summary["samples"] > 5
    shares = {one["function"]: one["total_share"] for one in summary["functions"]}
    assert shares["counter/main.py busy"] > 0.8
    assert "counter/main.py busy: " in flame.read_text()
    assert "counter/main.py busy.&lt;locals&gt;.&lt;genexpr&gt;" in flame.read_text()


def test_a_flame_graph_without_a_folder_is_refused_before_anything_runs(
    task: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["task", "test", str(task), "--flame", str(task / "none" / "a.svg")]) == 2
    assert "there is no folder" in capsys.readouterr().err


@pytest.mark.slow
def test_what_a_run_keeps_the_next_one_finds(
    task: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (task / "main.py").write_text(
        "from shoal_task import clock, config, kv, log, table\n"
        "def on_event(event):\n"
        "    table.append('t', {'n': len(table.rows('t'))})\n"
        "    kv.put('n', str(int(kv.get('n') or b'0') + 1).encode())\n"
        "    log(f\"{kv.get('n')} {table.rows('t')} {clock.wall_ms()} {config.get('word', '')}\")\n"
    )
    with (task / "task.toml").open("a") as manifest:
        manifest.write('[config]\nword = "set"\n')
    code, runs = outcome(task, capsys)
    assert code == 0, runs
    assert [one["logs"] for one in runs] == [
        ["b'1' [{'n': 0}] 0 set"],
        ["b'2' [{'n': 0}, {'n': 1}] 0 set"],
    ]
