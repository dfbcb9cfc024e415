"""One build for each Python of the fleet: which there are, what names them, and which device gets which."""

import asyncio
import json
import marshal
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloud.gateway.load import load_versions
from cloud.gateway.release_set import Version, VersionPlan
from cloud.registry.builds import Builder, build_key
from cloud.registry.errors import CompilerFailed, SourceInvalid
from cloud.registry.registry import UNSIGNED, TaskRegistry
from cloud.registry.settings import RegistrySettings
from cloud.store.audit import read_audit, verify_chain
from cloud.store.database import Database
from cloud.store.epochs import changes_since, current_epoch
from cloud.store.namespaces import create_namespace
from device_agent.errors import ShoalError
from device_agent.tasks.bytecode import decode_bytecode, python_tag
from device_agent.tasks.errors import BytecodeForAnotherPython
from device_agent.tasks.manifest import Manifest, parse_manifest
from device_agent.tasks.requires import Capabilities
from tests.unit.registry.test_registry import NAMESPACE, SOURCE, Site, upload

DOCUMENTED = (
    b'def on_event(event):\n    "What it does."\n    assert event\n    return on_event.__doc__\n'
)
ONLY_313 = b"def on_event[T = int](event: T) -> None: ...\n"  # a default of a type parameter
RUN = """
import marshal, sys
names = {}
exec(marshal.loads(sys.stdin.buffer.read()), names)
print(names["on_event"](1), sys.version_info[1])
"""


def manifest(requires: str = "") -> Manifest:
    toml = '[task]\nname = "digits"\nentry = "main:on_event"\n[[triggers]]\nevent = 1\n'
    return parse_manifest(toml + (f'[requires]\npython = "{requires}"\n' if requires else ""))


