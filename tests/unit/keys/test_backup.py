"""Keys into one encrypted file and back."""

import stat
from pathlib import Path

import pytest

from cloud.keys.backup import backup_keys, restore_keys
from cloud.keys.errors import BackupInvalid, KeysExist, KeysMissing
from cloud.keys.generate import init_keys
from cloud.keys.online import OnlineKeys
from cloud.keys.settings import KeySettings
from device_agent import failpoint

PASSPHRASE = "correct horse"
NOW = 1_790_000_000_000


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return init_keys(tmp_path / "keys", namespaces=["demo/digits-app"], now_ms=NOW).path


@pytest.fixture
def backup(keys: Path, tmp_path: Path) -> Path:
    file = tmp_path / "keys.backup"
    assert backup_keys(keys, file, PASSPHRASE) == len(contents(keys))
    return file


def test_what_was_backed_up_comes_back(keys: Path, backup: Path, tmp_path: Path) -> None:
    assert restore_keys(backup, tmp_path / "new" / "keys", PASSPHRASE) == len(contents(keys))
    assert contents(tmp_path / "new" / "keys") == contents(keys)
    OnlineKeys.load(tmp_path / "new" / "keys" / "online")


def test_a_backup_shows_nothing(keys: Path, backup: Path) -> None:
    data = backup.read_bytes()
    assert b"PRIVATE KEY" not in data
    assert b"root-1.pem" not in data
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    del keys


def test_nothing_is_overwritten(keys: Path, backup: Path) -> None:
    before = contents(keys)
    with pytest.raises(KeysExist):
        restore_keys(backup, keys, PASSPHRASE)
    with pytest.raises(KeysExist):
        backup_keys(keys, backup, PASSPHRASE)
    assert contents(keys) == before


def test_another_passphrase_opens_nothing(backup: Path, tmp_path: Path) -> None:
    with pytest.raises(BackupInvalid, match="passphrase"):
        restore_keys(backup, tmp_path / "new", "wrong horse")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("place", [0, 8, 11, 12, 30, 100, -1])
def test_a_changed_file_is_noticed(backup: Path, tmp_path: Path, place: int) -> None:
    data = bytearray(backup.read_bytes())
    data[place] ^= 1
    backup.write_bytes(data)
    with pytest.raises(BackupInvalid):
        restore_keys(backup, tmp_path / "new", PASSPHRASE)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("data", [b"", b"SHOALKB1", b"x" * 5000])
def test_what_is_no_backup_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(BackupInvalid):
        restore_keys(tmp_path / "file", tmp_path / "new", PASSPHRASE)
    with pytest.raises(BackupInvalid):
        restore_keys(tmp_path / "none", tmp_path / "new", PASSPHRASE)


def test_what_cannot_be_backed_up_is_refused(keys: Path, tmp_path: Path) -> None:
    with pytest.raises(BackupInvalid, match="characters"):
        backup_keys(keys, tmp_path / "b", "short")
    with pytest.raises(KeysMissing):
        backup_keys(tmp_path / "nothing", tmp_path / "b", PASSPHRASE)
    with pytest.raises(BackupInvalid, match="more than"):
        backup_keys(keys, tmp_path / "b", PASSPHRASE, KeySettings(backup_bytes_max=100))
    assert not (tmp_path / "b").exists()


def test_a_death_during_restore_leaves_nothing(backup: Path, tmp_path: Path) -> None:
    def die(name: str) -> None:
        if name == "keys.restore.written":
            raise SystemExit(name)

    failpoint.arm(die)
    try:
        with pytest.raises(SystemExit):
            restore_keys(backup, tmp_path / "new" / "keys", PASSPHRASE)
    finally:
        failpoint.arm(None)
    assert list((tmp_path / "new").iterdir()) == []
