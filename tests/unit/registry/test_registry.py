"""The registry from upload to bundle: both steps, repeated, raced and interrupted."""

import asyncio
import marshal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloud.artifacts.blobs import BlobStore
from cloud.artifacts.objects import ObjectFolder
from cloud.keys.errors import PublicationConflict, PublicationRefused
from cloud.keys.generate import init_keys
from cloud.keys.online import OnlineKeys
from cloud.keys.publishing import Publisher, SignedRoles, sign_version
from cloud.keys.repository import TufRepository
from cloud.registry.errors import SourceInvalid, TaskUnknown, VersionUnknown
from cloud.registry.registry import PreparedVersion, TaskRegistry
from cloud.registry.settings import RegistrySettings
from cloud.registry.upload import Upload
from cloud.store.audit import verify_chain
from cloud.store.database import Database
from cloud.store.namespaces import create_namespace
from device_agent import failpoint
from device_agent.engine.errors import ModelInvalid
from device_agent.tasks.bytecode import decode_bytecode, python_tag
from device_agent.tasks.errors import BundleInvalid, ManifestInvalid
from tests.helpers.manual_clock import ManualClock

NAMESPACE = "demo/digits-app"
TOML = """
[task]
name = "digits"
entry = "main:on_event"
[[triggers]]
event = 1001
[[resources]]
path = "weights.bin"
"""
SOURCE = b"def on_event(event):\n    return None\n"


def upload(source: bytes = SOURCE, **files: bytes) -> Upload:
    return Upload(
        files={"task.toml": TOML.encode(), "main.py": source, "weights.bin": b"w", **files}
    )


class Site:
    """A registry over real keys, repository, blobs and database."""

    def __init__(
        self, folder: Path, database: Database, settings: RegistrySettings | None = None
    ) -> None:
        self.clock = ManualClock()
        keys = init_keys(folder / "keys", namespaces=[NAMESPACE], now_ms=self.clock.wall_ms())
        self.online = OnlineKeys.load(keys.online)
        self.publisher = Publisher.load(keys.path, NAMESPACE)
        self.repository = TufRepository(ObjectFolder.open("memory://"), self.online.repository)
        self.blobs = BlobStore.open("memory://")
        self.registry = TaskRegistry(
            database,
            self.blobs,
            self.repository,
            self.clock,
            settings or RegistrySettings(),
        )

    def sign(self, prepared: PreparedVersion) -> SignedRoles:
        return sign_version(
            self.publisher, prepared.task, prepared.base, prepared.targets, self.clock.wall_ms()
        )

    async def prepare(self, given: Upload | None = None) -> PreparedVersion:
        return await self.registry.prepare(NAMESPACE, given or upload(), "ann")

    async def publish(self, given: Upload | None = None) -> PreparedVersion:
        prepared = await self.prepare(given)
        await self.registry.publish(
            NAMESPACE, prepared.task, prepared.version, self.sign(prepared), "ann"
        )
        return prepared


@pytest.fixture
async def site(tmp_path: Path, database: Database) -> AsyncIterator[Site]:
    made = Site(tmp_path, database)
    await made.repository.load(made.online.first_metadata, made.clock.wall_ms())
    async with database.begin() as connection:
        await create_namespace(connection, NAMESPACE, made.clock.wall_ms(), "ann")
    yield made
    failpoint.arm(None)


async def test_a_published_version_has_its_files_and_its_row(
    site: Site, database: Database
) -> None:
    prepared = await site.publish()
    assert prepared.version == 1
    files = await site.registry.bundle_files(NAMESPACE, "digits", 1, python_tag())
    assert [file.path for file in files] == ["code.bin", "manifest.json", "weights.bin"]
    modules = decode_bytecode(await site.registry.content(files[0].digest))
    scope: dict[str, object] = {}
    exec(marshal.loads(modules["main"]), scope)
    assert callable(scope["on_event"])
    [task] = await site.registry.tasks(NAMESPACE)
    assert (task["task"], task["latest_version"], task["digest"]) == ("digits", 1, prepared.digest)
    async with database.read() as connection:
        report = await verify_chain(connection, NAMESPACE)
    assert report.rows >= 2


async def test_same_content_is_no_new_version(site: Site) -> None:
    first = await site.publish()
    again = await site.prepare()
    assert again.already_published
    assert (again.version, again.digest, again.targets) == (1, first.digest, ())


async def test_bytecode_does_not_count_for_the_digest_but_sources_do(site: Site) -> None:
    first = await site.publish()
    second = await site.publish(upload(SOURCE + b"# a remark\n"))
    assert second.version == 2
    assert second.digest != first.digest


async def test_a_prepared_version_is_not_out(site: Site) -> None:
    await site.prepare()
    [task] = await site.registry.tasks(NAMESPACE)
    assert task["latest_version"] == 0


