"""Attacks on metadata (TUF §1.5.2): each is refused by name, and the disk holds what it held."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from device_agent.tasks.settings import TRUST
from device_agent.tasks.trust_errors import (
    MetadataExpired,
    MetadataInvalid,
    MetadataMismatch,
    MetadataRollback,
    MetadataTooLong,
    MetadataUnavailable,
    SignatureInvalid,
    TargetUnknown,
    TrustError,
)
from tests.helpers.fake_repository import DAY, NOW, TIMELY, FakeRepository
from tests.helpers.updating_device import UpdatingDevice

OLD, NEW = {"code.bin": b"old"}, {"code.bin": b"new"}
TASK_ROLE = "demo.digits-app.digits"
DAY_MS = 24 * 3600 * 1000


@pytest.fixture
async def cloud() -> FakeRepository:
    made = FakeRepository()
    made.publish("digits", 1, OLD)
    await made.store()
    return made


@pytest.fixture
async def device(cloud: FakeRepository, tmp_path: Path) -> UpdatingDevice:
    """A device that runs version 1."""
    made = UpdatingDevice(tmp_path / "device", cloud)
    await made.update(install(cloud, made, 1))
    assert made.disk(under="bundles") == {"bundles/digits-1/code.bin": b"old"}
    return made


def install(cloud: FakeRepository, device: UpdatingDevice, version: int) -> bytes:
    instruction = cloud.instruction("digits", version)
    return cloud.director.sign(cloud.document(device.id, instruction, epoch=version))


async def offer(cloud: FakeRepository) -> None:
    """Version 2 is there, honestly published."""
    cloud.publish("digits", 2, NEW)
    await cloud.store()


async def refused(
    cloud: FakeRepository,
    device: UpdatingDevice,
    error: type[TrustError],
    *verified: str,
    runs: str = "bundles/digits-1/code.bin",
) -> None:
    """Version 2 is refused with this very error; only files of `verified` may have changed."""
    before = dict(device.disk())
    device.clock.now_ms += TRUST.fresh_ms  # so that metadata is looked at anew
    document = cloud.document(device.id, cloud.instruction("digits", 2), epoch=2)
    document = msgspec.structs.replace(document, expires_at_ms=NOW + DAY_MS)
    with pytest.raises(error) as raised:
        await device.update(cloud.director.sign(document))
    assert type(raised.value) is error
    after = dict(device.disk())
    for name in verified:
        before.pop(name, None)
        after.pop(name, None)
    assert after == before
    assert list(device.disk(under="bundles")) == [runs]


async def test_without_an_attack_the_update_is_taken(
    cloud: FakeRepository, device: UpdatingDevice
) -> None:
    await offer(cloud)
    await device.update(install(cloud, device, 2))
    assert device.disk(under="bundles")["bundles/digits-2/code.bin"] == b"new"


async def test_older_but_validly_signed_metadata(
    cloud: FakeRepository, device: UpdatingDevice
) -> None:
    old = cloud.record()
    await offer(cloud)
    await device.trust.refresh(NOW)
    cloud.replayed = old
    await refused(cloud, device, MetadataRollback)


async def test_an_older_snapshot_under_a_new_timestamp(
    cloud: FakeRepository, device: UpdatingDevice
) -> None:
    await offer(cloud)
    cloud.snapshot.version = 1
    cloud.pin_snapshot()
    await refused(cloud, device, MetadataRollback)


async def test_an_older_role_under_a_new_snapshot(
    cloud: FakeRepository, device: UpdatingDevice
) -> None:
    await offer(cloud)
    await device.trust.refresh(NOW)
    cloud.roles[TASK_ROLE].version = 1
    cloud.bump()
    await refused(cloud, device, MetadataRollback, "tuf/timestamp.json")


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "demo.digits-app", TASK_ROLE])
async def test_expired_metadata(cloud: FakeRepository, device: UpdatingDevice, role: str) -> None:
    await offer(cloud)
    past = TIMELY - dt.timedelta(seconds=1)
    verified: list[str] = []
    if role == Timestamp.type:
        cloud.timestamp.expires = past
    elif role == Snapshot.type:
        cloud.snapshot.expires = past
        cloud.pin_snapshot()
        verified = ["tuf/timestamp.json"]
    else:
        cloud.roles[role].expires = past
        cloud.bump(role)
        order = ["timestamp", "snapshot", "targets", "demo.digits-app", TASK_ROLE]
        verified = [f"tuf/{name}.json" for name in order[: order.index(role)]]
    await refused(cloud, device, MetadataExpired, *verified)


async def test_an_expired_root(cloud: FakeRepository, device: UpdatingDevice) -> None:
    await offer(cloud)
    cloud.root.version, cloud.root.expires = 2, TIMELY - DAY
    cloud.publish_root()
    before = device.disk(under="bundles")
    with pytest.raises(MetadataExpired):
        await device.update(install(cloud, device, 2))
    assert device.disk(under="bundles") == before


async def test_a_freeze_is_noticed_when_the_timestamp_expires(
    cloud: FakeRepository, device: UpdatingDevice
) -> None:
    cloud.replayed = cloud.record()
    before = dict(device.disk())
    await device.trust.refresh(NOW + DAY_MS - 1000)
    with pytest.raises(MetadataExpired):
        await device.trust.refresh(NOW + DAY_MS)
    assert dict(device.disk()) == before


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "demo.digits-app", TASK_ROLE])
async def test_an_unknown_key(cloud: FakeRepository, device: UpdatingDevice, role: str) -> None:
    await offer(cloud)
    cloud.signers[role] = [CryptoSigner.generate_ed25519()]
    if role in (Snapshot.type, Timestamp.type):
        cloud.pin_snapshot()
    else:
        cloud.bump()
    order = ["timestamp", "snapshot", "targets", "demo.digits-app", TASK_ROLE]
    verified = [f"tuf/{name}.json" for name in order[: order.index(role)]]
    await refused(cloud, device, SignatureInvalid, *verified)


async def test_another_namespaces_key(cloud: FakeRepository, device: UpdatingDevice) -> None:
    await offer(cloud)
    cloud.signers[TASK_ROLE] = cloud.signers[Targets.type]
    cloud.bump(TASK_ROLE)
    above = ("timestamp", "snapshot", "targets", "demo.digits-app")
    await refused(cloud, device, SignatureInvalid, *(f"tuf/{name}.json" for name in above))


async def test_a_wrong_root(cloud: FakeRepository, tmp_path: Path) -> None:
    stranger = UpdatingDevice(tmp_path / "stranger", cloud, root=FakeRepository().first_root)
    with pytest.raises(SignatureInvalid):
        await stranger.update(install(cloud, stranger, 1))
    assert stranger.disk(under="bundles") == {}
    kept = stranger.disk(under="tuf")
    assert set(kept) <= {"tuf/root.json", "tuf/root_history/1.root.json"}


async def test_a_new_root_that_the_old_keys_did_not_sign(
    cloud: FakeRepository, device: UpdatingDevice
) -> None:
    await offer(cloud)
    cloud.root.version = 2
    cloud.signers[Root.type] = [CryptoSigner.generate_ed25519() for _ in range(2)]
    cloud.publish_root()
    await refused(cloud, device, SignatureInvalid)


async def test_a_new_root_with_too_few_signatures(
    cloud: FakeRepository, device: UpdatingDevice
) -> None:
    await offer(cloud)
    cloud.root.version = 2
    cloud.signers[Root.type].pop()
    cloud.publish_root()
    await refused(cloud, device, SignatureInvalid)


async def test_a_root_that_skips_a_version(cloud: FakeRepository, device: UpdatingDevice) -> None:
    await offer(cloud)
    cloud.root.version = 3
    cloud.publish_root()
    await refused(cloud, device, MetadataRollback)


async def test_mix_and_match(cloud: FakeRepository, device: UpdatingDevice) -> None:
    """The task's role of one state under the snapshot of another."""
    cloud.publish("digits", 2, {"code.bin": b"never meant for anybody"})
    version = cloud.roles[TASK_ROLE].version
    other = cloud.metadata(f"{version}.{TASK_ROLE}.json")
    assert other is not None
    cloud.roles[TASK_ROLE].version -= 1
    cloud.publish("digits", 2, NEW)
    await cloud.store()
    cloud.replayed = {f"{version}.{TASK_ROLE}.json": other}
    above = ("timestamp", "snapshot", "targets", "demo.digits-app")
    await refused(cloud, device, MetadataMismatch, *(f"tuf/{name}.json" for name in above))


