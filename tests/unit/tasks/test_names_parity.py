"""Names, paths, versions and numbers of tasks against slow references that were written from the documents alone."""

import string
import tomllib
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from device_agent.tasks.errors import ManifestInvalid, NameInvalid
from device_agent.tasks.manifest import parse_manifest
from device_agent.tasks.names import (
    Namespace,
    check_digest,
    check_task_name,
    is_text,
    new_release_id,
    parse_target_path,
    target_path,
)
from device_agent.tasks.paths import DEPTH_MAX, MADE_BY_CLOUD, PATH_CHARS_MAX, clashes, path_problem
from device_agent.tasks.requires import fits_version

LETTERS = set(string.ascii_lowercase)
SEGMENT = LETTERS | set(string.digits) | {"-"}
PLAIN = set(string.ascii_letters + string.digits + "._-")
RESERVED = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{name}{n}" for name in ("com", "lpt") for n in range(10)),
}
odd_names = st.text(alphabet="ab0-_A.ä\n/ ", max_size=5) | st.text(max_size=70)
ODD_PARTS = [
    "a",
    "B",
    "..",
    ".",
    "",
    "con",
    "Nul.txt",
    "x.bin",
    "x.",
    ".x",
    "a b",
    "ä",
    "a\\b",
    "c:",
    "com1",
    "com10",
    "-x",
    "_",
]
odd_paths = st.lists(st.sampled_from(ODD_PARTS), min_size=1, max_size=10).map("/".join)
hex_64 = st.text("0123456789abcdef", min_size=64, max_size=64)
MANIFEST = '[task]\nname = "a"\nentry = "main:run"\n[[triggers]]\nevent = 1\n'


def refused(check: object, text: str) -> bool:
    try:
        check(text)  # type: ignore[operator]  # a function of names.py
    except NameInvalid:
        return True
    return False


def is_segment(text: str) -> bool:
    return 0 < len(text) <= 63 and text[0] in LETTERS and set(text) <= SEGMENT


@given(odd_names)
def test_task_names(text: str) -> None:
    assert refused(check_task_name, text) == (not is_segment(text))


@given(st.lists(odd_names, max_size=4).map("/".join))
def test_namespaces(text: str) -> None:
    parts = text.split("/")
    good = len(parts) == 2 and all(map(is_segment, parts))
    assert refused(Namespace.parse, text) == (not good)
    if good:
        assert str(Namespace.parse(text)) == text


@given(st.text(alphabet="0123456789abcdefABCDEF: \n", max_size=75) | hex_64.map("sha256:".__add__))
def test_digests(text: str) -> None:
    hex_digits = text.removeprefix("sha256:")
    good = (
        text.startswith("sha256:")
        and len(hex_digits) == 64
        and set(hex_digits) <= set("0123456789abcdef")
    )
    assert refused(check_digest, text) == (not good)


@given(st.integers(1, 999_999_999), st.text("0123456789abcdef", min_size=64, max_size=64))
def test_target_paths_come_back(version: int, digits: str) -> None:
    path = target_path(Namespace("demo", "app"), "digits", version, f"sha256:{digits}")
    assert str(parse_target_path(path)) == path
    for wrong in (
        f"{path}/",
        f"/{path}",
        path.replace("/digits/", "/digits//"),
        path.upper(),
        f"{path}\n",
    ):
        assert refused(parse_target_path, wrong)


def path_is_good(path: str) -> bool:
    """The rules of paths.py, one by one and slowly."""
    if not 0 < len(path) <= PATH_CHARS_MAX or path.lower() in MADE_BY_CLOUD:
        return False
    parts = path.split("/")
    return len(parts) <= DEPTH_MAX and all(
        part
        and set(part) <= PLAIN
        and part[0] not in ".-"
        and part[-1] != "."
        and part.lower().split(".")[0] not in RESERVED
        for part in parts
    )


@given(
    odd_paths
    | st.text(max_size=30)
    | st.sampled_from(["manifest.json", "CODE.bin", "a/manifest.json", "a" * 201])
)
def test_paths(path: str) -> None:
    assert (path_problem(path) is None) == path_is_good(path)


