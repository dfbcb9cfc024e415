"""The life cycle of devices on both databases: races over a token, and changes that come together or not at all."""

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from cloud.keys.authority import CertificateAuthority, create_authority
from cloud.keys.enrolment import Enrolled, EnrolmentService, EnrolmentSite
from cloud.keys.errors import DeviceRevoked, EnrolmentRefused
from cloud.keys.files import load_tls_key
from cloud.store.audit import verify_chain
from cloud.store.database import Database
from cloud.store.epochs import changes_since
from cloud.store.namespaces import create_namespace
from cloud.store.tables import devices, enrolment_tokens
from device_agent.tasks.enrol import EnrolmentCode
from device_agent.tasks.proof import PURPOSE_RENEW, make_proof
from tests.helpers.fake_repository import NAMESPACE, NOW, FixedClock

BODY = b"the whole request"


class Device:
    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        self.request = builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def proof(self) -> str:
        return make_proof(self.key, PURPOSE_RENEW, BODY, NOW)


@pytest.fixture
async def service(database: Database, tmp_path: Path) -> EnrolmentService:
    key_pem, certificate_pem = create_authority()
    (tmp_path / "ca.pem").write_bytes(key_pem)
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    authority = CertificateAuthority(load_tls_key(tmp_path / "ca.pem"), certificate)
    site = EnrolmentSite(url="https://cloud.example", sync_address="x:1", tuf_root=b"{}")
    async with database.begin() as connection:
        await create_namespace(connection, NAMESPACE, NOW, "test")
    return EnrolmentService(database, authority, FixedClock(), lambda: site)


async def token(service: EnrolmentService) -> str:
    return EnrolmentCode.parse(await service.create_token(NAMESPACE, {"ring": "a"}, "ci")).token


async def test_of_many_devices_with_one_token_exactly_one_wins(
    service: EnrolmentService, database: Database
) -> None:
    one = await token(service)
    results = await asyncio.gather(
        *(service.enrol(NAMESPACE, one, Device().request, {}) for _ in range(8)),
        return_exceptions=True,
    )
    winners = [result for result in results if isinstance(result, Enrolled)]
    assert len(winners) == 1
    assert sum(isinstance(result, EnrolmentRefused) for result in results) == 7
    async with database.read() as connection:
        rows = list(await connection.execute(sa.select(devices)))
        used = await connection.scalar(sa.select(enrolment_tokens.c.used_by))
        assert (await verify_chain(connection, NAMESPACE)).rows
    assert [row.device_id for row in rows] == [winners[0].certificate.device_id] == [used]


async def test_one_device_that_asks_twice_at_once_is_one_device(
    service: EnrolmentService, database: Database
) -> None:
    one, device = await token(service), Device()
    await asyncio.gather(*(service.enrol(NAMESPACE, one, device.request, {}) for _ in range(4)))
    async with database.read() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(devices)) == 1


async def test_revocation_and_renewal_have_an_order(
    service: EnrolmentService, database: Database
) -> None:
    """Whoever comes first: afterwards the device is revoked, once."""
    device = Device()
    enrolled = await service.enrol(NAMESPACE, await token(service), device.request, {})
    device_id = enrolled.certificate.device_id
    await asyncio.gather(
        *(service.revoke(NAMESPACE, device_id, "ci", "stolen") for _ in range(3)),
        *(service.renew(NAMESPACE, device.request, device.proof(), BODY) for _ in range(3)),
        return_exceptions=True,
    )
    async with database.read() as connection:
        changes = await changes_since(connection, NAMESPACE, 0, 10)
        assert await connection.scalar(sa.select(devices.c.revoked_at_ms)) == NOW
    assert [one.subject for one in changes] == [device_id]
    with pytest.raises(DeviceRevoked):
        await service.renew(NAMESPACE, device.request, device.proof(), BODY)


async def test_enrolling_again_ends_a_revocation(
    service: EnrolmentService, database: Database
) -> None:
    device = Device()
    enrolled = await service.enrol(NAMESPACE, await token(service), device.request, {})
    await service.revoke(NAMESPACE, enrolled.certificate.device_id, "ci", "lost")
    await service.enrol(NAMESPACE, await token(service), device.request, {"os": "linux"})
    await service.renew(NAMESPACE, device.request, device.proof(), BODY)
    async with database.read() as connection:
        (row,) = list(await connection.execute(sa.select(devices)))
        assert len(await changes_since(connection, NAMESPACE, 0, 10)) == 2
    assert (row.revoked_at_ms, row.facts) == (None, {"os": "linux"})


async def test_a_forgotten_device_leaves_no_row(
    service: EnrolmentService, database: Database
) -> None:
    device = Device()
    enrolled = await service.enrol(NAMESPACE, await token(service), device.request, {})
    assert await service.forget(NAMESPACE, enrolled.certificate.device_id, "ci", "asked") == 1
    async with database.read() as connection:
        assert list(await connection.execute(sa.select(devices))) == []
        assert (await verify_chain(connection, NAMESPACE)).rows
