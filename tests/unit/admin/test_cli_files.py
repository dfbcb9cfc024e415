"""Commands that touch files, on paths that cannot be used: a line that says what to do, and nothing half-written."""

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cloud.admin.cli.main import run
from cloud.keys.backup import backup_keys, restore_keys
from cloud.keys.generate import init_keys

PASSPHRASE = "long enough"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a set of keys, its backup, a database, its backup, and things that are neither."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHOAL_KEYS_PASSPHRASE", PASSPHRASE)
    for name in ("SHOAL_ADDRESS", "SHOAL_CLOUD_HOME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "home").mkdir()
    for command in (
        "keys init keys -n a/b",
        "keys backup keys keys.bak",
        "cloud migrate --home home",
        "cloud backup db.bak --home home",
    ):
        assert run(command.split()) == 0
    return tmp_path


def listing(folder: Path) -> dict[str, bytes]:
    found = sorted(folder.rglob("*"))
    plain = [path for path in found if path.is_file() and path.suffix not in (".db-wal", ".db-shm")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in plain} | {
        f"{path.relative_to(folder)}/": b"" for path in found if path.is_dir()
    }


REFUSED = [
    "keys init file -n a/b",
    "keys init file/below -n a/b",
    "keys init /proc/nowhere -n a/b",
    "keys init keys -n a/b",
    "keys init new -n A",
    "keys init new -n a/b --host under|score",
    "keys init new -n a/b --host ünicode.example",
    "keys backup keys folder",
    "keys backup keys keys.bak",
    "keys backup keys file/below",
    "keys backup keys missing/below",
    "keys backup keys /proc/nowhere",
    "keys backup missing new",
    "keys backup file new",
    "keys backup folder new",
    "keys restore file new",
    "keys restore folder new",
    "keys restore missing new",
    "keys restore db.bak new",
    "keys restore keys.bak keys",
    "keys restore keys.bak file",
    "keys restore keys.bak file/below",
    "keys restore keys.bak /proc/nowhere",
    "cloud backup folder --home home",
    "cloud backup missing/below --home home",
    "cloud backup file/below --home home",
    "cloud backup /proc/nowhere --home home",
    "cloud backup new --home file",
    "cloud backup new --home missing",
    "cloud restore file --home home",
    "cloud restore folder --home home",
    "cloud restore missing --home home",
    "cloud restore keys.bak --home home",
    "cloud restore db.bak --home file",
    "cloud restore db.bak --home missing",
    "cloud restore db.bak --database-url nonsense",
    "cloud migrate --home missing",
    "cloud migrate --home file",
    "cloud serve --home file --config missing",
    "cloud serve --home home --config folder",
    "cloud serve --home home --config db.bak",
]


@pytest.mark.slow
def test_what_cannot_be_used_is_named_and_nothing_is_left_behind(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = listing(place)
    for command in REFUSED:
        capsys.readouterr()
        code = run(command.split())
        said = capsys.readouterr()
        assert code in (1, 2), (command, said.err)
        assert said.err.strip(), command
        assert "Traceback" not in said.err, command
        assert listing(place) == before, command


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A disk that is full: what grows past `size` is refused by the system, as ENOSPC would be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.slow
def test_a_full_disk_leaves_nothing_half_written(place: Path) -> None:
    works: dict[str, Callable[[], object]] = {
        "init": lambda: init_keys(place / "new", namespaces=["a/b"], now_ms=1_790_000_000_000),
        "backup": lambda: backup_keys(place / "keys", place / "new", PASSPHRASE),
        "restore": lambda: restore_keys(place / "keys.bak", place / "new", PASSPHRASE),
    }
    before = listing(place)
    for name, work in works.items():
        for size in (0, 100):
            with files_of_at_most(size), pytest.raises(OSError, match="File too large"):
                work()
            assert listing(place) == before, name


@pytest.mark.slow
def test_a_file_without_permission_is_named(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read and write everything")
    (place / "keys.bak").chmod(0)
    (place / "folder").chmod(0o500)
    for command in ("keys restore keys.bak new", "keys backup keys folder/new"):
        assert run(command.split()) in (1, 2)
        assert "Traceback" not in capsys.readouterr().err
