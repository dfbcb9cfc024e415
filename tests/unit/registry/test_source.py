"""Reading a task from a folder and from a Git working tree, and saying what changed between versions."""

import shutil
import subprocess
from pathlib import Path

import pytest

from cloud.registry.diff import FileChange, file_changes, manifest_changes, text_diff
from cloud.registry.errors import SourceUnreadable
from cloud.registry.settings import RegistrySettings
from cloud.registry.upload import read_source

TOML = '[task]\nname = "a"\nentry = "main:run"\n[[triggers]]\nevent = 1\n[[resources]]\npath = "m.bin"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path, text in {
        "task.toml": TOML,
        "main.py": "def run(event): ...\n",
        "lib/__init__.py": "",
        "tests/test_main.py": "",
        "test_more.py": "",
        "m.bin": "m",
        "README.md": "",
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def test_scripts_and_listed_resources_are_taken_and_nothing_else(folder: Path) -> None:
    found = read_source(folder)
    assert sorted(found.files) == ["lib/__init__.py", "m.bin", "main.py", "task.toml"]


def test_a_commit_is_recorded_and_a_dirty_tree_said(folder: Path) -> None:
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    commit = git(folder, "rev-parse", "HEAD")
    assert read_source(folder).source_commit == commit
    (folder / "main.py").write_text("def run(event): return 1\n")
    assert read_source(folder).source_commit == f"{commit}+dirty"


def test_ignored_scripts_do_not_count(folder: Path) -> None:
    git(folder, "init", "-q")
    (folder / ".gitignore").write_text("scratch.py\n")
    (folder / "scratch.py").write_text("")
    assert "scratch.py" not in read_source(folder).files


def test_a_folder_that_the_tree_ignores_is_read_as_a_plain_folder(folder: Path) -> None:
    """As when a task is generated below a build folder: git would list none of its files."""
    (folder / "build").mkdir()
    for name in ("main.py", "task.toml", "m.bin"):
        (folder / "build" / name).write_bytes((folder / name).read_bytes())
    git(folder, "init", "-q")
    (folder / ".gitignore").write_text("/build/\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    found = read_source(folder / "build")
    assert sorted(found.files) == ["m.bin", "main.py", "task.toml"]
    assert found.source_commit is None, "the commit does not hold these files"


def test_a_folder_below_a_hidden_one_is_read(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    hidden = tmp_path_factory.mktemp("x") / ".tasks" / "one"
    shutil.copytree(folder, hidden)
    assert read_source(hidden).files == read_source(folder).files


def test_a_folder_without_a_task_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable, match="shoal task init"):
        read_source(tmp_path)


def test_file_changes_leave_derived_files_out() -> None:
    before = [
        {"kind": "source", "path": "a.py", "digest": "1"},
        {"kind": "source", "path": "b.py", "digest": "1"},
        {"kind": "bytecode", "path": "code.bin", "digest": "1"},
    ]
    after = [
        {"kind": "source", "path": "a.py", "digest": "2"},
        {"kind": "resource", "path": "m.bin", "digest": "3"},
        {"kind": "bytecode", "path": "code.bin", "digest": "2"},
    ]
    assert file_changes(before, after) == [
        FileChange(kind="resource", path="m.bin", change="added", before="", after="3"),
        FileChange(kind="source", path="a.py", change="changed", before="1", after="2"),
        FileChange(kind="source", path="b.py", change="removed", before="1", after=""),
    ]


def test_manifest_changes_name_the_field() -> None:
    changes = list(
        manifest_changes({"limits": {"wall_ms": 1, "x": 2}}, {"limits": {"wall_ms": 3, "x": 2}})
    )
    assert changes == [("limits.wall_ms", 1, 3)]


def test_a_long_diff_is_cut_and_says_so() -> None:
    diff = text_diff("a.py", "", "\n" * 50, RegistrySettings(diff_lines_max=5))
    assert diff.endswith("lines more")
