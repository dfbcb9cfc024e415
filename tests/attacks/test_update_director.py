"""Attacks on director documents: each is refused by name, and nothing on disk changes."""

import json
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.keys.director import DirectorSigner
from device_agent.tasks.director import DirectorDocument
from device_agent.tasks.trust_errors import (
    DirectorExpired,
    DirectorForAnotherDevice,
    DirectorInvalid,
    DirectorOlder,
    SignatureInvalid,
    TrustError,
)
from tests.helpers.fake_repository import NOW, FakeRepository
from tests.helpers.updating_device import UpdatingDevice


@pytest.fixture
async def cloud() -> FakeRepository:
    made = FakeRepository()
    made.publish("digits", 1, {"code.bin": b"old"})
    made.publish("digits", 2, {"code.bin": b"new"})
    await made.store()
    return made


@pytest.fixture
async def device(cloud: FakeRepository, tmp_path: Path) -> UpdatingDevice:
    """A device that runs version 1 by the document of epoch 2."""
    made = UpdatingDevice(tmp_path / "device", cloud)
    first = cloud.document(made.id, cloud.instruction("digits", 1), epoch=2)
    await made.update(cloud.director.sign(first))
    return made


def document(cloud: FakeRepository, device: UpdatingDevice, **changes: object) -> DirectorDocument:
    plain = cloud.document(device.id, cloud.instruction("digits", 2), epoch=3)
    return msgspec.structs.replace(plain, **changes)


async def refused(device: UpdatingDevice, envelope: bytes, error: type[TrustError]) -> None:
    before, held = device.disk(), device.held
    with pytest.raises(error) as raised:
        await device.update(envelope)
    assert type(raised.value) is error
    assert device.disk() == before
    assert device.held == held


async def test_without_an_attack_the_document_is_taken(
    cloud: FakeRepository, device: UpdatingDevice
) -> None:
    await device.update(cloud.director.sign(document(cloud, device)))
    assert device.held == (3, NOW)


async def test_a_director_for_another_device(
    cloud: FakeRepository, device: UpdatingDevice, tmp_path: Path
) -> None:
    other = UpdatingDevice(tmp_path / "other", cloud)
    envelope = cloud.director.sign(document(cloud, other))
    await refused(device, envelope, DirectorForAnotherDevice)


async def test_a_director_for_another_namespace(
    cloud: FakeRepository, device: UpdatingDevice
) -> None:
    envelope = cloud.director.sign(document(cloud, device, namespace="demo/other"))
    await refused(device, envelope, DirectorForAnotherDevice)


async def test_an_older_director(cloud: FakeRepository, device: UpdatingDevice) -> None:
    await refused(device, cloud.director.sign(document(cloud, device, epoch=1)), DirectorOlder)
    earlier = document(cloud, device, epoch=2, issued_at_ms=NOW - 1)
    await refused(device, cloud.director.sign(earlier), DirectorOlder)


async def test_an_expired_director(cloud: FakeRepository, device: UpdatingDevice) -> None:
    envelope = cloud.director.sign(document(cloud, device, expires_at_ms=NOW))
    await refused(device, envelope, DirectorExpired)


async def test_an_unknown_key(cloud: FakeRepository, device: UpdatingDevice) -> None:
    stranger = DirectorSigner(Ed25519PrivateKey.generate())
    await refused(device, stranger.sign(document(cloud, device)), SignatureInvalid)


async def test_the_publishing_key_is_no_director(
    cloud: FakeRepository, device: UpdatingDevice
) -> None:
    key = cloud.signers["demo.digits-app"][0].private_bytes
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    publisher = load_pem_private_key(key, None)
    assert isinstance(publisher, Ed25519PrivateKey)
    envelope = DirectorSigner(publisher).sign(document(cloud, device))
    await refused(device, envelope, SignatureInvalid)


async def test_a_changed_document_under_its_old_signature(
    cloud: FakeRepository, device: UpdatingDevice
) -> None:
    mine = json.loads(cloud.director.sign(document(cloud, device)))
    other = json.loads(cloud.director.sign(document(cloud, device, epoch=9)))
    mine["payload"] = other["payload"]
    await refused(device, json.dumps(mine).encode(), SignatureInvalid)


async def test_a_document_without_a_signature(
    cloud: FakeRepository, device: UpdatingDevice
) -> None:
    mine = json.loads(cloud.director.sign(document(cloud, device)))
    mine["signatures"] = []
    await refused(device, json.dumps(mine).encode(), DirectorInvalid)


async def test_what_is_no_document(device: UpdatingDevice) -> None:
    for envelope in (b"", b"{}", b"\x00" * 100, b"[" * 100_000, b"x" * (1 << 20)):
        await refused(device, envelope, DirectorInvalid)


async def test_a_rotated_key_is_found_and_the_old_one_ends(
    cloud: FakeRepository, device: UpdatingDevice
) -> None:
    from tuf.api.metadata import TargetFile

    from cloud.keys.director import director_keys_target
    from device_agent.tasks.trust import DIRECTOR_TARGET

    old, cloud.director = cloud.director, DirectorSigner(Ed25519PrivateKey.generate())
    content = director_keys_target(cloud.director.public_key)
    cloud.roles["targets"].targets[DIRECTOR_TARGET] = TargetFile.from_data(
        DIRECTOR_TARGET, content, ["sha256"]
    )
    cloud.bump("targets")
    await device.update(cloud.director.sign(document(cloud, device)))
    await refused(device, old.sign(document(cloud, device, epoch=4)), SignatureInvalid)
