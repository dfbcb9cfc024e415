"""The TUF repository from init to device: keys, two-step publication, refresh, rotation, deaths in between."""

import asyncio
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from cloud.artifacts.objects import ObjectFolder
from cloud.keys.errors import (
    KeysExist,
    KeysMissing,
    KeysUnreadable,
    PublicationConflict,
    PublicationRefused,
    RepositoryEmpty,
)
from cloud.keys.files import KeyFolder, load_signer, load_signing_key
from cloud.keys.generate import init_keys
from cloud.keys.online import OnlineKeys
from cloud.keys.publishing import (
    Publisher,
    SignedRoles,
    SigningBase,
    renew_role,
    sign_namespace,
    sign_root,
    sign_version,
)
from cloud.keys.repository import TufRepository
from cloud.keys.roles import TargetToSign, read_targets, targets_to_sign, to_bytes
from cloud.keys.rotation import (
    resign_targets,
    rotate_director_key,
    rotate_publishing_key,
    rotate_role_key,
    rotate_root_key,
)
from cloud.keys.settings import DAY_MS
from device_agent import failpoint
from device_agent.tasks.names import Namespace, sha256_digest, target_path
from device_agent.tasks.trust import TrustStore
from device_agent.tasks.trust_errors import MetadataExpired, SignatureInvalid, TargetUnknown
from tests.helpers.memory_fetcher import Answer, Ask, LoopFetcher

NOW = 1_790_000_000_000
NAMESPACE = "demo/digits-app"


