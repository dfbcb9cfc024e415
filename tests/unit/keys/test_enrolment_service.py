"""Devices that come in, stay and go: the device's own code against the cloud's routes, without sockets."""

import asyncio
import base64
import json
import shutil
import stat
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from starlette.applications import Starlette

from cloud.artifacts.blobs import BlobStore
from cloud.artifacts.objects import ObjectFolder
from cloud.artifacts.scopes import PublishedScopes
from cloud.keys.authority import read_device_certificate
from cloud.keys.enrolment import EnrolmentService, EnrolmentSite
from cloud.keys.errors import DeviceUnknown, EnrolmentRefused
from cloud.keys.generate import init_keys
from cloud.keys.online import OnlineKeys
from cloud.keys.repository import TufRepository
from cloud.keys.routes import device_app, device_routes
from cloud.keys.settings import DAY_MS
from cloud.store.database import Database
from cloud.store.epochs import changes_since
from cloud.store.namespaces import create_namespace
from cloud.store.tables import audit_log, device_streams, devices, enrolment_tokens, notices
from cloud.targeting.errors import TargetingInvalid
from device_agent import failpoint
from device_agent.tasks.enrol import EnrolmentCode, enrol, enrol_anew, fetch_server_time, renew
from device_agent.tasks.fetch import Fetcher
from device_agent.tasks.identity import Identity
from device_agent.tasks.proof import PURPOSE_RENEW, make_proof
from device_agent.tasks.trust import TrustStore
from device_agent.tasks.trust_errors import (
    CloudUntrusted,
    EnrolmentCodeInvalid,
    EnrolmentFailed,
    IdentityInvalid,
)
from tests.helpers.memory_fetcher import Answer, AsgiFetcher, Ask, MemoryFetcher, broken, call_asgi

NOW = 1_790_000_000_000
NAMESPACE = "demo/digits-app"


class FixedClock:
    def __init__(self) -> None:
        self.now_ms = NOW

    def wall_ms(self) -> int:
        return self.now_ms

    def monotonic_ns(self) -> int:
        return self.now_ms * 1_000_000


