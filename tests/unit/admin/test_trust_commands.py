"""Namespaces, rotations and renewals as an operator types them, against a cloud that runs."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tuf.api.metadata import Metadata, Root

from cloud.admin.caller import Caller
from cloud.admin.errors import NamespaceForbidden, NotFound, ScopeMissing
from cloud.keys.errors import KeysMissing
from cloud.keys.online import OnlineKeys
from cloud.keys.publishing import Publisher, renew_role
from cloud.server.home import CloudHome
from cloud.server.parts import open_parts
from cloud.server.settings import ServerSettings
from cloud.store.audit import WHOLE_CLOUD, read_audit, verify_chain
from device_agent import failpoint
from device_agent.clock import SystemClock
from device_agent.tasks.enrol import EnrolmentCode
from tests.helpers.admin_cloud import NAMESPACE, bundle
from tests.helpers.device_identity import certificate_request
from tests.helpers.trust_site import TrustSite, open_trust_site

pytestmark = pytest.mark.slow


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TrustSite]:
    async with open_trust_site(tmp_path, monkeypatch) as made:
        yield made


def key_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.pem")}


async def caller_of(site: TrustSite, token: str = "") -> Caller:
    return await site.cloud.parts.admin.tokens.authenticate(token or site.cloud.owner)


async def test_a_namespace_is_added_while_the_cloud_runs(
    site: TrustSite,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    parts = site.cloud.parts
    assert await site.shoal("namespace", "add", "new/app") == 0
    await parts.gateway.follower.look()
    assert parts.gateway.follower.set_for("new/app") is not None
    monkeypatch.setenv("SHOAL_NAMESPACE", "new/app")
    (tmp_path / "task").mkdir()
    for name, data in bundle().items():
        (tmp_path / "task" / name).write_bytes(data)
    assert await site.shoal("task", "publish", str(tmp_path / "task")) == 0
    path = "/api/v1/namespaces/new/app/tasks/hello/versions/1"
    files = (await site.cloud.get(path)).json()["files"]
    targets = [file["target"] for file in files if file["target"]]
    assert len(await site.device("a").targets(targets, site.now_ms)) == len(targets) == 2

    code = EnrolmentCode.parse(await parts.enrolment.create_token("new/app", {}, "owner"))
    request = certificate_request(ec.generate_private_key(ec.SECP256R1()))
    enrolled = await parts.enrolment.enrol("new/app", code.token, request, {})
    assert enrolled.certificate.namespace == "new/app"

    assert await site.plain("namespace", "list") == 0
    assert "new/app" in capsys.readouterr().out
    assert await site.shoal("namespace", "add", "new/app") == 1
    assert "NAMESPACE_EXISTS" in capsys.readouterr().err


async def test_a_namespace_needs_the_offline_key_and_makes_nothing_without(
    site: TrustSite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert await site.shoal("namespace", "add", "new/app", keys=empty) == 1
    assert "KEYS_MISSING" in capsys.readouterr().err
    assert list(empty.iterdir()) == []
    stranger = tmp_path / "stranger"
    assert await site.plain("keys", "init", str(stranger), "-n", "new/app") == 0
    before = key_files(stranger)
    assert await site.shoal("namespace", "add", "new/app", keys=stranger) == 1
    assert "PUBLICATION_REFUSED" in capsys.readouterr().err
    assert key_files(stranger) == before
    assert site.repository.role("new.app") is None


async def test_a_namespace_whose_making_broke_off_is_made_by_the_same_command(
    site: TrustSite,
) -> None:
    def act(name: str) -> None:
        if name == "admin.namespace.delegated":
            raise KeysMissing("the cloud died here")

    failpoint.arm(act)
    try:
        assert await site.shoal("namespace", "add", "new/app") == 1
    finally:
        failpoint.arm(None)
    assert site.repository.role("new.app") is not None
    assert await site.shoal("namespace", "add", "new/app") == 0
    publisher = Publisher.load(site.keys.path, "new/app")
    current = site.repository.role("new.app") or b""
    assert renew_role(publisher, "new.app", current, site.now_ms).roles


async def test_a_device_that_slept_through_every_rotation_comes_along(site: TrustSite) -> None:
    old = await site.publish("one")
    sleeper = site.device("sleeper")
    await sleeper.targets([old], site.now_ms)
    await sleeper.director_keys(site.now_ms)
    for command in (
        ("root", "1"),
        ("root", "2"),
        ("targets",),
        ("online",),
        ("root", "1"),
        ("director",),
        ("publishing", NAMESPACE),
        ("online",),
    ):
        assert await site.shoal("keys", "rotate", *command) == 0, command
    new = await site.publish("two")
    assert set(await sleeper.targets([old, new], site.now_ms)) == {old, new}
    keys = await sleeper.director_keys(site.now_ms, refresh=True)
    assert set(keys) == {site.cloud.parts.online.director.keyid}
    root = Metadata[Root].from_bytes(site.repository.root()).signed
    assert root.version == 7
    fresh = site.device("fresh")
    await fresh.targets([old, new], site.now_ms)


async def test_keys_that_were_rotated_are_those_of_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_trust_site(tmp_path, monkeypatch) as site:
        before = OnlineKeys.load(site.keys.online)
        assert await site.shoal("keys", "rotate", "online") == 0
        assert await site.shoal("keys", "rotate", "director") == 0
        director, online = site.cloud.parts.online.director.keyid, site.repository.online_keyid
        home = site.cloud.parts.home.path
    settings = ServerSettings(home=home, namespaces=(NAMESPACE,))
    async with open_parts(CloudHome(home), settings, SystemClock()) as parts:
        assert (parts.online.director.keyid, parts.repository.online_keyid) == (director, online)
    after = OnlineKeys.load(CloudHome(home).keys / "online")
    assert (after.director.keyid, after.repository.public_key.keyid) == (director, online)
    assert {director, online}.isdisjoint(
        {before.director.keyid, before.repository.public_key.keyid}
    )


@pytest.mark.parametrize(
    "place",
    [
        "keys.successor.written",
        "admin.trust.published",
        "keys.root.written",
        "keys.successor.retired",
    ],
)
async def test_a_rotation_that_broke_off_is_finished_by_the_same_command(
    site: TrustSite, place: str
) -> None:
    def act(name: str) -> None:
        if name == place:
            failpoint.arm(None)
            raise KeysMissing(f"died at {place}")

    for command in (
        ("root", "2"),
        ("targets",),
        ("online",),
        ("director",),
        ("publishing", NAMESPACE),
    ):
        failpoint.arm(act)
        try:
            await site.shoal("keys", "rotate", *command)
        finally:
            failpoint.arm(None)
        assert await site.shoal("keys", "rotate", *command) == 0, command
        left = [path.name for path in site.keys.path.rglob("*-next.pem")]
        assert left == [], command
    await site.device("a").targets([await site.publish("two")], site.now_ms)


async def test_a_lost_root_key_is_replaced_by_its_id(
    site: TrustSite, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = site.signer("offline", "root-3.pem").public_key.keyid
    site.keys.root_key(3).unlink()
    assert await site.shoal("keys", "rotate", "root", "3") == 1
    assert "by its id" in capsys.readouterr().err
    assert await site.shoal("keys", "rotate", "root", lost[:12]) == 0
    assert site.keys.root_key(3).exists()
    assert lost not in Metadata[Root].from_bytes(site.repository.root()).signed.keys
    for number in (1, 2):
        site.keys.root_key(number).unlink()
    before = key_files(site.keys.path)
    assert await site.shoal("keys", "rotate", "targets") == 1
    assert "KEYS_MISSING" in capsys.readouterr().err
    assert key_files(site.keys.path) == before


async def test_a_revoked_namespace_publishes_again_after_a_rotation(
    site: TrustSite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = await site.publish("one")
    assert await site.shoal("keys", "revoke", NAMESPACE) == 0
    (tmp_path / "task").mkdir()
    for name, data in bundle("other").items():
        (tmp_path / "task" / name).write_bytes(data)
    assert await site.shoal("task", "publish", str(tmp_path / "task")) == 1
    assert "PUBLICATION_REFUSED" in capsys.readouterr().err
    await site.device("a").targets([old], site.now_ms)
    assert await site.shoal("keys", "rotate", "publishing", NAMESPACE) == 0
    assert await site.shoal("task", "publish", str(tmp_path / "task")) == 0


async def test_roles_are_signed_anew(site: TrustSite, capsys: pytest.CaptureFixture[str]) -> None:
    await site.publish("one")
    names = ["root", "targets", NAMESPACE, f"{NAMESPACE}/hello"]
    before = {one.name: one for one in site.repository.expiries()}
    assert await site.shoal("keys", "renew", *names) == 0
    for one in site.repository.expiries():
        if one.name in ("snapshot", "timestamp", "other.app"):
            continue
        assert one.version == before[one.name].version + 1
        assert one.expires_at_ms >= before[one.name].expires_at_ms
    await site.device("a").refresh(site.now_ms)
    capsys.readouterr()
    assert await site.shoal("keys", "renew", "--due") == 0
    assert "nothing is due" in capsys.readouterr().out
    assert await site.shoal("keys", "renew") == 2
    assert await site.shoal("keys", "renew", "no/such") == 1
    assert await site.plain("keys", "status") == 0
    assert "demo.app.hello" in capsys.readouterr().out
    assert await site.plain("doctor") == 0
    assert "keys: good" in capsys.readouterr().out


async def test_a_token_reaches_no_further_than_its_namespace(site: TrustSite) -> None:
    trust = site.cloud.parts.admin.trust
    own = await caller_of(site, await site.cloud.token(["trust:write"]))
    bare = await caller_of(site, await site.cloud.token(["task:write"]))
    publisher = Publisher.load(site.keys.path, NAMESPACE)

    def signed() -> dict[str, str]:
        current = site.repository.role("demo.app") or b""
        roles = renew_role(publisher, "demo.app", current, site.now_ms).roles
        return {name: data.decode() for name, data in roles.items()}

    assert {one.name for one in trust.status(own).items} == {
        *("root", "targets", "snapshot", "timestamp", "ca", "server", "demo.app")
    }
    with pytest.raises(NotFound):
        trust.metadata(own, "other.app")
    with pytest.raises(ScopeMissing):
        await trust.accept(bare, "", signed(), "")
    assert (await trust.accept(own, "", signed(), "")).items
    root = site.repository.root().decode()
    targets = (site.repository.role("targets") or b"").decode()
    other = (site.repository.role("other.app") or b"").decode()
    for asked in (
        trust.accept(own, root, {}, ""),
        trust.accept(own, "", {"targets": targets}, ""),
        trust.accept(own, "", {"other.app": other}, ""),
        trust.accept(own, "", {"other.app": other, "demo.app": other}, ""),
        trust.prepare_successor(own, "online"),
        trust.add_namespace(own, "new/app", {}),
    ):
        with pytest.raises(NamespaceForbidden):
            await asked


async def test_every_step_is_in_the_audit_log(site: TrustSite) -> None:
    for command in (("rotate", "director"), ("rotate", "root", "1"), ("renew", "targets")):
        assert await site.shoal("keys", *command) == 0
    assert await site.shoal("namespace", "add", "new/app") == 0
    async with site.cloud.parts.database.read() as connection:
        rows = await read_audit(connection, WHOLE_CLOUD, limit=20)
        assert (await verify_chain(connection, WHOLE_CLOUD)).rows
    actions = [(row.action, row.actor) for row in rows]
    for action in ("trust.successor", "trust.publish", "namespace.delegate"):
        assert (action, "owner") in actions


async def test_metadata_of_another_cloud_is_not_signed_upon(
    site: TrustSite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server that lies about what is current gets no signature: its root is not ours."""
    stranger = tmp_path / "stranger"
    assert await site.plain("keys", "init", str(stranger), "-n", NAMESPACE) == 0
    before = key_files(stranger)
    for command in (
        ("root", "1"),
        ("targets",),
        ("online",),
        ("director",),
        ("publishing", NAMESPACE),
    ):
        capsys.readouterr()
        assert await site.shoal("keys", "rotate", *command, keys=stranger) == 1, command
        said = capsys.readouterr().err
        assert "KEYS_MISSING" in said or "PUBLICATION_REFUSED" in said
    made = key_files(stranger).keys() - before.keys()
    assert {one for one in made if not one.endswith("-next.pem")} == set()
    shutil.rmtree(stranger)
