"""Which paths a bundle's files may have: the same on every file system, and never outside the bundle."""

from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.tasks.paths import DEPTH_MAX, PATH_CHARS_MAX, clashes, path_problem


@pytest.mark.parametrize(
    "path", ["main.py", "models/digits.shoalmodel", "a/b/c/d.e-f_g", "__init__.py", "A1"]
)
def test_plain_paths_are_fine(path: str) -> None:
    assert path_problem(path) is None


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("", "keep it within"),
        ("a" * (PATH_CHARS_MAX + 1), "keep it within"),
        ("/".join("a" * (DEPTH_MAX + 1)), "folders deep"),
        ("/etc/passwd", "plain relative"),
        ("../a", "plain relative"),
        ("a/../b", "plain relative"),
        ("a/./b", "plain relative"),
        ("a//b", "plain relative"),
        ("a/", "plain relative"),
        ("a\\b", "plain relative"),
        ("c:a", "plain relative"),
        (".git", "odd name"),
        ("a b", "odd name"),
        ("a.", "odd name"),
        ("é", "odd name"),
        ("a\n", "odd name"),
        ("a\x00", "odd name"),
        ("-rf", "odd name"),
        ("con", "reserve"),
        ("a/NUL.txt", "reserve"),
        ("code.bin", "publishing itself"),
        ("Manifest.JSON", "publishing itself"),
    ],
)
def test_odd_paths_are_refused_with_a_reason(path: str, why: str) -> None:
    problem = path_problem(path)
    assert problem is not None
    assert why in problem


@given(st.text(alphabet="ab./\\:-_~C \n\x00é", max_size=12))
def test_an_accepted_path_stays_inside_on_every_system(path: str) -> None:
    if path_problem(path) is not None:
        return
    for kind in (PurePosixPath, PureWindowsPath):
        parsed = kind(path)
        assert not parsed.is_absolute()
        assert parsed.drive == ""
        assert ".." not in parsed.parts
        assert "/".join(parsed.parts) == path


def test_paths_that_cannot_lie_side_by_side_are_named() -> None:
    assert clashes(["a", "b/c", "b/d"]) == []
    assert clashes(["a/B", "a/b"]) == ["a/B and a/b differ only by the case of letters; rename one"]
    assert clashes(["A", "a/b"]) == ["A is a file and a folder of a/b; rename one"]
