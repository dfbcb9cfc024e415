"""Keys that were replaced: what they sign afterwards is refused by server and device, the disk holds what it held."""

import datetime as dt
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Timestamp

from cloud.keys.director import DirectorSigner
from cloud.keys.errors import PublicationRefused
from cloud.keys.files import load_signing_key
from cloud.keys.publishing import SignedRoles
from cloud.keys.roles import read_targets, to_bytes
from device_agent.tasks.director import DirectorDocument, KillSwitch
from device_agent.tasks.pull import DirectorReader
from device_agent.tasks.trust_errors import SignatureInvalid
from tests.helpers.admin_cloud import NAMESPACE
from tests.helpers.trust_site import TrustSite, open_trust_site

pytestmark = pytest.mark.slow
LATER = dt.timedelta(days=1)
ROLE = "demo.app"


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TrustSite]:
    async with open_trust_site(tmp_path, monkeypatch) as made:
        yield made


def next_of(data: bytes, *signers: CryptoSigner) -> bytes:
    """The next version of some metadata, signed by these alone."""
    metadata: Metadata[Any] = Metadata.from_bytes(data)
    metadata.signed.version += 1
    metadata.signed.expires += LATER
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)
    return to_bytes(metadata)


async def publish_lies(
    site: TrustSite, roles: Mapping[str, bytes], snapshot: CryptoSigner, timestamp: CryptoSigner
) -> None:
    """What a thief of some keys serves: his roles under a snapshot and timestamp that he signs."""
    known = Metadata[Timestamp].from_bytes(await site.repository.metadata("timestamp.json") or b"")
    number = known.signed.snapshot_meta.version
    data = await site.repository.metadata(f"{number}.snapshot.json") or b""
    pinned = Metadata[Snapshot].from_bytes(data)
    pinned.signed.version += 1
    for name, content in roles.items():
        version = read_targets(content, name).signed.version
        pinned.signed.meta[f"{name}.json"] = MetaFile.from_data(version, content, ["sha256"])
        site.lies[f"{version}.{name}.json"] = content
    pinned.sign(snapshot)
    site.lies[f"{number + 1}.snapshot.json"] = to_bytes(pinned)
    known.signed.version += 1
    known.signed.snapshot_meta = MetaFile.from_data(number + 1, to_bytes(pinned), ["sha256"])
    known.sign(timestamp)
    site.lies["timestamp.json"] = to_bytes(known)


async def refused(site: TrustSite, name: str, target: str, *verified: str) -> None:
    """The device refuses what is served; only files of `verified` may have changed, and the truth is taken again."""
    device, before = site.device(name), site.disk(name)
    with pytest.raises(SignatureInvalid):
        await device.targets([target], site.now_ms)
    after = site.disk(name)
    for one in verified:
        before.pop(one, None)
        after.pop(one, None)
    assert after == before


async def current_device(site: TrustSite) -> str:
    """A device that has seen the rotation; gives a target that it knows."""
    target = await site.publish("one")
    await site.device("a").targets([target], site.now_ms)
    return target


async def test_a_retired_root_key(site: TrustSite) -> None:
    old = [site.signer("offline", "root-1.pem"), site.signer("offline", "root-2.pem")]
    assert await site.shoal("keys", "rotate", "root", "1") == 0
    target = await current_device(site)
    root = site.repository.root()
    forged = next_of(root, *old)  # one that still counts, and the retired one
    with pytest.raises(PublicationRefused):
        await site.repository.accept_root(forged, site.now_ms)
    version = Metadata[Root].from_bytes(root).signed.version
    site.lies[f"{version + 1}.root.json"] = forged
    await refused(site, "a", target)


async def test_a_retired_targets_key(site: TrustSite) -> None:
    old = site.signer("offline", "targets.pem")
    assert await site.shoal("keys", "rotate", "targets") == 0
    target = await current_device(site)
    forged = next_of(site.repository.role("targets") or b"", old)
    with pytest.raises(PublicationRefused):
        await site.repository.accept(SignedRoles(roles={"targets": forged}), site.now_ms)
    online = site.signer("online", "online.pem")
    await publish_lies(site, {"targets": forged}, online, online)
    await refused(site, "a", target, "timestamp.json", "snapshot.json")