class Cloud:
    """The HTTPS face over a real database, repository and CA."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.clock = FixedClock()
        self.db = database
        self.keys = init_keys(folder / "keys", namespaces=[NAMESPACE], now_ms=NOW)
        self.online = OnlineKeys.load(self.keys.online)
        self.repository = TufRepository(ObjectFolder.open("memory://"), self.online.repository)
        self.root = b""
        self.enrolment = EnrolmentService(database, self.online.authority, self.clock, self.site)
        self.app: Starlette = device_app(
            device_routes(
                blobs=BlobStore.open("memory://"),
                tickets=self.online.tickets,
                scope_of=PublishedScopes(database),
                authority=self.online.authority,
                enrolment=self.enrolment,
                repository=self.repository,
                clock=self.clock,
            )
        )
        self.loop = asyncio.get_running_loop()

    async def start(self) -> "Cloud":
        async with self.db.begin() as connection:
            await create_namespace(connection, NAMESPACE, NOW, "test")
        await self.repository.load(self.online.first_metadata, NOW)
        self.root = self.repository.root()
        return self

    def site(self) -> EnrolmentSite:
        return EnrolmentSite(
            url="https://cloud.example:1", sync_address="cloud.example:2", tuf_root=self.root
        )

    def fetcher(self, _url: str = "", _ca: bytes | None = None) -> Fetcher:
        return AsgiFetcher(self.loop, self.app)

    async def token(self, **attributes: str) -> str:
        return await self.enrolment.create_token(NAMESPACE, attributes, "token:ci")

    async def enrol(self, folder: Path, code: str) -> Identity:
        return await asyncio.to_thread(enrol, self.fetcher, code, folder, {"os": "linux"})

    async def rows(self, table: sa.Table) -> list[sa.Row[tuple[object, ...]]]:
        async with self.db.read() as connection:
            return list(await connection.execute(sa.select(table)))


@pytest.fixture
async def cloud(database: Database, tmp_path: Path) -> Cloud:
    return await Cloud(database, tmp_path).start()


async def test_a_device_enrols_with_a_code(cloud: Cloud, tmp_path: Path) -> None:
    code = await cloud.token(ring="beta")
    identity = await cloud.enrol(tmp_path / "home", code)
    assert identity == Identity.load(tmp_path / "home")
    assert (identity.namespace, identity.sync_address) == (NAMESPACE, "cloud.example:2")
    described = cloud.online.authority.verify(identity.certificate_pem)
    assert (described.device_id, described.namespace) == (identity.device_id, NAMESPACE)
    (row,) = await cloud.rows(devices)
    assert row.device_id == identity.device_id
    assert (row.attributes, row.facts) == ({"ring": "beta"}, {"os": "linux"})
    assert row.certificate_serial == described.serial


async def test_the_root_of_enrolment_opens_the_repository(cloud: Cloud, tmp_path: Path) -> None:
    identity = await cloud.enrol(tmp_path / "home", await cloud.token())
    trust = TrustStore(tmp_path / "tuf", identity.root, cloud.fetcher())
    assert list(await trust.director_keys(NOW)) == [cloud.online.director.keyid]


async def test_the_private_key_is_private_and_stays(cloud: Cloud, tmp_path: Path) -> None:
    identity = await cloud.enrol(tmp_path / "home", await cloud.token())
    path = tmp_path / "home" / "device.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert identity.key_pem == path.read_bytes()
    assert sorted(one.name for one in (tmp_path / "home").iterdir()) == [
        "device.key",
        "identity.json",
    ]


async def test_the_token_itself_is_not_stored(cloud: Cloud) -> None:
    code = EnrolmentCode.parse(await cloud.token())
    (row,) = await cloud.rows(enrolment_tokens)
    assert code.token not in str(row)
    assert code.ca_sha256 == cloud.online.authority.fingerprint


async def test_a_token_opens_the_door_once(cloud: Cloud, tmp_path: Path) -> None:
    code = await cloud.token()
    await cloud.enrol(tmp_path / "one", code)
    with pytest.raises(EnrolmentFailed, match="another device") as refused:
        await cloud.enrol(tmp_path / "two", code)
    assert refused.value.reason_code == "ENROLMENT_REFUSED"
    assert Identity.load(tmp_path / "two") is None
    assert len(await cloud.rows(devices)) == 1


async def test_of_many_devices_with_one_token_exactly_one_wins(
    cloud: Cloud, tmp_path: Path
) -> None:
    code = await cloud.token()
    results = await asyncio.gather(
        *(cloud.enrol(tmp_path / str(number), code) for number in range(5)),
        return_exceptions=True,
    )
    assert sum(isinstance(result, Identity) for result in results) == 1
    assert len(await cloud.rows(devices)) == 1


async def test_an_answer_that_was_lost_is_asked_for_again(cloud: Cloud, tmp_path: Path) -> None:
    code = await cloud.token()
    first = await cloud.enrol(tmp_path / "home", code)
    (tmp_path / "home" / "identity.json").unlink()
    again = await cloud.enrol(tmp_path / "home", code)
    assert again.device_id == first.device_id


async def test_a_death_before_the_commit_leaves_the_token_unused(
    cloud: Cloud, tmp_path: Path
) -> None:
    code = await cloud.token()

    def die(name: str) -> None:
        if name == "keys.enrol.before_commit":
            raise EnrolmentRefused("died")

    failpoint.arm(die)
    try:
        with pytest.raises(EnrolmentFailed, match="died"):
            await cloud.enrol(tmp_path / "one", code)
    finally:
        failpoint.arm(None)
    await cloud.enrol(tmp_path / "two", code)


@pytest.mark.parametrize("lifetime_ms", [0, -1, 91 * DAY_MS])
async def test_a_token_has_a_bounded_life(cloud: Cloud, lifetime_ms: int) -> None:
    with pytest.raises(EnrolmentRefused):
        await cloud.enrolment.create_token(NAMESPACE, {}, "token:ci", lifetime_ms)


async def test_attributes_that_no_targeting_could_match_are_refused(cloud: Cloud) -> None:
    with pytest.raises(TargetingInvalid):
        await cloud.enrolment.create_token(NAMESPACE, {"ring": "x" * 300}, "token:ci")
    assert await cloud.rows(enrolment_tokens) == []


async def test_an_expired_token_is_refused(cloud: Cloud, tmp_path: Path) -> None:
    code = await cloud.token()
    cloud.clock.now_ms += 8 * DAY_MS
    with pytest.raises(EnrolmentFailed, match="expired"):
        await cloud.enrol(tmp_path / "home", code)
    (row,) = await cloud.rows(enrolment_tokens)
    assert row.used_at_ms is None


async def test_an_unknown_token_is_refused(cloud: Cloud, tmp_path: Path) -> None:
    code = EnrolmentCode(
        url="https://cloud.example:1",
        namespace=NAMESPACE,
        token="guessed",
        ca_sha256=cloud.online.authority.fingerprint,
    )
    with pytest.raises(EnrolmentFailed, match="not known"):
        await cloud.enrol(tmp_path / "home", str(code))


async def test_another_ca_gets_no_token(cloud: Cloud, tmp_path: Path) -> None:
    code = EnrolmentCode.parse(await cloud.token())
    wrong = EnrolmentCode(
        url=code.url, namespace=code.namespace, token=code.token, ca_sha256="0" * 64
    )
    fetcher = AsgiFetcher(cloud.loop, cloud.app)
    with pytest.raises(CloudUntrusted, match="token was not sent"):
        await asyncio.to_thread(enrol, lambda _url, _ca: fetcher, str(wrong), tmp_path / "h", {})
    assert [ask.path for ask in fetcher.asked] == ["/v1/ca"]
    assert Identity.load(tmp_path / "h") is None


async def test_a_certificate_for_another_key_is_not_used(cloud: Cloud, tmp_path: Path) -> None:
    code = await cloud.token()
    other = await cloud.enrol(tmp_path / "other", await cloud.token())

    def answer(ask: Ask) -> Answer:
        if ask.path == "/v1/ca":
            pem = cloud.online.authority.certificate_pem.decode()
            return Answer(200, json.dumps({"certificate": pem}).encode())
        body = {
            "certificate": other.certificate_pem.decode(),
            "sync_address": "x:1",
            "tuf_root": "{}",
        }
        return Answer(200, json.dumps(body).encode())

    with pytest.raises(CloudUntrusted, match="not used"):
        enrol(lambda _url, _ca: MemoryFetcher(answer), code, tmp_path / "home", {})
    assert Identity.load(tmp_path / "home") is None


@pytest.mark.parametrize(
    "text", ["", "x", "!!!", "e30", base64.urlsafe_b64encode(b'{"url": 1}').decode(), "A" * 3000]
)
def test_what_is_no_code_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(EnrolmentCodeInvalid):
        enrol(lambda _url, _ca: MemoryFetcher(broken), text, tmp_path, {})
    assert not list(tmp_path.iterdir())


async def test_a_cloud_that_cannot_be_reached_is_named(cloud: Cloud, tmp_path: Path) -> None:
    code = await cloud.token()
    with pytest.raises(EnrolmentFailed, match="could not be reached"):
        enrol(lambda _url, _ca: MemoryFetcher(broken), code, tmp_path / "home", {})


@pytest.mark.parametrize(
    "answer", [Answer(200, b"<html>"), Answer(500, b"[]"), Answer(200, b"x" * 2_000_000)]
)
def test_an_answer_that_is_no_cloud_s_is_refused(answer: Answer) -> None:
    with pytest.raises(EnrolmentFailed):
        fetch_server_time(MemoryFetcher(lambda _: answer))
    with pytest.raises(EnrolmentFailed, match="time"):
        fetch_server_time(MemoryFetcher(lambda _: Answer(200, b"{}")))


async def test_a_certificate_is_renewed_in_time(cloud: Cloud, tmp_path: Path) -> None:
    identity = await cloud.enrol(tmp_path / "home", await cloud.token())
    assert not identity.needs_renewal(NOW)
    cloud.clock.now_ms = NOW + 61 * DAY_MS
    assert identity.needs_renewal(cloud.clock.now_ms)
    renewed = await asyncio.to_thread(renew, cloud.fetcher(), identity, tmp_path / "home")
    assert renewed.device_id == identity.device_id
    assert renewed.certificate_expires_at_ms == NOW + 151 * DAY_MS
    assert Identity.load(tmp_path / "home") == renewed
    (row,) = await cloud.rows(devices)
    assert row.certificate_serial == read_device_certificate(renewed.certificate_pem).serial


async def test_a_revoked_device_cannot_renew_and_may_enrol_again(
    cloud: Cloud, tmp_path: Path
) -> None:
    identity = await cloud.enrol(tmp_path / "home", await cloud.token())
    assert await cloud.enrolment.revoke(NAMESPACE, identity.device_id, "token:ci", "stolen")
    assert not await cloud.enrolment.revoke(NAMESPACE, identity.device_id, "token:ci", "stolen")
    with pytest.raises(EnrolmentFailed) as refused:
        await asyncio.to_thread(renew, cloud.fetcher(), identity, tmp_path / "home")
    assert refused.value.reason_code == "DEVICE_REVOKED"
    async with cloud.db.read() as connection:
        changes = await changes_since(connection, NAMESPACE, 0, 10)
    assert [(one.kind, one.subject) for one in changes] == [("revocation", identity.device_id)]
    again = await cloud.enrol(tmp_path / "home", await cloud.token())
    assert again.device_id == identity.device_id
    (row,) = await cloud.rows(devices)
    assert row.revoked_at_ms is None


async def post_renewal(cloud: Cloud, body: bytes, proof: str) -> tuple[int, str]:
    answer = await call_asgi(cloud.app, Ask("POST", "/v1/renew", {"shoal-proof": proof}, body))
    assert isinstance(answer.body, bytes)
    return answer.status, json.loads(answer.body)["error"]["code"]


async def test_renewal_for_another_is_refused(cloud: Cloud, tmp_path: Path) -> None:
    mine = await cloud.enrol(tmp_path / "mine", await cloud.token())
    victim = await cloud.enrol(tmp_path / "victim", await cloud.token())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    pem = csr.sign(victim.key, hashes.SHA256())

    body = json.dumps(
        {"namespace": NAMESPACE, "csr": pem.public_bytes(Encoding.PEM).decode()}
    ).encode()
    stolen = make_proof(mine.key, PURPOSE_RENEW, body, NOW)
    assert await post_renewal(cloud, body, stolen) == (401, "CERTIFICATE_INVALID")
    other_purpose = make_proof(victim.key, "exclusive", body, NOW)
    assert await post_renewal(cloud, body, other_purpose) == (401, "PROOF_INVALID")
    old = make_proof(victim.key, PURPOSE_RENEW, body, NOW - 6 * 60 * 1000)
    assert await post_renewal(cloud, body, old) == (401, "PROOF_INVALID")
    other_body = make_proof(victim.key, PURPOSE_RENEW, body + b" ", NOW)
    assert await post_renewal(cloud, body, other_body) == (401, "PROOF_INVALID")
    for proof in ("", "1.2.3", "x.y.z", f"{NOW}.AAAA.AAAA", "9" * 600):
        assert await post_renewal(cloud, body, proof) == (401, "PROOF_INVALID")
    stranger = ec.generate_private_key(ec.SECP256R1())
    foreign = csr.sign(stranger, hashes.SHA256()).public_bytes(Encoding.PEM)
    body = json.dumps({"namespace": NAMESPACE, "csr": foreign.decode()}).encode()
    unknown = make_proof(stranger, PURPOSE_RENEW, body, NOW)
    assert await post_renewal(cloud, body, unknown) == (404, "DEVICE_UNKNOWN")


async def test_a_forgotten_device_is_gone_from_every_table(cloud: Cloud, tmp_path: Path) -> None:
    identity = await cloud.enrol(tmp_path / "home", await cloud.token())
    mine = {"namespace": NAMESPACE, "device_id": identity.device_id}
    async with cloud.db.begin() as connection:
        await connection.execute(sa.insert(notices).values(**mine, at_ms=NOW, code="X", message=""))
        await connection.execute(
            sa.insert(device_streams).values(
                **mine, stream="ack", boot="b", sequence=1, updated_at_ms=NOW
            )
        )
    assert await cloud.enrolment.forget(NAMESPACE, identity.device_id, "token:ci", "asked") == 3
    for table in (devices, notices, device_streams):
        assert await cloud.rows(table) == []
    (token,) = await cloud.rows(enrolment_tokens)
    assert token.used_by == ""
    with pytest.raises(EnrolmentFailed) as refused:
        await asyncio.to_thread(renew, cloud.fetcher(), identity, tmp_path / "home")
    assert refused.value.reason_code == "DEVICE_UNKNOWN"
    with pytest.raises(DeviceUnknown):
        await cloud.enrolment.forget(NAMESPACE, identity.device_id, "token:ci", "again")


async def test_every_change_is_audited(cloud: Cloud, tmp_path: Path) -> None:
    identity = await cloud.enrol(tmp_path / "home", await cloud.token())
    await asyncio.to_thread(renew, cloud.fetcher(), identity, tmp_path / "home")
    await cloud.enrolment.revoke(NAMESPACE, identity.device_id, "token:ci", "stolen")
    await cloud.enrolment.forget(NAMESPACE, identity.device_id, "token:ci", "gone")
    actions = [(row.actor, row.action) for row in await cloud.rows(audit_log)]
    device = f"device:{identity.device_id}"
    assert actions[1:] == [
        ("token:ci", "device.token.create"),
        (device, "device.enrol"),
        (device, "device.renew"),
        ("token:ci", "device.revoke"),
        ("token:ci", "device.forget"),
    ]


async def test_a_damaged_identity_is_named_and_the_key_kept(cloud: Cloud, tmp_path: Path) -> None:
    identity = await cloud.enrol(tmp_path / "home", await cloud.token())
    other = await cloud.enrol(tmp_path / "other", await cloud.token())
    stored = tmp_path / "home" / "identity.json"
    whole = stored.read_bytes()
    for damaged in (b"", b"{}", whole.replace(b"CERTIFICATE", b"X")):
        stored.write_bytes(damaged)
        with pytest.raises(IdentityInvalid):
            Identity.load(tmp_path / "home")
    stored.write_bytes(whole)
    shutil.copy(tmp_path / "other" / "device.key", tmp_path / "home" / "device.key")
    with pytest.raises(IdentityInvalid, match="another key"):
        Identity.load(tmp_path / "home")
    (tmp_path / "home" / "device.key").write_bytes(b"damaged")
    with pytest.raises(IdentityInvalid):
        Identity.load(tmp_path / "home")
    assert identity.device_id != other.device_id


@pytest.mark.parametrize(
    ("ask", "status", "code"),
    [
        (Ask("POST", "/v1/enrol", {}, b"{"), 400, "REQUEST_INVALID"),
        (Ask("POST", "/v1/enrol", {}, b"[]"), 400, "REQUEST_INVALID"),
        (Ask("POST", "/v1/enrol", {}, b"x" * 70_000), 413, "REQUEST_TOO_LONG"),
        (
            Ask("POST", "/v1/enrol", {}, b'{"namespace":"X","token":"","csr":"","facts":{}}'),
            400,
            "NAME_INVALID",
        ),
        (
            Ask("POST", "/v1/enrol", {}, b'{"namespace":"a/b","token":"","csr":"","facts":{}}'),
            401,
            "CERTIFICATE_INVALID",
        ),
        (Ask("GET", "/v1/enrol", {}, b""), 405, "METHOD_NOT_ALLOWED"),
        (Ask("GET", "/nothing", {}, b""), 404, "NOT_FOUND"),
        (Ask("GET", "/tuf/metadata/2.root.json", {}, b""), 404, "METADATA_MISSING"),
        (Ask("GET", "/tuf/targets/x", {}, b""), 404, "METADATA_MISSING"),
        (Ask("GET", "/v1/files/xyz", {}, b""), 400, "REQUEST_INVALID"),
        (Ask("GET", "/v1/files/" + "0" * 64, {}, b""), 404, "BLOB_MISSING"),
    ],
)
async def test_bad_requests_have_clear_answers(
    cloud: Cloud, ask: Ask, status: int, code: str
) -> None:
    answer = await call_asgi(cloud.app, ask)
    assert isinstance(answer.body, bytes)
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["code"]) == (status, code)
    assert error["hint"]


async def test_a_device_becomes_another_with_a_new_key(cloud: Cloud, tmp_path: Path) -> None:
    """For one of two that share a certificate; broken off, the same code goes on with the same new key."""
    folder = tmp_path / "identity"
    before = await cloud.enrol(folder, await cloud.token())
    code = await cloud.token()

    def anew() -> Identity:
        return enrol_anew(cloud.fetcher, code, folder, {})

    def die(name: str) -> None:
        if name == "identity.enrol.old_removed":
            raise SystemExit(name)

    failpoint.arm(die)
    try:
        with pytest.raises(SystemExit):
            await asyncio.to_thread(anew)
    finally:
        failpoint.arm(None)
    again = await asyncio.to_thread(anew)
    assert again.device_id != before.device_id
    kept = Identity.load(folder)
    assert kept is not None
    assert kept.device_id == again.device_id
    assert not folder.with_name("identity.new").exists()
    assert len(await cloud.rows(devices)) == 2