class Site:
    """A repository with its keys, and devices that read it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = init_keys(folder / "keys", namespaces=[NAMESPACE], now_ms=NOW)
        self.online = OnlineKeys.load(self.keys.online)
        self.objects = ObjectFolder.open("memory://")
        self.repository = TufRepository(self.objects, self.online.repository)
        self.publisher = Publisher.load(self.keys.path, NAMESPACE)
        self.devices = 0

    async def load(self) -> "Site":
        await self.repository.load(self.online.first_metadata, NOW)
        return self

    async def restart(self, signer: CryptoSigner | None = None) -> None:
        self.repository = TufRepository(self.objects, signer or self.online.repository)
        await self.repository.load(self.online.first_metadata, NOW)

    async def device(self) -> TrustStore:
        self.devices += 1
        fetcher = LoopFetcher(asyncio.get_running_loop(), self.answer)
        root = self.repository.root()
        return TrustStore(self.folder / f"device-{self.devices}", root, fetcher)

    async def answer(self, ask: Ask) -> Answer:
        kind, _, name = ask.path.removeprefix("/tuf/").partition("/")
        found = await (
            self.repository.metadata(name) if kind == "metadata" else self.repository.target(name)
        )
        return Answer(404) if found is None else Answer(200, found)

    def sign(self, version: int, task: str = "digits", content: bytes = b"") -> SignedRoles:
        base = self.repository.signing_base(NAMESPACE, task)
        base = SigningBase.from_json(base.to_json())
        targets = [files(version, task, content)]
        return SignedRoles.from_json(
            sign_version(self.publisher, task, base, targets, NOW).to_json()
        )

    async def publish(self, version: int, task: str = "digits") -> TargetToSign:
        signed = self.sign(version, task)
        await self.repository.publish(NAMESPACE, task, [files(version, task)], signed, NOW)
        return files(version, task)


def files(version: int, task: str = "digits", content: bytes = b"") -> TargetToSign:
    data = content or f"{task} {version}".encode()
    digest = sha256_digest(data)
    target = target_path(Namespace.parse(NAMESPACE), task, version, digest)
    return targets_to_sign([(target, digest, len(data), "code.bin")])[0]


@pytest.fixture
async def site(tmp_path: Path) -> Site:
    return await Site(tmp_path).load()


@pytest.fixture
def deaths() -> Iterator[set[str]]:
    """Names of failpoints at which the work ends."""
    armed: set[str] = set()

    def act(name: str) -> None:
        if name in armed:
            raise SystemExit(name)

    failpoint.arm(act)
    yield armed
    failpoint.arm(None)


async def test_a_published_version_reaches_a_device(site: Site) -> None:
    device = await site.device()
    await device.refresh(NOW)
    target = await site.publish(1)
    found = await device.targets([target.target], NOW)  # refreshes by itself
    info = found[target.target]
    assert (info.length, f"sha256:{info.sha256}") == (target.size, target.digest)
    assert info.bundle_paths == ("code.bin",)


async def test_older_versions_and_other_tasks_stay(site: Site) -> None:
    published = [await site.publish(1), await site.publish(2), await site.publish(1, "faces")]
    device = await site.device()
    paths = [one.target for one in published]
    assert set(await device.targets(paths, NOW)) == set(paths)
    assert site.repository.role("demo.digits-app.digits") is not None


async def test_what_was_not_published_is_unknown(site: Site) -> None:
    device = await site.device()
    with pytest.raises(TargetUnknown):
        await device.targets([files(1).target], NOW)


async def test_the_director_key_is_a_target(site: Site) -> None:
    device = await site.device()
    keys = await device.director_keys(NOW)
    assert list(keys) == [site.online.director.keyid]


async def test_publishing_again_changes_nothing(site: Site) -> None:
    signed = site.sign(1)
    for _ in range(2):
        await site.repository.publish(NAMESPACE, "digits", [files(1)], signed, NOW)
    snapshot = Metadata[Snapshot].from_bytes(
        await site.repository.metadata("2.snapshot.json") or b""
    )
    assert snapshot.signed.version == 2
    assert await site.repository.metadata("3.snapshot.json") is None


async def test_a_second_publisher_must_sign_again(site: Site) -> None:
    late = site.sign(2)
    await site.publish(1)
    with pytest.raises(PublicationConflict):
        await site.repository.publish(NAMESPACE, "digits", [files(2)], late, NOW)
    await site.publish(2)


async def test_signing_something_else_than_was_prepared_is_refused(site: Site) -> None:
    signed = site.sign(1, content=b"smuggled")
    with pytest.raises(PublicationRefused, match="not those prepared"):
        await site.repository.publish(NAMESPACE, "digits", [files(1)], signed, NOW)
    assert site.repository.role("demo.digits-app.digits") is None


async def test_a_stranger_cannot_publish(site: Site) -> None:
    site.publisher = Publisher(NAMESPACE, CryptoSigner.generate_ed25519())
    base = site.repository.signing_base(NAMESPACE, "digits")
    with pytest.raises(PublicationRefused, match="not signed with this publishing key"):
        sign_version(site.publisher, "digits", base, [files(1)], NOW)
    # A stranger who skips that check is refused by the server.
    role = read_targets(base.namespace_role, "x")
    role.signed.version += 1
    role.sign(site.publisher.signer)
    with pytest.raises(PublicationRefused, match="not signed by the keys"):
        await site.repository.accept(SignedRoles(roles={"demo.digits-app": to_bytes(role)}), NOW)


async def test_a_publisher_does_not_build_on_what_a_server_slipped_in(site: Site) -> None:
    await site.publish(1)
    base = site.repository.signing_base(NAMESPACE, "digits")
    role = read_targets(base.task_role or b"", "x")
    role.signed.targets[files(9).target] = files(9).to_target_file()
    slipped = SigningBase(namespace_role=base.namespace_role, task_role=to_bytes(role))
    with pytest.raises(PublicationRefused, match="server that lies"):
        sign_version(site.publisher, "digits", slipped, [files(2)], NOW)


async def test_files_of_another_task_are_not_signed(site: Site) -> None:
    base = site.repository.signing_base(NAMESPACE, "digits")
    with pytest.raises(PublicationRefused):
        sign_version(site.publisher, "digits", base, [files(1, "faces")], NOW)
    with pytest.raises(PublicationRefused, match="nothing"):
        sign_version(site.publisher, "digits", base, [], NOW)


def change_version(targets: Targets) -> None:
    targets.version += 1


def change_expiry_to_the_past(targets: Targets) -> None:
    targets.expires = targets.expires.replace(year=2020)


def change_expiry_to_never(targets: Targets) -> None:
    targets.expires = targets.expires.replace(year=2090)


def remove_a_target(targets: Targets) -> None:
    del targets.targets[files(1).target]


def change_a_target(targets: Targets) -> None:
    targets.targets[files(1).target].length += 1


def add_a_target_elsewhere(targets: Targets) -> None:
    targets.targets[files(1, "faces").target] = files(1, "faces").to_target_file()


def add_a_target_with_another_digest(targets: Targets) -> None:
    targets.targets[files(3).target] = files(4).to_target_file()


def add_a_nameless_target(targets: Targets) -> None:
    targets.targets["demo/digits-app/digits/3/x"] = files(3).to_target_file()


@pytest.mark.parametrize(
    "change",
    [
        change_expiry_to_the_past,
        change_expiry_to_never,
        remove_a_target,
        change_a_target,
        add_a_target_elsewhere,
        add_a_target_with_another_digest,
        add_a_nameless_target,
    ],
)
async def test_a_role_that_breaks_a_rule_is_refused(site: Site, change: object) -> None:
    assert callable(change)
    await site.publish(1)
    role = read_targets(site.sign(2).roles["demo.digits-app.digits"], "x")
    change(role.signed)
    role.sign(site.publisher.signer)
    before = site.repository.role("demo.digits-app.digits")
    with pytest.raises(PublicationRefused):
        await site.repository.accept(
            SignedRoles(roles={"demo.digits-app.digits": to_bytes(role)}), NOW
        )
    assert site.repository.role("demo.digits-app.digits") == before


@pytest.mark.parametrize(
    "roles",
    [
        {"demo.digits-app": b"{}"},
        {"demo": b"{}"},
        {"a.b.c.d": b"{}"},
        {"other.space": b"[" * 100},
        {"targets": b"x" * 5_000_000},
    ],
)
async def test_what_is_no_role_is_refused(site: Site, roles: dict[str, bytes]) -> None:
    with pytest.raises(PublicationRefused):
        await site.repository.accept(SignedRoles(roles=roles), NOW)


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}'])
def test_signed_roles_that_are_not_are_refused(text: str) -> None:
    with pytest.raises(PublicationRefused):
        SignedRoles.from_json(text)


async def test_a_role_is_renewed_before_it_expires(site: Site) -> None:
    await site.publish(1)
    later = NOW + 300 * DAY_MS
    for role in ("demo.digits-app.digits", "demo.digits-app"):
        current = site.repository.role(role) or b""
        assert await site.repository.accept(renew_role(site.publisher, role, current, later), later)
    await site.repository.refresh_online(later)
    top = read_targets(site.repository.role("targets") or b"", "targets")
    top.signed.version += 1
    top.signed.expires = top.signed.expires.replace(year=top.signed.expires.year + 1)
    top.sign(load_signer(site.keys.targets_key))
    assert await site.repository.accept(SignedRoles(roles={"targets": to_bytes(top)}), later)
    await rotate(site, later)
    much_later = NOW + 370 * DAY_MS  # past the first expiry of everything
    await site.repository.refresh_online(much_later)
    assert await (await site.device()).targets([files(1).target], much_later)


async def test_a_namespace_is_added_with_the_offline_key(site: Site) -> None:
    other = Publisher("demo/other", CryptoSigner.generate_ed25519())
    with pytest.raises(PublicationRefused, match="namespace add"):
        site.repository.signing_base("demo/other", "faces")
    signed = sign_namespace(
        load_signer(site.keys.targets_key), other, site.repository.role("targets") or b"", NOW
    )
    assert await site.repository.accept(signed, NOW)
    assert not await site.repository.accept(signed, NOW)
    assert site.repository.signing_base("demo/other", "faces").task_role is None
    with pytest.raises(PublicationRefused, match="already"):
        sign_namespace(
            load_signer(site.keys.targets_key), other, site.repository.role("targets") or b"", NOW
        )


async def test_timestamp_and_snapshot_are_signed_anew_in_time(site: Site) -> None:
    assert not await site.repository.refresh_online(NOW)
    assert not await site.repository.refresh_online(NOW + DAY_MS // 2 - 1000)
    device = await site.device()
    with pytest.raises(MetadataExpired):
        await device.refresh(NOW + DAY_MS)
    assert await site.repository.refresh_online(NOW + DAY_MS)
    await device.refresh(NOW + DAY_MS)
    assert await site.repository.refresh_online(NOW + 20 * DAY_MS)
    await device.refresh(NOW + 20 * DAY_MS)


def old_root_signers(site: Site) -> list[CryptoSigner]:
    return [load_signer(site.keys.root_key(number)) for number in (1, 2, 3)]


async def rotate(site: Site, now_ms: int) -> None:
    """Replaces the first root key."""
    old = old_root_signers(site)
    fresh = CryptoSigner.generate_ed25519()
    root = rotate_root_key(site.repository.root(), old, old[0].public_key.keyid, fresh, now_ms)
    await site.repository.accept_root(root, now_ms)


async def rotate_online(site: Site, fresh: CryptoSigner) -> None:
    root = rotate_role_key(
        site.repository.root(),
        old_root_signers(site),
        ["snapshot", "timestamp"],
        fresh.public_key,
        NOW,
    )
    await site.repository.accept_root(root, NOW)


async def test_a_root_key_is_rotated_with_the_thresholds_of_old_and_new(site: Site) -> None:
    device = await site.device()
    await device.refresh(NOW)
    await rotate(site, NOW)
    await device.refresh(NOW)
    await site.restart()
    await (await site.device()).refresh(NOW)


async def test_too_few_root_keys_make_no_root(site: Site) -> None:
    old, fresh = old_root_signers(site), CryptoSigner.generate_ed25519()
    current = site.repository.root()
    with pytest.raises(PublicationRefused, match="too few"):
        rotate_root_key(current, old[:1], old[0].public_key.keyid, fresh, NOW)
    with pytest.raises(PublicationRefused, match="no root key"):
        rotate_root_key(current, old, fresh.public_key.keyid, fresh, NOW)
    for nonsense in (b"{}", site.repository.role("targets") or b""):
        with pytest.raises(PublicationRefused, match="not root"):
            rotate_root_key(nonsense, old, "", fresh, NOW)
    with pytest.raises(PublicationRefused, match="not targets"):
        rotate_role_key(current, old, ["root"], fresh.public_key, NOW)


async def test_a_root_signed_by_too_few_old_keys_is_refused(site: Site) -> None:
    root = Metadata[Root].from_bytes(site.repository.root()).signed
    old = load_signer(site.keys.root_key(1))
    fresh = [CryptoSigner.generate_ed25519() for _ in range(3)]
    for key in list(root.roles[Root.type].keyids):
        root.revoke_key(key, Root.type)
    for signer in fresh:
        root.add_key(signer.public_key, Root.type)
    root.version += 1
    with pytest.raises(PublicationRefused, match="thresholds"):
        await site.repository.accept_root(sign_root(root, [old, *fresh], NOW), NOW)
    with pytest.raises(PublicationRefused):
        await site.repository.accept_root(b"{}", NOW)


async def test_the_targets_key_is_rotated_with_its_role(site: Site) -> None:
    await site.publish(1)
    device, fresh = await site.device(), CryptoSigner.generate_ed25519()
    await device.refresh(NOW)
    root = rotate_role_key(
        site.repository.root(), old_root_signers(site), ["targets"], fresh.public_key, NOW
    )
    with pytest.raises(PublicationRefused, match="not signed by the keys"):
        await site.repository.accept_root(root, NOW)
    signed = resign_targets(site.repository.role("targets") or b"", fresh, NOW)
    await site.repository.accept_root(root, NOW, signed)
    assert await device.targets([files(1).target], NOW)
    await site.publish(2)
    assert await device.targets([files(2).target], NOW)


async def test_a_publishing_key_is_rotated_from_above(site: Site) -> None:
    await site.publish(1)
    await site.publish(1, "faces")
    device, old = await site.device(), site.publisher
    await device.targets([files(1).target], NOW)
    site.publisher = Publisher(NAMESPACE, CryptoSigner.generate_ed25519())
    names = ["targets", "demo.digits-app", "demo.digits-app.digits", "demo.digits-app.faces"]
    roles = {name: site.repository.role(name) or b"" for name in names}
    targets_signer = load_signer(site.keys.targets_key)
    signed = rotate_publishing_key(roles, targets_signer, site.publisher, NOW)
    with pytest.raises(PublicationRefused, match="is missing"):
        rotate_publishing_key({}, targets_signer, site.publisher, NOW)
    partly = {name: signed.roles[name] for name in names[:3]}
    with pytest.raises(PublicationRefused, match="faces"):
        await site.repository.accept(SignedRoles(roles=partly), NOW)
    assert await site.repository.accept(signed, NOW)
    await site.publish(2)
    assert await device.targets([files(2).target, files(1, "faces").target], NOW)
    site.publisher = old
    with pytest.raises(PublicationRefused):
        site.sign(3)


async def test_the_online_key_is_rotated_with_the_server(site: Site) -> None:
    device = await site.device()
    await device.refresh(NOW)
    fresh = CryptoSigner.generate_ed25519()
    with pytest.raises(PublicationRefused, match="does not hold"):
        await rotate_online(site, fresh)
    await site.restart(fresh)
    await rotate_online(site, fresh)
    await device.refresh(NOW)
    assert not await site.repository.refresh_online(NOW)


async def test_a_death_after_the_new_root_is_mended_at_the_next_refresh(
    site: Site, deaths: set[str]
) -> None:
    fresh = CryptoSigner.generate_ed25519()
    await site.restart(fresh)
    deaths.add("keys.root.written")
    with pytest.raises(SystemExit):
        await rotate_online(site, fresh)
    deaths.clear()
    await site.restart(fresh)
    with pytest.raises(SignatureInvalid):
        await (await site.device()).refresh(NOW)
    assert await site.repository.refresh_online(NOW)
    await (await site.device()).refresh(NOW)


async def test_the_directors_key_is_rotated_by_the_offline_targets_key(site: Site) -> None:
    device = await site.device()
    await device.director_keys(NOW)
    new = Ed25519PrivateKey.generate().public_key()
    signed, content = rotate_director_key(
        site.repository.role("targets") or b"",
        load_signer(site.keys.targets_key),
        [new, site.online.director.public_key],
        NOW,
    )
    with pytest.raises(PublicationRefused, match="content"):
        await site.repository.accept(signed, NOW)
    assert await site.repository.accept(signed, NOW, director_keys=content)
    assert len(await device.director_keys(NOW, refresh=True)) == 2


@pytest.mark.parametrize(
    "death",
    [
        "keys.publish.roles_written",
        "keys.publish.snapshot_written",
        "keys.publish.timestamp_written",
    ],
)
async def test_a_death_during_publication_leaves_the_old_or_the_new(
    site: Site, deaths: set[str], death: str
) -> None:
    await site.publish(1)
    deaths.add(death)
    with pytest.raises(SystemExit):
        await site.publish(2)
    deaths.clear()
    await site.restart()
    device = await site.device()
    await device.targets([files(1).target], NOW)
    await site.publish(2)
    await device.targets([files(2).target], NOW)


async def test_metadata_that_nobody_may_ask_for_is_not_there(site: Site) -> None:
    for name in ("../director", "root.json", "0.root.json", "1.root.json/..", "", "director-keys"):
        assert await site.repository.metadata(name) is None
    assert await site.repository.target("shoal/keys/director") is None
    assert await site.repository.target("demo/x") is None


async def test_an_empty_store_needs_the_first_metadata(tmp_path: Path) -> None:
    repository = TufRepository(ObjectFolder.open("memory://"), CryptoSigner.generate_ed25519())
    with pytest.raises(RepositoryEmpty):
        await repository.load(tmp_path, NOW)
    with pytest.raises(RepositoryEmpty):
        repository.root()
    with pytest.raises(RepositoryEmpty):
        await repository.refresh_online(NOW)


def test_private_files_are_private_and_never_overwritten(tmp_path: Path) -> None:
    keys = init_keys(tmp_path / "keys", namespaces=[NAMESPACE], now_ms=NOW)
    for path in keys.path.rglob("*"):
        if path.suffix in (".pem", ".secret"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    before = {path: path.read_bytes() for path in keys.path.rglob("*") if path.is_file()}
    with pytest.raises(KeysExist):
        init_keys(tmp_path / "keys", namespaces=[NAMESPACE], now_ms=NOW)
    assert before == {path: path.read_bytes() for path in keys.path.rglob("*") if path.is_file()}
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]


def test_a_death_during_init_leaves_no_half_set(tmp_path: Path, deaths: set[str]) -> None:
    deaths.add("keys.init.written")
    with pytest.raises(SystemExit):
        init_keys(tmp_path / "keys", namespaces=[NAMESPACE], now_ms=NOW)
    assert not list(tmp_path.iterdir())


def test_offline_keys_may_have_a_passphrase(tmp_path: Path) -> None:
    keys = init_keys(tmp_path / "keys", namespaces=[NAMESPACE], now_ms=NOW, passphrase="correct")
    load_signing_key(keys.targets_key, "correct")
    Publisher.load(keys.path, NAMESPACE, "correct")
    OnlineKeys.load(keys.online)
    for passphrase in ("wrong", None):
        with pytest.raises(KeysUnreadable):
            load_signing_key(keys.root_key(1), passphrase)
    with pytest.raises(KeysUnreadable):
        load_signing_key(keys.online / "ca.pem")
    with pytest.raises(KeysMissing):
        Publisher.load(keys.path, "demo/other")


def test_the_servers_certificate_fits_its_hosts(tmp_path: Path) -> None:
    keys = init_keys(tmp_path / "keys", namespaces=[], hosts=["localhost", "::1"], now_ms=NOW)
    online = OnlineKeys.load(KeyFolder(tmp_path / "keys").online)
    assert online.server_tls(["localhost", "0:0::1"]) == online.tls
    assert online.server_tls(["other.example"]) != online.tls
    (keys.online / "ca.crt").write_bytes(b"damaged")
    with pytest.raises(KeysUnreadable):
        OnlineKeys.load(keys.online)


async def test_timestamps_grow(site: Site) -> None:
    await site.publish(1)
    data = await site.repository.metadata("timestamp.json")
    assert Metadata[Timestamp].from_bytes(data or b"").signed.version == 2
