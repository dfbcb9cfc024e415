"""Commands that are killed before what they make has its name: nothing half-written, and once more it works."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from cloud.fleet.local import command_of
from cloud.fleet.process import python_command
from cloud.keys.files import KeyFolder
from cloud.keys.generate import init_keys
from cloud.store.schema import migrate
from device_agent.clock import SystemClock

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
MODEL = ROOT / "docs/examples/digits/models/device_v1.onnx"
NAMESPACE = "demo/app"
COMMAND_SECONDS_MAX = 60


def run(*words: str | Path, failpoint: str = "") -> "subprocess.CompletedProcess[str]":
    environment = {
        **os.environ,
        "SHOAL_KEYS_PASSPHRASE": "a long passphrase",
        "SHOAL_FAILPOINT": failpoint,
    }
    return subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
        timeout=COMMAND_SECONDS_MAX,
    )


def killed(failpoint: str, *words: str | Path) -> None:
    ended = run(*words, failpoint=failpoint)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def done(*words: str | Path) -> str:
    ended = run(*words)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def new_keys(folder: Path) -> KeyFolder:
    return init_keys(folder, namespaces=[NAMESPACE], now_ms=SystemClock().wall_ms())


def test_a_backup_and_a_restore_of_the_database(tmp_path: Path) -> None:
    shoal, file = command_of("shoal"), tmp_path / "backup.gz"
    before, after = (f"sqlite:///{tmp_path / name}.db" for name in ("before", "after"))
    migrate(before)
    backup = (shoal, "cloud", "backup", file, "--database-url", before)
    killed("store.backup.before_name", *backup)
    assert not file.exists()
    done(*backup)
    restore = (shoal, "cloud", "restore", file, "--database-url", after)
    killed("store.restore.before_commit", *restore)
    done(*restore)


def test_a_restore_of_keys(tmp_path: Path) -> None:
    shoal, file, again = command_of("shoal"), tmp_path / "keys.backup", tmp_path / "again"
    new_keys(tmp_path / "keys")
    done(shoal, "keys", "backup", tmp_path / "keys", file)
    killed("keys.restore.written", shoal, "keys", "restore", file, again)
    assert not again.exists()
    done(shoal, "keys", "restore", file, again)
    names = {path.relative_to(tmp_path / "keys") for path in (tmp_path / "keys").rglob("*")}
    assert {path.relative_to(again) for path in again.rglob("*")} == names


def test_a_new_root(tmp_path: Path) -> None:
    new_keys(tmp_path / "keys")
    fresh = new_keys(tmp_path / "other").root_key(1)
    url = (tmp_path / "artifacts").as_uri()
    script: list[str | Path] = [*python_command("tests.helpers.crash_root")]
    rotate = (*script, tmp_path / "keys", url, fresh)
    killed("keys.root.written", *rotate)
    assert done(*rotate) == "root 2\n"
    assert done(*rotate) == "root 2\n"


def test_a_compiled_model(tmp_path: Path) -> None:
    target = tmp_path / "model.shoalmodel"
    compile_model = (command_of("shoal"), "model", "compile", MODEL, target)
    killed("compiler.write.flushed", *compile_model)
    assert not target.exists()
    done(*compile_model)
    first = target.read_bytes()
    killed("compiler.write.flushed", *compile_model)
    assert target.read_bytes() == first