async def test_a_snapshot_of_another_state(cloud: FakeRepository, device: UpdatingDevice) -> None:
    await offer(cloud)
    cloud.snapshot.expires -= DAY  # validly signed, but not what the timestamp names
    await refused(cloud, device, MetadataMismatch, "tuf/timestamp.json")


async def test_a_snapshot_that_drops_a_role(cloud: FakeRepository, device: UpdatingDevice) -> None:
    await offer(cloud)
    await device.trust.refresh(NOW)
    del cloud.snapshot.meta[f"{TASK_ROLE}.json"]
    cloud.snapshot.version += 1
    cloud.pin_snapshot()
    await refused(cloud, device, MetadataInvalid, "tuf/timestamp.json")


@pytest.mark.parametrize("place", range(0, 800, 97))
async def test_a_flipped_bit_in_metadata(
    cloud: FakeRepository, device: UpdatingDevice, place: int
) -> None:
    await offer(cloud)
    data = bytearray(cloud.metadata("timestamp.json") or b"")
    data[place % len(data)] ^= 1
    cloud.replayed = {"timestamp.json": bytes(data)}
    before = dict(device.disk())
    with pytest.raises((SignatureInvalid, MetadataInvalid)):
        await device.trust.refresh(NOW)
    assert dict(device.disk()) == before


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 10_000, b"\xff", b"null"])
async def test_metadata_that_cannot_be_read(
    cloud: FakeRepository, device: UpdatingDevice, data: bytes
) -> None:
    await offer(cloud)
    cloud.replayed = {"timestamp.json": data}
    await refused(cloud, device, MetadataInvalid)