def another_python() -> str:
    """A Python 3 of this machine with other bytecode: the newest of what is on PATH and in pyenv's folder."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [str(path) for path in versions.glob("3.1[0-9]*/bin/python3")]
    found += [path for path in (shutil.which(f"python3.{n}") for n in range(10, 16)) if path]
    tags: dict[str, str] = {}
    for program in found:
        said = subprocess.run(
            [program, "-I", "-S", "-c", "import sys; print(sys.implementation.cache_tag)"],
            capture_output=True,
            text=True,
            check=False,
        )
        if said.returncode == 0 and said.stdout.strip() != sys.implementation.cache_tag:
            tags[said.stdout.strip()] = program
    return tags[max(tags)] if tags else ""


OTHER = another_python()
with_another_python = pytest.mark.skipif(
    not OTHER, reason="this machine has no second Python 3 with other bytecode"
)


def other_tag(builds: dict[str, bytes]) -> str:
    [tag] = builds.keys() - {python_tag()}
    return tag


def magic_of(tag: str) -> int:
    return int(tag.rpartition("-")[2])


async def test_without_others_there_is_the_build_of_this_python() -> None:
    builds = await Builder().build(manifest(), {"main.py": SOURCE})
    assert list(builds) == [python_tag()]
    assert list(decode_bytecode(builds[python_tag()])) == ["main"]


@with_another_python
def test_each_python_gets_bytecode_that_it_runs() -> None:
    builder = Builder(RegistrySettings(pythons=(OTHER,)))
    builds = asyncio.run(builder.build(manifest(), {"main.py": DOCUMENTED}))
    tag = other_tag(builds)
    [code] = decode_bytecode(builds[tag], magic_of(tag)).values()
    ran = subprocess.run(
        [OTHER, "-I", "-S", "-c", RUN], input=code, capture_output=True, check=True
    )
    said, minor = ran.stdout.decode().rsplit(maxsplit=1)
    assert said == "What it does."
    assert f"cpython-3{minor}" in tag
    with pytest.raises(BytecodeForAnotherPython, match="sync again for the right build"):
        decode_bytecode(builds[tag])


async def test_the_key_is_of_scripts_python_and_options() -> None:
    sources = {"main.py": SOURCE}
    key = build_key("digits", sources, "cpython-313-3571", 0)
    assert key == build_key("digits", dict(sources), "cpython-313-3571", 0)
    others = {
        build_key("digits", {"main.py": SOURCE + b"#"}, "cpython-313-3571", 0),
        build_key("digits", {"other.py": SOURCE}, "cpython-313-3571", 0),
        build_key("letters", sources, "cpython-313-3571", 0),
        build_key("digits", sources, "cpython-314-3620", 0),
        build_key("digits", sources, "cpython-313-3571", 2),
    }
    assert len(others) == 5
    assert key not in others


async def test_equal_keys_are_equal_bytes_and_other_options_are_not() -> None:
    async def built(optimize: int) -> bytes:
        builder = Builder(RegistrySettings(optimize=optimize))
        return (await builder.build(manifest(), {"main.py": DOCUMENTED}))[python_tag()]

    plain, again, stripped = await asyncio.gather(built(0), built(0), built(2))
    assert plain == again
    assert plain != stripped
    names: dict[str, object] = {}
    exec(marshal.loads(decode_bytecode(stripped)["main"]), names)
    assert names["on_event"].__doc__ is None


async def test_a_build_is_made_once(tmp_path: Path) -> None:
    program = tmp_path / "python"
    calls = tmp_path / "calls"
    program.write_text(f'#!/bin/sh\necho call >> {calls}\nexec {sys.executable} "$@"\n')
    program.chmod(0o755)
    builder = Builder(RegistrySettings(builds_kept_max=1))
    [own] = await builder._all_pythons()
    builder._pythons = [replace(own, executable=str(program))]
    for source, made in ((SOURCE, 1), (SOURCE, 1), (DOCUMENTED, 2), (SOURCE, 3)):
        await builder.build(manifest(), {"main.py": source})
        assert calls.read_text().count("call") == made


@with_another_python
async def test_scripts_must_compile_for_every_python_that_is_admitted() -> None:
    builder = Builder(RegistrySettings(pythons=(OTHER,)))
    with pytest.raises(SourceInvalid, match=r"do not compile for cpython-3(?s:.)*requires\.python"):
        await builder.build(manifest(), {"main.py": ONLY_313})
    own = sys.implementation.cache_tag
    assert list(await builder.build(manifest(requires=own), {"main.py": ONLY_313})) == [
        python_tag()
    ]


async def test_a_python_that_is_not_there_is_named() -> None:
    builder = Builder(RegistrySettings(pythons=("/no/such/python",)))
    with pytest.raises(CompilerFailed, match="/no/such/python cannot be run"):
        await builder.build(manifest(), {"main.py": SOURCE})


@pytest.fixture
async def site(tmp_path: Path, database: Database) -> Site:
    made = Site(tmp_path, database, RegistrySettings(pythons=(OTHER,)))
    await made.repository.load(made.online.first_metadata, made.clock.wall_ms())
    async with database.begin() as connection:
        await create_namespace(connection, NAMESPACE, made.clock.wall_ms(), "ann")
    return made


def fits(version: Version, tag: str) -> bool:
    has = Capabilities(agent_version="0.1.0", guest_api=1, op_set=1, python_tag=tag)
    return VersionPlan(version).fits(has)


@with_another_python
async def test_from_upload_to_what_each_device_is_sent(site: Site, database: Database) -> None:
    prepared = await site.publish(upload())
    rows = await site.registry.files(NAMESPACE, "digits", prepared.version)
    tags = [row["python_tag"] for row in rows if row["kind"] == "bytecode"]
    assert len(tags) == 2
    vouched = {target.target for target in prepared.targets}
    assert {row["target"] for row in rows if row["kind"] == "bytecode"} <= vouched
    async with database.read() as connection:
        [version] = await load_versions(connection, NAMESPACE, [("digits", prepared.version)])
    sent = {}
    for tag in tags:
        assert fits(version, tag)
        files = {file.path: file for file in version.bundles[tag]}
        assert sorted(files) == ["code.bin", "manifest.json", "weights.bin"]
        sent[tag] = files["code.bin"].digest
        code = await site.registry.content(sent[tag])
        assert list(decode_bytecode(code, magic_of(tag))) == ["main"]
    assert len(set(sent.values())) == 2
    assert not fits(version, "cpython-399-9999")
    assert json.dumps(sorted(version.bundles)) == json.dumps(sorted(tags))


def with_pythons(site: Site, database: Database, *pythons: str) -> TaskRegistry:
    """The same cloud after its settings named other Pythons."""
    settings = RegistrySettings(pythons=pythons)
    return TaskRegistry(database, site.blobs, site.repository, site.clock, settings)


async def bundles_of(database: Database, version: int) -> set[str]:
    """The bytecode tags that gateways have files for."""
    async with database.read() as connection:
        [found] = await load_versions(connection, NAMESPACE, [("digits", version)])
    return set(found.bundles)


@with_another_python
async def test_a_python_that_is_named_later_gets_its_build_from_the_same_content(
    site: Site, database: Database
) -> None:
    site.registry = with_pythons(site, database)
    first = await site.publish(upload())
    assert await bundles_of(database, first.version) == {python_tag()}
    site.registry = with_pythons(site, database, OTHER)
    async with database.read() as connection:
        before = await current_epoch(connection, NAMESPACE)
    again = await site.prepare(upload())
    assert (again.version, again.digest) == (first.version, first.digest)
    assert not again.already_published
    added = {one.target for one in again.targets} - {one.target for one in first.targets}
    assert len(added) == 1
    # Not signed yet: no gateway has it, and no device is sent it.
    assert await bundles_of(database, first.version) == {python_tag()}
    rows = await site.registry.files(NAMESPACE, "digits", first.version)
    [waiting] = [row["python_tag"] for row in rows if row["kind"] == UNSIGNED]
    files = await site.registry.bundle_files(NAMESPACE, "digits", first.version, waiting)
    assert "code.bin" not in [file.path for file in files]
    await site.registry.publish(NAMESPACE, "digits", again.version, site.sign(again), "bob")
    assert await bundles_of(database, first.version) == {python_tag(), waiting}
    async with database.read() as connection:
        after = await current_epoch(connection, NAMESPACE)
        [change] = await changes_since(connection, NAMESPACE, before, 10)
        assert (await verify_chain(connection, NAMESPACE)).rows > 2
        [entry] = [
            one for one in await read_audit(connection, NAMESPACE) if one.action == "task.build"
        ]
    assert after == change.epoch > before
    assert (change.kind, change.subject, entry.actor) == ("release", "digits", "bob")
    assert (await site.prepare(upload())).already_published


@with_another_python
async def test_builds_that_were_never_signed_wait(site: Site, database: Database) -> None:
    site.registry = with_pythons(site, database)
    first = await site.publish(upload())
    old = await site.prepare(upload(SOURCE + b"# another version\n"))
    site.registry = with_pythons(site, database, OTHER)
    waiting = await site.prepare(upload())
    assert await site.prepare(upload()) == waiting
    # A publisher whose cloud has lost that Python again still signs what waits, and nothing is asked for twice.
    site.registry = with_pythons(site, database)
    assert (await site.prepare(upload())).targets == waiting.targets
    with pytest.raises(ShoalError):
        await site.registry.publish(NAMESPACE, "digits", first.version, site.sign(first), "ann")
    assert await bundles_of(database, first.version) == {python_tag()}
    await site.registry.publish(NAMESPACE, "digits", first.version, site.sign(waiting), "ann")
    assert len(await bundles_of(database, first.version)) == 2
    assert old.version == first.version + 1


@with_another_python
async def test_a_version_that_was_only_prepared_gets_them_at_once(
    site: Site, database: Database
) -> None:
    site.registry = with_pythons(site, database)
    prepared = await site.prepare(upload())
    site.registry = with_pythons(site, database, OTHER)
    published = await site.publish(upload())
    assert published.version == prepared.version
    assert len(await bundles_of(database, published.version)) == 2


@with_another_python
async def test_a_build_that_comes_while_a_version_is_published_waits(
    site: Site, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.registry = with_pythons(site, database)
    prepared = await site.prepare(upload())
    accept = site.repository.publish

    async def accepted_slowly(*signed: Any) -> None:
        """The signatures are accepted, and before the row says so another cloud adds a build."""
        await accept(*signed)
        await with_pythons(site, database, OTHER).prepare(NAMESPACE, upload(), "bob")

    monkeypatch.setattr(site.repository, "publish", accepted_slowly)
    await site.registry.publish(NAMESPACE, "digits", prepared.version, site.sign(prepared), "ann")
    assert await bundles_of(database, prepared.version) == {python_tag()}
    rows = await site.registry.files(NAMESPACE, "digits", prepared.version)
    assert [row["kind"] for row in rows].count(UNSIGNED) == 1