@pytest.mark.parametrize("role", ["timestamp", "snapshot"])
async def test_a_retired_online_key(site: TrustSite, role: str) -> None:
    old = site.signer("online", "online.pem")
    assert await site.shoal("keys", "rotate", "online") == 0
    target = await current_device(site)
    new = site.signer("online", "online.pem")
    assert new.public_key.keyid != old.public_key.keyid
    signs = {"timestamp": new, "snapshot": new} | {role: old}
    await publish_lies(site, {}, signs["snapshot"], signs["timestamp"])
    verified = () if role == "timestamp" else ("timestamp.json",)
    await refused(site, "a", target, *verified)


@pytest.mark.parametrize("how", ["rotate", "revoke"])
async def test_a_retired_publishing_key(site: TrustSite, how: str) -> None:
    target = await current_device(site)
    old = site.signer("publish", "demo.app.pem")
    command = ("keys", "revoke") if how == "revoke" else ("keys", "rotate", "publishing")
    assert await site.shoal(*command, NAMESPACE) == 0
    for role in (ROLE, f"{ROLE}.hello"):
        await site.device(role).targets([target], site.now_ms)
        forged = next_of(site.repository.role(role) or b"", old)
        with pytest.raises(PublicationRefused):
            await site.repository.accept(SignedRoles(roles={role: forged}), site.now_ms)
        online = site.signer("online", "online.pem")
        await publish_lies(site, {role: forged}, online, online)
        await refused(site, role, target, "timestamp.json", "snapshot.json")
        site.lies.clear()
    both = {
        role: next_of(site.repository.role(role) or b"", old) for role in (ROLE, f"{ROLE}.hello")
    }
    with pytest.raises(PublicationRefused):
        await site.repository.accept(SignedRoles(roles=both), site.now_ms)


async def test_a_retired_director_key(site: TrustSite) -> None:
    old = DirectorSigner(load_signing_key(site.keys.online / "director.pem"))
    device_id = "0" * 32
    document = DirectorDocument(
        device=device_id,
        namespace=NAMESPACE,
        epoch=1,
        issued_at_ms=site.now_ms,
        expires_at_ms=site.now_ms + 60_000,
        tasks=(),
        kill=KillSwitch(),
    )
    reader = DirectorReader(site.device("a"), device_id, NAMESPACE)
    assert await reader.read(old.sign(document), held=None, now_ms=site.now_ms)
    assert await site.shoal("keys", "rotate", "director") == 0
    new = site.cloud.parts.online.director
    assert await reader.read(new.sign(document), held=None, now_ms=site.now_ms)
    before = site.disk("a")
    with pytest.raises(SignatureInvalid):
        await reader.read(old.sign(document), held=None, now_ms=site.now_ms)
    after = site.disk("a")
    for one in ("timestamp.json", "snapshot.json"):
        before.pop(one, None)
        after.pop(one, None)
    assert after == before


async def test_a_directors_content_that_the_targets_key_did_not_name(site: TrustSite) -> None:
    """The right length is not the right content: what devices fetch stays what was signed."""
    targets = read_targets(site.repository.role("targets") or b"", "targets").signed
    name = next(path for path in targets.targets if path.endswith("director"))
    digest = targets.targets[name].hashes["sha256"]
    path = f"shoal/keys/{digest}.director"
    before = await site.repository.target(path)
    signer = site.signer("offline", "targets.pem")
    roles = SignedRoles(roles={"targets": next_of(site.repository.role("targets") or b"", signer)})
    with pytest.raises(PublicationRefused, match="not what the targets role names"):
        await site.repository.accept(roles, site.now_ms, b"x" * targets.targets[name].length)
    assert await site.repository.target(path) == before
