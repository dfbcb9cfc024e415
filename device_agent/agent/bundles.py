"""The folders of bundles: staged, put into place by one rename, and cleaned up.

Rules of this module:

- HOME/bundles/<task>/<sha256 hex>.<python tag>/ is whole or absent: files are fsynced in staging, then one rename.
- A folder that the store does not know is rubbish and goes; one that still runs stays until it has ended.
- HOME/staging/files keeps partial downloads, at most `partials_bytes_max` of them; the rest of staging goes.
- Paths come from signed documents and are checked again here: nothing is written outside its bundle.
"""

import hashlib
import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from device_agent.agent.store.held import BundleRow
from device_agent.failpoint import failpoint
from device_agent.tasks.bytecode import decode_bytecode
from device_agent.tasks.director import BundleFile, TaskInstruction
from device_agent.tasks.errors import BundleInvalid
from device_agent.tasks.manifest import Manifest
from device_agent.tasks.names import digest_hex
from device_agent.tasks.paths import MADE_BY_CLOUD, clashes, path_problem

MANIFEST = "manifest.json"
BYTECODE = "code.bin"
COPY_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class BundleFolders:
    """Where the bundles of one home folder lie."""

    home: Path

    @property
    def files(self) -> Path:
        """Downloads, whole and partial, by digest."""
        return self.home / "staging" / "files"

    @property
    def assembly(self) -> Path:
        """Bundles that are put together."""
        return self.home / "staging" / "bundles"

    def folder(self, task: str, digest: str, python_tag: str) -> Path:
        """The final place of a bundle."""
        return self.home / "bundles" / task / f"{digest_hex(digest)}.{python_tag}"

    def download(self, file: BundleFile) -> Path:
        """Where a file is fetched to."""
        return self.files / digest_hex(file.digest)

    def prepare(self) -> None:
        """Makes the folders."""
        for folder in (self.files, self.assembly, self.home / "bundles"):
            folder.mkdir(parents=True, exist_ok=True)


def check_paths(instruction: TaskInstruction) -> None:
    """Refuses a bundle whose files could not lie where they are named, or that lacks what every bundle has.

    Raises:
        BundleInvalid: the document asks for a place outside the bundle, or for no bundle at all.
    """
    paths = {file.path for file in instruction.files}
    if not paths >= MADE_BY_CLOUD:
        raise BundleInvalid(f"{instruction.task}: a bundle holds {MANIFEST} and {BYTECODE}")
    for path in paths - MADE_BY_CLOUD:
        problem = path_problem(path)
        if problem is not None:
            raise BundleInvalid(f"{instruction.task}: the path {path!r} {problem}")
    if found := clashes(paths):
        raise BundleInvalid(f"{instruction.task}: {found[0]}")


def assemble(
    folders: BundleFolders,
    instruction: TaskInstruction,
    python_tag: str,
    sources: Mapping[str, Path],
) -> BundleRow:
    """Puts verified files together and renames them into place; `sources` maps each path to its file.

    Raises:
        BundleInvalid: the files are no bundle of this task; nothing was put into place.
    """
    place = folders.folder(instruction.task, instruction.digest, python_tag)
    staged = folders.assembly / f"{instruction.task}.{place.name}"
    shutil.rmtree(staged, ignore_errors=True)
    for file in instruction.files:
        target = staged / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(sources[file.path], target)
    row = _read_bundle(instruction, python_tag, staged)
    for folder in [staged, *(path for path in staged.rglob("*") if path.is_dir())]:
        sync_folder(folder)
    failpoint("agent.install.staged")
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        shutil.rmtree(place)  # left by a death between this rename and the store's transaction
    staged.rename(place)
    failpoint("agent.install.renamed")
    sync_folder(place.parent)
    sync_folder(place.parent.parent)
    return row


def _read_bundle(instruction: TaskInstruction, python_tag: str, folder: Path) -> BundleRow:
    manifest = Manifest.from_json((folder / MANIFEST).read_bytes())
    if manifest.name != instruction.task:
        raise BundleInvalid(f"the bundle is of {manifest.name}, not of {instruction.task}")
    paths = {file.path for file in instruction.files}
    missing = {resource.path for resource in manifest.resources} - paths
    if missing:
        raise BundleInvalid(
            f"{instruction.task}: resources {sorted(missing)} are not in the bundle"
        )
    modules = decode_bytecode((folder / BYTECODE).read_bytes())
    module = manifest.entry.partition(":")[0]
    if module not in modules:
        raise BundleInvalid(f"{instruction.task}: the entry's module {module} is not in the bundle")
    return BundleRow(
        task=instruction.task,
        digest=instruction.digest,
        python_tag=python_tag,
        version=instruction.version,
        manifest=manifest,
        files={file.path: (file.digest, file.size) for file in instruction.files},
        size=sum(file.size for file in instruction.files),
    )


def find_held(
    folders: BundleFolders, files: Iterable[BundleFile], rows: Iterable[BundleRow]
) -> dict[str, Path]:
    """Files that lie on this device already, by digest, read again and found undamaged."""
    wanted = {file.digest for file in files}
    found: dict[str, Path] = {}
    for row in rows:
        folder = folders.folder(row.task, row.digest, row.python_tag)
        for path, (digest, size) in row.files.items():
            if digest in wanted and digest not in found and is_intact(folder / path, digest, size):
                found[digest] = folder / path
    return found


def is_intact(path: Path, digest: str, size: int) -> bool:
    """Whether the file is there with just these bytes."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size != size:
                return False
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" == digest
    except OSError:
        return (
            False  # not there, no file, or a disk that does not give it back: it is fetched again
        )


def clean_up(
    folders: BundleFolders,
    *,
    known: Collection[Path],
    downloads: Collection[str],
    partials_bytes_max: int,
) -> list[Path]:
    """Removes what nobody needs; returns it.

    Args:
        folders: Where to look.
        known: Bundle folders that are registered or still run.
        downloads: Names of the downloads that something wanted still needs.
        partials_bytes_max: How much of those may stay.
    """
    removed: list[Path] = []
    for task in _entries(folders.home / "bundles"):
        for folder in _entries(task):
            if folder not in known:
                _remove(folder, removed)
        if not task.is_dir() or task.is_symlink():
            _remove(task, removed)
        elif not any(task.iterdir()):
            task.rmdir()
    for folder in _entries(folders.assembly):
        _remove(folder, removed)
    kept = 0
    newest = sorted(
        _entries(folders.files), key=lambda path: path.lstat().st_mtime_ns, reverse=True
    )
    for file in newest:
        size = file.lstat().st_size
        wanted = file.name.partition(".")[0] in downloads and _is_plain(file)
        if wanted and kept + size <= partials_bytes_max:
            kept += size
        else:
            _remove(file, removed)
    return removed


def sync_folder(folder: Path) -> None:
    """Makes names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _remove(path: Path, removed: list[Path]) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
    failpoint("agent.clean_up.removed")
    removed.append(path)
