"""The folders of bundles: whole or absent, whatever lies there and wherever the agent dies."""

import hashlib
import marshal
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from device_agent import failpoint
from device_agent.agent.bundles import (
    BundleFolders,
    assemble,
    check_paths,
    clean_up,
    find_held,
    is_intact,
)
from device_agent.agent.store.held import BundleRow
from device_agent.errors import ShoalError
from device_agent.tasks.bytecode import encode_bytecode, python_tag, running_magic
from device_agent.tasks.director import Action, BundleFile, Scope, TaskInstruction
from device_agent.tasks.errors import BundleInvalid
from device_agent.tasks.manifest import Manifest, Resource, Trigger

TAG = python_tag()
CODE = encode_bytecode({"main": marshal.dumps(compile("pass", "m", "exec"))}, running_magic())
MODEL = b"model" * 500


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def contents(version: int, task: str = "echo") -> dict[str, bytes]:
    """The files of one version; the model is the same in all of them."""
    manifest = Manifest(
        name=task,
        entry="main:run",
        summary=f"version {version}",
        triggers=(Trigger(event=1),),
        resources=(Resource(path="a/model.bin"), Resource(path="b/model.bin")),
    )
    return {
        "manifest.json": manifest.to_json(),
        "code.bin": CODE,
        "a/model.bin": MODEL,
        "b/model.bin": MODEL,
    }


def instruction(version: int, files: dict[str, bytes], task: str = "echo") -> TaskInstruction:
    return TaskInstruction(
        task=task,
        action=Action.INSTALL,
        version=version,
        digest=digest_of(str((task, version)).encode()),
        files=tuple(
            BundleFile(
                path=path, digest=digest_of(data), size=len(data), scope=Scope.SHARED, target=""
            )
            for path, data in files.items()
        ),
    )


def fetched(folders: BundleFolders, files: dict[str, bytes]) -> dict[str, Path]:
    """Downloads that have arrived."""
    folders.prepare()
    sources = {}
    for path, data in files.items():
        sources[path] = folders.files / digest_of(data).removeprefix("sha256:")
        sources[path].write_bytes(data)
    return sources


def put(folders: BundleFolders, version: int) -> BundleRow:
    files = contents(version)
    return assemble(folders, instruction(version, files), TAG, fetched(folders, files))


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def folders(tmp_path: Path) -> BundleFolders:
    return BundleFolders(tmp_path)


@pytest.fixture
def disarmed() -> Iterator[None]:
    yield
    failpoint.arm(None)


def test_a_bundle_lies_in_its_place_with_just_its_files(folders: BundleFolders) -> None:
    row = put(folders, 1)
    place = folders.folder("echo", row.digest, TAG)
    assert tree(place) == contents(1)
    assert row.files["a/model.bin"] == (digest_of(MODEL), len(MODEL))
    assert row.size == sum(map(len, contents(1).values()))
    assert tree(folders.assembly) == {}


def test_what_a_death_left_in_the_place_of_a_bundle_is_replaced(folders: BundleFolders) -> None:
    row = put(folders, 1)
    place = folders.folder("echo", row.digest, TAG)
    (place / "code.bin").unlink()
    (place / "rubbish").write_text("x")
    staged = folders.assembly / f"echo.{place.name}"
    staged.mkdir()
    (staged / "rubbish").write_text("x")
    put(folders, 1)
    assert tree(place) == contents(1)


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.usefixtures("disarmed")
@pytest.mark.parametrize("moment", ["agent.install.staged", "agent.install.renamed"])
def test_a_bundle_is_whole_or_absent_wherever_the_agent_dies(
    folders: BundleFolders, moment: str
) -> None:
    def die(passed: str) -> None:
        if passed == moment:
            raise Killed

    files = contents(1)
    wanted, sources = instruction(1, files), fetched(folders, files)
    failpoint.arm(die)
    with pytest.raises(Killed):
        assemble(folders, wanted, TAG, sources)
    failpoint.arm(None)
    place = folders.folder("echo", wanted.digest, TAG)
    assert tree(place) in ({}, files)
    row = assemble(folders, wanted, TAG, sources)
    assert tree(place) == files
    assert all(is_intact(place / path, *row.files[path]) for path in files)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda files: files | {"manifest.json": b"{}"},
        lambda files: files | {"manifest.json": b"[" * 10_000},
        lambda files: files | {"manifest.json": contents(1, "other")["manifest.json"]},
        lambda files: files | {"code.bin": b"SHBC"},
        lambda files: files | {"code.bin": encode_bytecode({"other": b"x"}, running_magic())},
        lambda files: {path: data for path, data in files.items() if path != "b/model.bin"},
    ],
    ids=["no manifest", "deep", "another task", "cut code", "no entry", "no resource"],
)
def test_verified_files_that_are_no_bundle_change_nothing(
    folders: BundleFolders, wrong: "object"
) -> None:
    put(folders, 1)
    before = tree(folders.home / "bundles")
    files = wrong(contents(2))  # type: ignore[operator]  # a function of the table above
    with pytest.raises(ShoalError):
        assemble(folders, instruction(2, files), TAG, fetched(folders, files))
    assert tree(folders.home / "bundles") == before


