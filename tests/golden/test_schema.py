"""`make check` refuses a change of a message that old devices could not read, also where Git knows no history.

What it runs is copied to a folder outside any checkout, with one edit; the schema that it is held against is golden.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECK = "deploy/setup/protos-current.sh"
SCHEMA = "tests/golden/wire/schema.txtpb"
PROTOS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "protos").rglob("*.proto"))
# (text of a field's line, what it becomes, what is said of it)
EDITS = [
    pytest.param(r"^  \S+ \w+ = 1;\n", "", "was deleted", id="deleted"),
    pytest.param(r"^(  \S+ \w+) = 1;", r"\1 = 9999;", "was deleted", id="renumbered"),
    pytest.param(r"^  \S+ (\w+) = 1;", r"  double \1 = 1;", "changed type", id="retyped"),
    pytest.param(r"^(  \S+ )(\w+) = 1;", r"\1renamed = 1;", "changed", id="renamed"),
]
pytestmark = pytest.mark.slow


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What the check reads, without history."""
    for name in ("protos", "buf.yaml", CHECK, SCHEMA):
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target)
        else:
            shutil.copy2(ROOT / name, target)
    return tmp_path


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(folder / CHECK), sys.executable],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_what_is_checked_in_passes(copy: Path) -> None:
    done = check(copy)
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.mark.parametrize(("field", "becomes", "said"), EDITS)
def test_a_change_that_old_devices_cannot_read_is_refused(
    copy: Path, field: str, becomes: str, said: str
) -> None:
    path = copy / "protos/shoal/device/v1/device.proto"
    text, edits = re.subn(field, becomes, path.read_text(), count=1, flags=re.M)
    assert edits == 1
    path.write_text(text)
    done = check(copy)
    assert done.returncode == 1
    assert said in done.stdout, done.stdout
    assert "old devices" in done.stderr


@pytest.mark.parametrize("name", PROTOS)
def test_no_file_is_left_out(copy: Path, name: str) -> None:
    """Each file's first field is held against the schema."""
    path = copy / name
    text, edits = re.subn(r"^  \S+ \w+ = \d+;\n", "", path.read_text(), count=1, flags=re.M)
    assert edits == 1, f"{name} has no field"
    path.write_text(text)
    done = check(copy)
    assert (done.returncode, "was deleted" in done.stdout) == (1, True), done.stdout + done.stderr


def test_an_added_field_is_allowed_and_must_be_written_down(copy: Path) -> None:
    path = copy / "protos/shoal/device/v1/device.proto"
    text = re.sub(
        r"^  (\S+ \w+ = 1;)$", r"  \1\n  string new = 9999;", path.read_text(), count=1, flags=re.M
    )
    path.write_text(text)
    done = check(copy)
    assert (done.returncode, "run make protos" in done.stderr) == (1, True), done.stderr
