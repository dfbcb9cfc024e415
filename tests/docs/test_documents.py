"""Runs what the documents tell a reader to type: every block between `<!-- run -->` and `<!-- end -->`, in order.

A ```sh block runs in one folder, with the environment's commands on PATH; any other block with `file=NAME` in its
info string is written to that file. One bash process a document: what a reader exports stays exported.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECTION = re.compile(r"<!-- run -->(.*?)<!-- end -->", re.S)
BLOCK = re.compile(r"^```(\S+)([^\n]*)\n(.*?)^```$", re.S | re.M)
DOCUMENT_SECONDS_MAX = 240


def documents() -> Iterator[Path]:
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        if SECTION.search(path.read_text()):
            yield path


def script(document: str, folder: Path) -> str:
    lines = ["set -euo pipefail", "trap 'code=$?; jobs -p | xargs -r kill; wait; exit $code' EXIT"]
    for section in SECTION.findall(document):
        for language, info, body in BLOCK.findall(section):
            name = re.search(r"file=(\S+)", info)
            if name:
                target = folder / name[1]
                lines += [
                    f"mkdir -p {target.parent}",
                    f"cat > {target} <<'SHOAL_FILE'",
                    body + "SHOAL_FILE",
                ]
            elif language == "sh":
                lines.append(body)
    return "\n".join(lines)


def test_some_document_is_run() -> None:
    assert list(documents()), "the tutorial lost its run markers"


@pytest.mark.slow
@pytest.mark.parametrize("path", list(documents()), ids=lambda path: path.name)
def test_document_runs(path: Path, tmp_path: Path) -> None:
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("SHOAL_")},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path / "home"),
    }
    (tmp_path / "home").mkdir()
    work = tmp_path / "work"
    work.mkdir()
    done = subprocess.run(
        ["bash", "-c", script(path.read_text(), work)],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        timeout=DOCUMENT_SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, (
        f"{path.name} failed:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    )
