"""What an author hands in: files by path, read from a folder or a Git working tree.

Rules of this module:

- A bundle is task.toml, the scripts (*.py outside tests/), and the resources that task.toml lists. Whatever else lies
  in the folder stays there.
- In a Git working tree ignored files do not count, and the commit is recorded, with "+dirty" when files differ from it.
"""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cloud.registry.errors import SourceUnreadable
from cloud.registry.settings import SETTINGS, RegistrySettings
from device_agent.tasks.errors import BundleInvalid
from device_agent.tasks.manifest import Manifest, parse_manifest
from device_agent.tasks.paths import clashes, path_problem

MANIFEST = "task.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """Files of a bundle.

    Attributes:
        files: Path to content; holds task.toml.
        source_commit: Commit that the files came from; None without Git.
    """

    files: Mapping[str, bytes]
    source_commit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedUpload:
    """An upload whose every file has a place: manifest, scripts by path, resources by path."""

    manifest: Manifest
    sources: Mapping[str, bytes]
    resources: Mapping[str, bytes]
    source_commit: str | None


def check_upload(upload: Upload, settings: RegistrySettings = SETTINGS) -> CheckedUpload:
    """Sorts the files of an upload and refuses what does not fit.

    Raises:
        ManifestInvalid: task.toml breaks a rule.
        BundleInvalid: too many, too big, badly named, missing or surplus files; all are listed.
    """
    if MANIFEST not in upload.files:
        raise BundleInvalid(f"there is no {MANIFEST}; `shoal task init` writes one")
    try:
        manifest = parse_manifest(upload.files[MANIFEST].decode())
    except UnicodeDecodeError as error:
        raise BundleInvalid(f"{MANIFEST} is not UTF-8: {error}") from None
    rest = {path: data for path, data in upload.files.items() if path != MANIFEST}
    sources = {path: data for path, data in rest.items() if path.endswith(".py")}
    listed = {resource.path for resource in manifest.resources}
    resources = {path: data for path, data in rest.items() if path in listed}
    problems = [
        *_size_problems(upload.files, sources, settings),
        *(f"{path!r} {problem}" for path in rest if (problem := path_problem(path))),
        *clashes(rest),
        *(f"{path} is listed in {MANIFEST} but not there" for path in sorted(listed - rest.keys())),
        *(
            f"{path} is neither a script nor listed under [[resources]]; list it or leave it out"
            for path in sorted(rest.keys() - sources.keys() - listed)
        ),
        *(
            f"{path} is a script; it cannot be a resource as well"
            for path in sorted(listed & sources.keys())
        ),
    ]
    if problems:
        raise BundleInvalid(
            "the bundle cannot be taken:\n" + "\n".join(f"  {one}" for one in problems)
        )
    return CheckedUpload(
        manifest=manifest, sources=sources, resources=resources, source_commit=upload.source_commit
    )


def _size_problems(
    files: Mapping[str, bytes], sources: Mapping[str, bytes], settings: RegistrySettings
) -> list[str]:
    problems = []
    if len(files) > settings.files_max:
        problems.append(f"{len(files)} files are over the {settings.files_max} of a bundle")
    total = sum(map(len, files.values()))
    if total > settings.upload_bytes_max:
        problems.append(f"{total} bytes are over the {settings.upload_bytes_max} of a bundle")
    problems += [
        f"{path} has {len(data)} bytes, a script may have {settings.source_bytes_max}"
        for path, data in sources.items()
        if len(data) > settings.source_bytes_max
    ]
    return problems


def read_source(folder: Path, settings: RegistrySettings = SETTINGS) -> Upload:
    """Reads the files of a task from a folder.

    Raises:
        SourceUnreadable: there is no task.toml, or a file cannot be read.
        ManifestInvalid: task.toml breaks a rule (it says which resources to read).
    """
    try:
        text = (folder / MANIFEST).read_text()
        listed = {resource.path for resource in parse_manifest(text).resources}
        files = {
            path: (folder / path).read_bytes()
            for path in _candidates(folder, settings)
            if path == MANIFEST or _is_script(path)
        }
        files |= {
            path: (folder / path).read_bytes()
            for path in sorted(listed)
            if (folder / path).is_file()
        }
    except FileNotFoundError as error:
        raise SourceUnreadable(
            f"no {error.filename}; `shoal task init` writes a new task"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SourceUnreadable(f"cannot read the task in {folder}: {error}") from None
    return Upload(files=files, source_commit=_commit(folder, settings))


def _is_script(path: str) -> bool:
    parts = path.split("/")
    return path.endswith(".py") and "tests" not in parts[:-1] and not parts[-1].startswith("test_")


def _candidates(folder: Path, settings: RegistrySettings) -> list[str]:
    listed = _git(folder, settings, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    if listed is not None and not _is_ignored(folder, settings):
        return sorted(
            {path for path in listed.split("\0") if path and (folder / path).is_file()} | {MANIFEST}
        )
    inside = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return sorted(
        path.as_posix()
        for path in inside
        if not any(part.startswith(".") or part == "__pycache__" for part in path.parts)
    )


def _commit(folder: Path, settings: RegistrySettings) -> str | None:
    head = _git(folder, settings, "rev-parse", "--verify", "HEAD")
    if head is None or _is_ignored(folder, settings):
        return None
    dirty = _git(folder, settings, "status", "--porcelain", "--", ".")
    return head.strip() + ("+dirty" if dirty else "")


def _is_ignored(folder: Path, settings: RegistrySettings) -> bool:
    """Whether the folder lies in a working tree that ignores it: then the tree says nothing about it."""
    return _git(folder, settings, "check-ignore", "--quiet", ".") is not None


def _git(folder: Path, settings: RegistrySettings, *arguments: str) -> str | None:
    """Answer of git about a folder; None when it is no working tree, or there is no git."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=settings.git_seconds_max,
            check=False,
        )
    except FileNotFoundError:
        return None
    except subprocess.TimeoutExpired:
        raise SourceUnreadable(
            f"git did not answer within {settings.git_seconds_max:g} s in {folder}; try again"
        ) from None
    return done.stdout if done.returncode == 0 else None