@pytest.mark.parametrize(
    "paths",
    [["x", "x/y"], ["Model.bin", "model.bin"], ["a/b", "A/B/c"]],
    ids=["file and folder", "case", "both"],
)
def test_paths_that_cannot_lie_side_by_side_are_the_clouds_fault(paths: list[str]) -> None:
    """Not the disk's: a device that put them off as a full disk would try for ever."""
    files = contents(1) | dict.fromkeys(paths, b"")
    with pytest.raises(BundleInvalid, match="rename one"):
        check_paths(instruction(1, files))
    check_paths(instruction(1, contents(1) | {paths[0]: b""}))


def odd_file(path: Path, kind: str) -> None:
    """Something that is not the file that should lie there."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "circle":
        path.symlink_to(path)
    elif kind == "dangling":
        path.symlink_to(path.with_name("nowhere"))
    elif kind == "flipped":
        path.write_bytes(b"M" + MODEL[1:])
    elif kind == "longer":
        path.write_bytes(MODEL + b"x")
    elif kind == "empty":
        path.write_bytes(b"")


ODD = ["missing", "folder", "circle", "dangling", "flipped", "longer", "empty"]


@pytest.mark.parametrize("kind", ODD)
def test_a_file_that_is_not_what_it_was_is_found_elsewhere_or_fetched_again(
    folders: BundleFolders, kind: str
) -> None:
    row = put(folders, 1)
    place = folders.folder("echo", row.digest, TAG)
    odd_file(place / "a/model.bin", kind)
    assert not is_intact(place / "a/model.bin", *row.files["a/model.bin"])
    wanted = instruction(2, contents(2)).files
    found = find_held(folders, wanted, [row])
    assert found[digest_of(MODEL)] == place / "b/model.bin"
    odd_file(place / "b/model.bin", kind)
    assert digest_of(MODEL) not in find_held(folders, wanted, [row])


def test_a_folder_in_the_place_of_a_bundles_folder_is_no_fault(folders: BundleFolders) -> None:
    row = put(folders, 1)
    place = folders.folder("echo", row.digest, TAG)
    for path in sorted(place.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    place.rmdir()
    place.write_text("a file")
    assert find_held(folders, instruction(1, contents(1)).files, [row]) == {}


@pytest.mark.parametrize("kind", ODD)
def test_clean_up_copes_with_everything_that_can_lie_there(
    folders: BundleFolders, kind: str
) -> None:
    row = put(folders, 1)
    place = folders.folder("echo", row.digest, TAG)
    wanted = "f" * 64
    for number, parent in enumerate(
        (folders.home / "bundles", place.parent, folders.files, folders.assembly)
    ):
        odd_file(parent / f"odd{number}", kind)
        (parent / f"full{number}").mkdir()
        (parent / f"full{number}" / "x").write_text("x")
    odd_file(folders.files / wanted, kind)
    outside = folders.home / "outside"
    outside.write_text("of somebody else")
    (folders.home / "bundles" / "link").symlink_to(folders.home)
    clean_up(folders, known={place}, downloads={wanted}, partials_bytes_max=10_000)
    assert tree(folders.home / "bundles") == {
        str(place.relative_to(folders.home / "bundles") / path): data
        for path, data in contents(1).items()
    }
    assert outside.exists(), "a link is removed, not what it leads to"
    assert [path.name for path in folders.assembly.iterdir()] == []
    left = [path.name for path in folders.files.iterdir()]
    assert left == ([wanted] if kind in {"flipped", "longer", "empty"} else [])


@pytest.mark.slow
@hypothesis_settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    sizes=st.lists(st.integers(0, 40), max_size=8),
    wanted=st.sets(st.integers(0, 7)),
    room=st.integers(0, 120),
    seed=st.integers(0, 99),
)
def test_the_newest_wanted_downloads_stay_within_their_room(
    tmp_path: Path, sizes: list[int], wanted: set[int], room: int, seed: int
) -> None:
    folders = BundleFolders(tmp_path)
    folders.prepare()
    for left in folders.files.iterdir():
        left.unlink()
    ages = list(range(len(sizes)))
    Random(seed).shuffle(ages)
    for number, (size, age) in enumerate(zip(sizes, ages, strict=True)):
        file = folders.files / (f"{number:064x}" + (".part" if number % 2 else ""))
        file.write_bytes(bytes(size))
        os.utime(file, ns=(age, age))
    clean_up(
        folders,
        known=(),
        downloads={f"{number:064x}" for number in wanted},
        partials_bytes_max=room,
    )
    expected, used = set(), 0
    for number in sorted(range(len(sizes)), key=lambda one: -ages[one]):
        if number in wanted and used + sizes[number] <= room:
            used += sizes[number]
            expected.add(number)
    assert {int(path.name.partition(".")[0], 16) for path in folders.files.iterdir()} == expected
