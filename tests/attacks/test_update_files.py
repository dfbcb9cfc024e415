"""Attacks on files and tickets: each is refused by name, the file is deleted, and what runs stays as it was."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from device_agent.tasks.director import BundleFile, Scope, TaskInstruction
from device_agent.tasks.names import digest_hex, sha256_digest
from device_agent.tasks.trust_errors import (
    DiskQuota,
    DownloadFailed,
    DownloadSlow,
    FileDamaged,
    FileMissing,
    FileTooLong,
    FileTruncated,
    LinkBroken,
    TargetMismatch,
    TargetUnknown,
    TicketInvalid,
    TrustError,
)
from tests.helpers.fake_repository import NOW, FakeRepository
from tests.helpers.memory_fetcher import Answer, Ask
from tests.helpers.updating_device import UpdatingDevice

MODEL = bytes(range(256)) * 64
MODEL_HEX = digest_hex(sha256_digest(MODEL))
OLD = {"manifest.json": b"{}", "code.bin": b"old"}
NEW = {"manifest.json": b"{ }", "code.bin": b"new", "models/a.shoalmodel": MODEL}


@pytest.fixture
async def cloud() -> FakeRepository:
    made = FakeRepository()
    made.publish("digits", 1, OLD)
    made.publish("digits", 2, NEW)
    made.publish("faces", 2, {"code.bin": b"faces"})
    await made.store()
    return made


@pytest.fixture
async def device(cloud: FakeRepository, tmp_path: Path) -> UpdatingDevice:
    """A device that runs version 1."""
    made = UpdatingDevice(tmp_path / "device", cloud)
    await made.update(document(cloud, made, cloud.instruction("digits", 1)))
    return made


def document(cloud: FakeRepository, device: UpdatingDevice, *tasks: TaskInstruction) -> bytes:
    return cloud.director.sign(cloud.document(device.id, *tasks, epoch=2))


async def refused(
    cloud: FakeRepository,
    device: UpdatingDevice,
    error: type[TrustError],
    instruction: TaskInstruction | None = None,
) -> None:
    """Refused with this very error; what runs and what is trusted is untouched, and the file is nowhere."""
    envelope = document(cloud, device, instruction or cloud.instruction("digits", 2))
    before, held = device.disk(under="bundles"), device.held
    with pytest.raises(error) as raised:
        await device.update(envelope)
    assert type(raised.value) is error
    assert device.disk(under="bundles") == before
    assert device.held == held
    assert not [path for path in device.disk() if "a.shoalmodel" in path]


async def test_without_an_attack_the_update_is_taken(
    cloud: FakeRepository, device: UpdatingDevice
) -> None:
    await device.update(document(cloud, device, cloud.instruction("digits", 2)))
    assert device.disk(under="bundles/digits-2") == {
        f"bundles/digits-2/{path}": data for path, data in NEW.items()
    }


async def test_a_refused_update_succeeds_when_the_attack_is_over(
    cloud: FakeRepository, device: UpdatingDevice
) -> None:
    cloud.lies[MODEL_HEX] = lambda _: Answer(200, b"x" * len(MODEL))
    await refused(cloud, device, FileDamaged)
    cloud.lies.clear()
    await device.update(document(cloud, device, cloud.instruction("digits", 2)))


@pytest.mark.parametrize("place", [0, 1, len(MODEL) // 2, len(MODEL) - 1])
async def test_a_flipped_bit(cloud: FakeRepository, device: UpdatingDevice, place: int) -> None:
    damaged = bytearray(MODEL)
    damaged[place] ^= 1
    cloud.lies[MODEL_HEX] = lambda _: Answer(200, bytes(damaged))
    await refused(cloud, device, FileDamaged)


async def test_a_file_of_another_content(cloud: FakeRepository, device: UpdatingDevice) -> None:
    cloud.lies[MODEL_HEX] = lambda _: Answer(200, bytes(len(MODEL)))
    await refused(cloud, device, FileDamaged)


@pytest.mark.parametrize("length", [0, 1, len(MODEL) - 1])
async def test_a_truncated_file(cloud: FakeRepository, device: UpdatingDevice, length: int) -> None:
    cloud.lies[MODEL_HEX] = lambda _: Answer(200, MODEL[:length])
    await refused(cloud, device, FileTruncated)


def endless() -> Iterator[bytes]:
    while True:
        yield b"x" * 4096


async def test_an_endless_body(cloud: FakeRepository, device: UpdatingDevice) -> None:
    cloud.lies[MODEL_HEX] = lambda _: Answer(200, endless())
    await refused(cloud, device, FileTooLong)


async def test_an_endless_body_after_a_resumed_part(
    cloud: FakeRepository, device: UpdatingDevice
) -> None:
    def answer(ask: Ask) -> Answer:
        if "range" in ask.headers:
            start = int(ask.headers["range"].removeprefix("bytes=").rstrip("-"))
            content_range = f"bytes {start}-{len(MODEL) - 1}/{len(MODEL)}"
            return Answer(206, endless(), {"Content-Range": content_range})
        return Answer(200, [MODEL[:5000], LinkBroken("cut")])

    cloud.lies[MODEL_HEX] = answer
    await refused(cloud, device, FileTooLong)


async def test_a_body_that_is_offered_too_long(
    cloud: FakeRepository, device: UpdatingDevice
) -> None:
    cloud.lies[MODEL_HEX] = lambda _: Answer(200, endless(), {"Content-Length": str(1 << 40)})
    await refused(cloud, device, FileTooLong)


async def test_a_slow_body(cloud: FakeRepository, device: UpdatingDevice) -> None:
    """A byte a second: what arrived may stay to be resumed, but not under the file's name."""

    def drip() -> Iterator[bytes]:
        for byte in MODEL:
            device.clock.elapsed_ms += 1000
            yield bytes([byte])

    cloud.lies[MODEL_HEX] = lambda _: Answer(200, drip())
    before = device.disk(under="bundles")
    with pytest.raises(DownloadSlow):
        await device.update(document(cloud, device, cloud.instruction("digits", 2)))
    assert device.disk(under="bundles") == before
    staged = [path for path in device.disk(under="staging") if "a.shoalmodel" in path]
    assert all(path.endswith(".part") for path in staged)
    assert device.clock.elapsed_ms < 60_000