async def test_publishing_twice_changes_nothing(site: Site) -> None:
    prepared = await site.publish()
    signed = SignedRoles(roles={})
    row = await site.registry.publish(NAMESPACE, "digits", prepared.version, signed, "bob")
    assert row["state"] == "published"


async def test_metadata_of_other_files_is_refused(site: Site) -> None:
    first = await site.prepare()
    second = await site.prepare(upload(SOURCE + b"#\n"))
    with pytest.raises(PublicationRefused):
        await site.registry.publish(NAMESPACE, "digits", first.version, site.sign(second), "ann")
    assert (await site.registry.version(NAMESPACE, "digits", 1))["state"] == "prepared"


async def test_of_two_publishers_on_one_base_one_must_sign_again(site: Site) -> None:
    first, second = await site.prepare(), await site.prepare(upload(SOURCE + b"#\n"))
    await site.registry.publish(NAMESPACE, "digits", 1, site.sign(first), "ann")
    with pytest.raises((PublicationConflict, PublicationRefused)):
        await site.registry.publish(NAMESPACE, "digits", 2, site.sign(second), "bob")
    await site.publish(upload(SOURCE + b"#\n"))
    assert (await site.registry.version(NAMESPACE, "digits", 2))["state"] == "published"


async def test_concurrent_preparations_get_numbers_of_their_own(site: Site) -> None:
    async with asyncio.TaskGroup() as group:
        runs = [group.create_task(site.prepare(upload(SOURCE + b"#" * n))) for n in range(4)]
    assert sorted(run.result().version for run in runs) == [1, 2, 3, 4]


class Crash(BaseException):
    """Ends a step as a power cut would."""


@pytest.mark.parametrize(
    "place",
    [
        "registry.prepare.stored",
        "registry.prepare.recorded",
        "registry.publish.signed",
        "registry.publish.recorded",
    ],
)
async def test_after_a_crash_a_retry_finishes(site: Site, place: str) -> None:
    def crash(passed: str) -> None:
        if passed == place:
            raise Crash

    failpoint.arm(crash)
    with pytest.raises(Crash):
        await site.publish()
    failpoint.arm(None)
    prepared = await site.prepare()
    if not prepared.already_published:
        await site.registry.publish(NAMESPACE, "digits", 1, site.sign(prepared), "ann")
    versions = await site.registry.versions(NAMESPACE, "digits")
    assert [(row["version"], row["state"]) for row in versions] == [(1, "published")]


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        (upload(b"def on_event(:\n"), SourceInvalid, "main.py:1"),
        (upload(b"x = 1\n"), SourceInvalid, "defines no function"),
        (upload(b"def other(): pass\n"), SourceInvalid, "it defines other"),
        (upload(b"\xff"), SourceInvalid, "not UTF-8"),
        (upload(**{"lib/a.py": b""}), SourceInvalid, "add lib/__init__.py"),
        (upload(**{"my-lib.py": b""}), SourceInvalid, "rename it"),
        (upload(**{"json.py": b""}), SourceInvalid, "hide Python's or Shoal's own json"),
        (upload(**{"shoal_task.py": b""}), SourceInvalid, "own shoal_task"),
        (upload(**{"notes.txt": b""}), BundleInvalid, "neither a script nor listed"),
        (upload(**{"../up.py": b""}), BundleInvalid, "relative path"),
        (Upload(files={"task.toml": TOML.encode(), "main.py": SOURCE}), BundleInvalid, "not there"),
        (Upload(files={"main.py": SOURCE}), BundleInvalid, "shoal task init"),
        (upload(**{"task.toml": b"[task]\nname = 'X'\n"}), ManifestInvalid, "task.name"),
        (
            upload(
                **{
                    "task.toml": TOML.replace("weights.bin", "w.shoalmodel").encode(),
                    "w.shoalmodel": b"no",
                }
            ),
            BundleInvalid,
            "weights.bin is neither",
        ),
    ],
)
async def test_bad_uploads_leave_nothing_behind(
    site: Site, given: Upload, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        await site.prepare(given)
    assert await site.registry.tasks(NAMESPACE) == []


async def test_a_damaged_model_is_refused(site: Site) -> None:
    files = {"task.toml": TOML.replace("weights.bin", "w.shoalmodel").encode(), "main.py": SOURCE}
    with pytest.raises(ModelInvalid):
        await site.prepare(Upload(files={**files, "w.shoalmodel": b"not a model"}))


async def test_what_is_not_there_is_named(site: Site) -> None:
    with pytest.raises(TaskUnknown, match="shoal task list"):
        await site.registry.versions(NAMESPACE, "none")
    with pytest.raises(VersionUnknown, match="shoal task show"):
        await site.registry.version(NAMESPACE, "none", 1)