async def test_endless_metadata(cloud: FakeRepository, device: UpdatingDevice) -> None:
    await offer(cloud)
    cloud.replayed = {"timestamp.json": b" " * 100_000}
    await refused(cloud, device, MetadataTooLong)


async def test_slow_metadata(cloud: FakeRepository, device: UpdatingDevice) -> None:
    await offer(cloud)
    data = cloud.metadata("timestamp.json") or b""

    def drip() -> Iterator[bytes]:
        for byte in data:
            device.clock.elapsed_ms += 1000
            yield bytes([byte])

    cloud.slow = {"timestamp.json": drip()}
    await refused(cloud, device, MetadataUnavailable)
    assert device.clock.elapsed_ms <= 2 * TRUST.metadata_wall_ms


async def test_a_repository_that_cannot_be_reached(
    cloud: FakeRepository, device: UpdatingDevice
) -> None:
    await offer(cloud)
    cloud.down = True
    await refused(cloud, device, MetadataUnavailable)


async def test_a_fast_forward_is_mended_by_new_keys(
    cloud: FakeRepository, device: UpdatingDevice
) -> None:
    """A stolen online key pushed versions to the sky; a root with another key brings devices back."""
    cloud.timestamp.version = cloud.snapshot.version = 2**31
    cloud.pin_snapshot()
    await device.trust.refresh(NOW)
    fresh = CryptoSigner.generate_ed25519()
    for role in (Snapshot.type, Timestamp.type):
        cloud.root.revoke_key(cloud.signers[role][0].public_key.keyid, role)
        cloud.root.add_key(fresh.public_key, role)
        cloud.signers[role] = [fresh]
    cloud.root.version = 2
    cloud.publish_root()
    cloud.snapshot.version = cloud.timestamp.version = 5
    await offer(cloud)
    await device.update(install(cloud, device, 2))
    assert device.disk(under="bundles")["bundles/digits-2/code.bin"] == b"new"


async def test_a_target_that_only_the_director_knows(
    cloud: FakeRepository, device: UpdatingDevice
) -> None:
    cloud.bundles["digits", 2] = NEW
    await cloud.store()
    await refused(cloud, device, TargetUnknown)