async def test_one_of_three_files_is_withheld(
    cloud: FakeRepository, device: UpdatingDevice
) -> None:
    cloud.lies[MODEL_HEX] = lambda _: Answer(404)
    await refused(cloud, device, FileMissing)


async def test_requests_that_are_dropped(cloud: FakeRepository, device: UpdatingDevice) -> None:
    def drop(ask: Ask) -> Answer:
        raise LinkBroken(ask.path)

    cloud.lies[MODEL_HEX] = drop
    await refused(cloud, device, DownloadFailed)


async def test_files_that_would_fill_the_disk(
    cloud: FakeRepository, device: UpdatingDevice
) -> None:
    device.quota_bytes = len(MODEL)
    await refused(cloud, device, DiskQuota)


def changed(file: BundleFile, **changes: object) -> BundleFile:
    return msgspec.structs.replace(file, **changes)


type Change = Callable[[FakeRepository], tuple[BundleFile, ...]]


def another_task(cloud: FakeRepository) -> tuple[BundleFile, ...]:
    return cloud.bundle("faces", 2)


def another_version(cloud: FakeRepository) -> tuple[BundleFile, ...]:
    return cloud.bundle("digits", 1)


def new_model_with_old_script(cloud: FakeRepository) -> tuple[BundleFile, ...]:
    manifest, _, model = cloud.bundle("digits", 2)
    return manifest, cloud.bundle("digits", 1)[1], model


def another_size(cloud: FakeRepository) -> tuple[BundleFile, ...]:
    return tuple(changed(file, size=file.size + 1) for file in cloud.bundle("digits", 2))


def another_digest(cloud: FakeRepository) -> tuple[BundleFile, ...]:
    digest = cloud.bundle("faces", 2)[0].digest
    return tuple(changed(file, digest=digest) for file in cloud.bundle("digits", 2))


