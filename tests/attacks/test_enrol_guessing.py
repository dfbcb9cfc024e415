"""Guessing one-time tokens: the tries of the guesser end, those of others go on, and no device comes of it."""

import asyncio
import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.applications import Starlette

from cloud.keys.authority import CertificateAuthority, create_authority
from cloud.keys.enrolment import EnrolmentService, EnrolmentSite
from cloud.keys.files import load_tls_key
from cloud.keys.rate_limit import EnrolmentLimiter
from cloud.keys.routes import IdentityRoutes
from cloud.keys.settings import KeySettings
from cloud.store.database import Database
from cloud.store.namespaces import create_namespace
from cloud.store.tables import devices
from device_agent.tasks.enrol import EnrolmentCode
from tests.helpers.device_identity import certificate_request
from tests.helpers.fake_repository import NAMESPACE, NOW, FixedClock

SETTINGS = KeySettings(enrol_source_burst=10, enrol_source_per_second=0.5, enrol_refusal_cost=4)


class Door:
    """The enrolment route, as requests from some address meet it."""

    def __init__(self, app: Starlette, clock: FixedClock, service: EnrolmentService) -> None:
        self.app = app
        self.clock = clock
        self.service = service

    async def knock(self, token: str, address: str) -> tuple[int, dict[str, str], str]:
        """Status, headers and error code of one try."""
        request = certificate_request(ec.generate_private_key(ec.SECP256R1())).decode()
        body = json.dumps({"namespace": NAMESPACE, "token": token, "csr": request, "facts": {}})
        sent: list[dict[str, object]] = []

        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": body.encode(), "more_body": False}

        async def send(message: dict[str, object]) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": "/v1/enrol",
            "raw_path": b"/v1/enrol",
            "query_string": b"",
            "headers": [],
            "scheme": "https",
            "client": (address, 1234),
            "server": ("cloud", 443),
        }
        await self.app(scope, receive, send)  # type: ignore[arg-type]
        headers = dict(sent[0]["headers"])  # type: ignore[call-overload]
        said = json.loads(bytes(sent[1]["body"]))  # type: ignore[call-overload]
        code = said.get("error", {}).get("code", "")
        plain = {name.decode(): value.decode() for name, value in headers.items()}
        return int(str(sent[0]["status"])), plain, code


@pytest.fixture
async def door(database: Database, tmp_path: Path) -> Door:
    key_pem, certificate_pem = create_authority()
    (tmp_path / "ca.pem").write_bytes(key_pem)
    from cryptography import x509

    authority = CertificateAuthority(
        load_tls_key(tmp_path / "ca.pem"), x509.load_pem_x509_certificate(certificate_pem)
    )
    site = EnrolmentSite(url="https://cloud.example", sync_address="x:1", tuf_root=b"{}")
    async with database.begin() as connection:
        await create_namespace(connection, NAMESPACE, NOW, "test")
    clock = FixedClock()
    service = EnrolmentService(database, authority, clock, lambda: site)
    routes = IdentityRoutes(authority, service, None, clock, EnrolmentLimiter(SETTINGS))  # type: ignore[arg-type]
    return Door(Starlette(routes=routes.routes()), clock, service)


async def test_guesses_shut_the_door_for_the_guesser_alone(door: Door, database: Database) -> None:
    answers = [await door.knock(f"guess-{number}", "203.0.113.5") for number in range(12)]
    assert [status for status, _, _ in answers] == [403, 403] + [429] * 10
    _, headers, code = answers[-1]
    assert (code, int(headers["retry-after"]) > 0) == ("ENROLMENT_BUSY", True)
    good = [
        EnrolmentCode.parse(await door.service.create_token(NAMESPACE, {}, "owner")).token
        for _ in range(2)
    ]
    assert (await door.knock(good[0], "203.0.113.5"))[0] == 429, "even with the right one"
    assert (await door.knock(good[0], "203.0.113.6"))[0] == 200
    door.clock.elapsed_ms += int(headers["retry-after"]) * 1000
    assert (await door.knock(good[1], "203.0.113.5"))[0] == 200, "who waits as told gets in"
    async with database.read() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(devices)) == 2


async def test_a_flood_from_everywhere_is_bounded_for_all() -> None:
    settings = KeySettings(enrol_burst=5, enrol_per_second=1.0)
    limiter = EnrolmentLimiter(settings)
    waits = [limiter.take(f"2001:db8:{number:x}::1", 0) for number in range(50)]
    assert waits.count(0) == 5
    assert max(waits) <= 1001
    assert limiter.take("2001:db8:ffff::1", 5000) == 0


async def test_many_honest_devices_behind_one_address_get_in(door: Door) -> None:
    tokens = [
        EnrolmentCode.parse(await door.service.create_token(NAMESPACE, {}, "owner")).token
        for _ in range(10)
    ]
    answers = await asyncio.gather(*(door.knock(token, "198.51.100.1") for token in tokens))
    assert [status for status, _, _ in answers] == [200] * 10