@hypothesis_settings(max_examples=40)
@given(odd_paths | st.text(max_size=30))
def test_a_path_that_is_taken_stays_inside_on_every_system(path: str) -> None:
    if path_problem(path) is not None:
        return
    for kind in (PurePosixPath, PureWindowsPath):
        inside = kind("root") / path
        assert inside.parts[0] == "root"
        assert ".." not in inside.parts
        assert not kind(path).is_absolute()
        assert "/".join(kind(path).parts) == path, "already normal"


@hypothesis_settings(max_examples=40)
@given(
    st.lists(st.lists(st.sampled_from("aAbB"), min_size=1, max_size=3).map("/".join), max_size=6)
)
def test_clashes(paths: list[str]) -> None:
    different = set(paths)
    expected = any(
        (one != other and one.lower() == other.lower())
        or other.lower().startswith(one.lower() + "/")
        for one in different
        for other in different
    )
    assert bool(clashes(paths)) == expected


# --- versions ---------------------------------------------------------------------------------------------------

versions = st.lists(st.integers(0, 12), min_size=1, max_size=4)
signs = st.sampled_from(["==", "!=", ">=", "<=", ">", "<"])


def compared(left: list[int], sign: str, right: list[int]) -> bool:
    """Digit by digit, the first that differs decides; what is not written is 0."""
    for place in range(4):
        one = left[place] if place < len(left) else 0
        other = right[place] if place < len(right) else 0
        if one != other:
            return sign == "!=" or sign.startswith(">" if one > other else "<")
    return sign in {"==", ">=", "<="}


def dotted(numbers: list[int]) -> str:
    return ".".join(map(str, numbers))


@hypothesis_settings(max_examples=40)
@given(
    versions,
    st.lists(st.tuples(signs, versions), max_size=4),
    st.sampled_from(["", "rc1", ".dev3", "+abc"]),
)
def test_versions_are_compared_by_their_numbers(
    version: list[int], comparisons: list[tuple[str, list[int]]], suffix: str
) -> None:
    text = ",".join(f"{sign}{dotted(numbers)}" for sign, numbers in comparisons)
    expected = all(compared(version, sign, numbers) for sign, numbers in comparisons)
    assert fits_version(dotted(version) + suffix, text) == expected


@pytest.mark.parametrize("version", ["", "v1", "unknown", "-1"])
def test_a_version_that_cannot_be_read_fits_nothing(version: str) -> None:
    assert fits_version(version, "")
    assert not fits_version(version, "!=1")


# --- numbers, characters and lines of a manifest ----------------------------------------------------------------


@pytest.mark.parametrize(
    "digits", ["9" * 5_000, "0x" + "f" * 5_000, "-0x1", "0b" + "1" * 20_000, "1" + "0" * 4_400]
)
def test_a_number_of_any_length_is_refused_with_its_field(digits: str) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        parse_manifest(f"{MANIFEST}[limits]\nwall_ms = {digits}\n")
    problem = caught.value.problems[0]
    assert problem.field in {"limits.wall_ms", "manifest"}
    assert len(str(problem)) < 300


@given(st.lists(st.sampled_from(["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"]), max_size=4))
def test_a_problem_is_told_with_the_line_that_an_editor_shows(breaks: list[str]) -> None:
    """Only a line feed ends a line of TOML; other characters that some programs break at do not count."""
    odd = "".join(char for char in breaks if char > "\x7f")
    text = f'[task]\nname = "a"\nsummary = "{odd}"\nentry = "main:run"\n# {odd}\n[[triggers]]\nevent = 0\n'
    tomllib.loads(text)
    with pytest.raises(ManifestInvalid) as caught:
        parse_manifest(text)
    lines = {problem.field: problem.line for problem in caught.value.problems}
    assert lines["triggers[0].event"] == 7


@given(st.text(max_size=20))
def test_text_is_what_can_be_written(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        assert not is_text(text)
    else:
        assert is_text(text)


def test_half_a_character_is_no_text() -> None:
    assert not is_text("a\ud800")
    assert not is_text("\udfff")
    assert is_text("a\ue000\ud7ff😀")


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_release_ids_sort_by_time(one: int, other: int, entropy: bytes) -> None:
    first, second = new_release_id(one, entropy), new_release_id(other, bytes(10))
    if one != other:
        assert (first < second) == (one < other)
    assert len(first) == 27