def another_place(cloud: FakeRepository) -> tuple[BundleFile, ...]:
    """The model as code: a genuine file of the version, at another place."""
    manifest, code, model = cloud.bundle("digits", 2)
    return manifest, changed(model, path="code.bin"), changed(code, path="models/a.shoalmodel")


def a_place_outside(cloud: FakeRepository) -> tuple[BundleFile, ...]:
    return (changed(cloud.bundle("digits", 2)[1], path="../../bundles/digits-1/code.bin"),)


def the_directors_keys(cloud: FakeRepository) -> tuple[BundleFile, ...]:
    return (changed(cloud.bundle("digits", 2)[1], target="shoal/keys/director"),)


@pytest.mark.parametrize(
    "change",
    [
        another_task,
        another_version,
        new_model_with_old_script,
        another_size,
        another_digest,
        another_place,
        a_place_outside,
        the_directors_keys,
    ],
)
async def test_an_artifact_that_was_not_published_for_this(
    cloud: FakeRepository, device: UpdatingDevice, change: Change
) -> None:
    """A director that was broken into recombines genuine files: refused before a byte is fetched."""
    instruction = cloud.instruction("digits", 2, change(cloud))
    await refused(cloud, device, TargetMismatch, instruction)
    assert device.disk(under="staging") == {}


async def test_an_artifact_that_nobody_published(
    cloud: FakeRepository, device: UpdatingDevice
) -> None:
    cloud.bundles["digits", 3] = {"code.bin": b"made up by the director"}
    await cloud.store()
    await refused(cloud, device, TargetUnknown, cloud.instruction("digits", 3))
    assert device.disk(under="staging") == {}


def exclusive(cloud: FakeRepository) -> TaskInstruction:
    files = cloud.bundle("digits", 2, Scope.EXCLUSIVE)[2:]
    return cloud.instruction("digits", 2, files)


def ticket(
    cloud: FakeRepository, device_id: str, *, content: bytes = MODEL, expires: int = 1
) -> str:
    return cloud.tickets.issue(device_id, sha256_digest(content), NOW + expires)


async def test_a_ticket_of_ones_own_opens(cloud: FakeRepository, device: UpdatingDevice) -> None:
    await cloud.store(Scope.EXCLUSIVE)
    device.ticket = ticket(cloud, device.id)
    await device.update(document(cloud, device, exclusive(cloud)))
    assert device.disk(under="bundles/digits-2")


async def test_a_ticket_of_another_device(
    cloud: FakeRepository, device: UpdatingDevice, tmp_path: Path
) -> None:
    await cloud.store(Scope.EXCLUSIVE)
    other = UpdatingDevice(tmp_path / "other", cloud)
    device.ticket = ticket(cloud, other.id)
    await refused(cloud, device, TicketInvalid, exclusive(cloud))


async def test_an_expired_ticket(cloud: FakeRepository, device: UpdatingDevice) -> None:
    await cloud.store(Scope.EXCLUSIVE)
    device.ticket = ticket(cloud, device.id, expires=0)
    await refused(cloud, device, TicketInvalid, exclusive(cloud))


async def test_a_ticket_for_another_file(cloud: FakeRepository, device: UpdatingDevice) -> None:
    await cloud.store(Scope.EXCLUSIVE)
    device.ticket = ticket(cloud, device.id, content=b"new")
    await refused(cloud, device, TicketInvalid, exclusive(cloud))


async def test_no_ticket(cloud: FakeRepository, device: UpdatingDevice) -> None:
    await cloud.store(Scope.EXCLUSIVE)
    await refused(cloud, device, TicketInvalid, exclusive(cloud))


async def test_an_exclusive_file_without_its_door(
    cloud: FakeRepository, device: UpdatingDevice
) -> None:
    """Asking for an exclusive file as if it were shared finds nothing."""
    await cloud.store(Scope.EXCLUSIVE)
    await refused(cloud, device, FileMissing)
