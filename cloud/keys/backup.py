"""Backup and restore of keys: one encrypted file that holds a whole folder of them.

Rules of this module:

- The file is of no use without the passphrase: AES-256-GCM under a key that scrypt makes from it. The header is
  authenticated, too, so a changed file is noticed before anything of it is used.
- A restore is all or nothing, into a folder that is not there or empty, by one rename; private files get mode 0600.
- Only plain files with plain names are taken in or given out.

Layout: magic "SHOALKB1" | scrypt log2(n) u8 | r u8 | p u8 | reserved u8 | salt 16 | nonce 12 | ciphertext and tag. The
plaintext is a tar archive of relative names.
"""

import io
import os
import secrets
import shutil
import struct
import tarfile
from pathlib import Path, PurePosixPath
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from cloud.keys.errors import BackupInvalid, KeysExist, KeysMissing
from cloud.keys.files import sync_folder, write_new
from cloud.keys.settings import SETTINGS, KeySettings
from device_agent.failpoint import failpoint

_HEADER: Final = struct.Struct("<8sBBBB16s12s")
_MAGIC: Final = b"SHOALKB1"
_LOG_N, _R, _P = 15, 8, 1
PASSPHRASE_CHARS_MIN: Final = 8
assert _HEADER.size == 40


def backup_keys(folder: Path, file: Path, passphrase: str, settings: KeySettings = SETTINGS) -> int:
    """Writes all keys of a folder into one encrypted file.

    Returns:
        How many files it holds.

    Raises:
        KeysMissing: there are no keys in the folder.
        KeysExist: the file is there already.
        BackupInvalid: the passphrase is too short, or there is too much to keep.
    """
    if len(passphrase) < PASSPHRASE_CHARS_MIN:
        raise BackupInvalid(f"a passphrase has at least {PASSPHRASE_CHARS_MIN} characters")
    names = sorted(path for path in folder.rglob("*") if path.is_file())
    if not names:
        raise KeysMissing(f"{folder} holds no keys; name the folder that `shoal keys init` made")
    plain = _pack(folder, names)
    if len(plain) > settings.backup_bytes_max:
        raise BackupInvalid(
            f"{folder} holds more than {settings.backup_bytes_max} bytes; is it a folder of keys?"
        )
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    header = _HEADER.pack(_MAGIC, _LOG_N, _R, _P, 0, salt, nonce)
    write_new(file, header + AESGCM(_key(passphrase, salt)).encrypt(nonce, plain, header))
    sync_folder(file.parent)
    return len(names)


def restore_keys(
    file: Path, folder: Path, passphrase: str, settings: KeySettings = SETTINGS
) -> int:
    """Brings the keys of a backup back.

    Returns:
        How many files it held.

    Raises:
        BackupInvalid: the file is no backup, was changed, or the passphrase is another.
        KeysExist: there is something in the folder.
    """
    if folder.exists() and any(folder.iterdir()):
        raise KeysExist(f"{folder} is not empty; keys are never overwritten, choose another folder")
    files = _unpack(_open(file, passphrase, settings))
    folder.parent.mkdir(parents=True, exist_ok=True)
    working = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    try:
        _write(working, files)
        failpoint("keys.restore.written")
        os.rename(working, folder)
    except BaseException:
        shutil.rmtree(working, ignore_errors=True)
        raise
    sync_folder(folder.parent)
    return len(files)


def _key(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=1 << _LOG_N, r=_R, p=_P).derive(passphrase.encode())


def _open(file: Path, passphrase: str, settings: KeySettings) -> bytes:
    try:
        if file.stat().st_size > settings.backup_bytes_max + 4096:
            raise BackupInvalid(f"{file} is too long for a backup of keys")
        data = file.read_bytes()
    except OSError as error:
        raise BackupInvalid(f"{file} cannot be read: {error.strerror}") from error
    header, sealed = data[: _HEADER.size], data[_HEADER.size :]
    if len(header) < _HEADER.size or not header.startswith(_MAGIC):
        raise BackupInvalid(f"{file} is not a backup of keys")
    _, log_n, r, p, reserved, salt, nonce = _HEADER.unpack(header)
    if (log_n, r, p, reserved) != (_LOG_N, _R, _P, 0):
        raise BackupInvalid(f"{file} was made by another version; use that version to restore it")
    try:
        return AESGCM(_key(passphrase, salt)).decrypt(nonce, sealed, header)
    except InvalidTag as error:
        raise BackupInvalid(
            f"{file}: the passphrase is another, or the file was changed"
        ) from error


def _pack(folder: Path, paths: list[Path]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in paths:
            data = path.read_bytes()
            entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
            entry.size, entry.mode = len(data), path.stat().st_mode & 0o777
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def _unpack(data: bytes) -> dict[PurePosixPath, tuple[bytes, int]]:
    files: dict[PurePosixPath, tuple[bytes, int]] = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for entry in archive:
            name = PurePosixPath(entry.name)
            content = archive.extractfile(entry) if entry.isfile() else None
            if content is None or name.is_absolute() or ".." in name.parts:
                raise BackupInvalid(f"{entry.name!r} is not a plain file of a folder of keys")
            files[name] = content.read(), entry.mode & 0o644
    return files


def _write(folder: Path, files: dict[PurePosixPath, tuple[bytes, int]]) -> None:
    folder.mkdir(mode=0o700)
    for name, (content, mode) in files.items():
        path = folder / name
        for parent in reversed(path.relative_to(folder).parents[:-1]):
            (folder / parent).mkdir(mode=0o700, exist_ok=True)
        write_new(path, content, mode)
    for path in (folder, *(one for one in folder.rglob("*") if one.is_dir())):
        sync_folder(path)
