"""Attacks on the business header: each unanswered and counted by name, and the shop never notices."""

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest

from cloud.gateway.settings import BusinessSettings
from device_agent.tasks.profile_header import CHANGES_HEADER, decode_profile
from device_agent.tasks.proof import PURPOSE_RENEW, make_proof
from device_agent.tasks.trust_errors import ProfileInvalid, ProofInvalid
from tests.helpers.business import Shop, Shopper
from tests.helpers.release_sets import NAMESPACE, release_set, request
from tests.helpers.sync_fleet import NOW_MS

ASKING = request(epoch=1)


async def unanswered(place: Shop, header: str) -> str:
    """Sends it; the shop answers as ever, Shoal does not. Gives what it was counted as."""
    before = place.face.counts.copy()
    response = await place.get(header)
    assert response.json() == {"items": 2}
    assert CHANGES_HEADER not in response.headers
    ((counted, _),) = (place.face.counts - before).items()
    return counted


def parts(header: str) -> tuple[bytes, str]:
    _, body, proof = header.split(".", 2)
    return urlsafe_b64decode(body + "=" * (-len(body) % 4)), proof


def joined(content: bytes, proof: str) -> str:
    return f"v1.{urlsafe_b64encode(content).rstrip(b'=').decode()}.{proof}"


async def test_a_replayed_header() -> None:
    place = Shop()
    header = Shopper().header(ASKING)
    assert CHANGES_HEADER in (await place.get(header)).headers
    assert await unanswered(place, header) == "PROFILE_INVALID"


async def test_an_old_header_and_one_from_the_future() -> None:
    place, device = Shop(), Shopper()
    for off_ms in (-121_000, 121_000):
        header = device.header(ASKING, NOW_MS + off_ms)
        assert await unanswered(place, header) == "PROOF_INVALID"


async def test_a_flood_of_nonces_makes_no_room_for_a_replay() -> None:
    place, device = Shop(BusinessSettings(nonces_max=4)), Shopper()
    first = device.header(ASKING)
    await place.get(first)
    await place.get(device.header(ASKING))
    assert await unanswered(place, device.header(ASKING)) == "PROFILE_INVALID"
    assert await unanswered(place, first) == "PROFILE_INVALID"


async def test_another_devices_profile_signed_by_ones_own_key() -> None:
    place, victim, thief = Shop(), Shopper(), Shopper()
    place.fleet.sets.attributes[thief.device_id] = None  # the thief is enrolled nowhere
    content, _ = parts(victim.header(ASKING))
    proof = make_proof(thief.key, "profile", content, NOW_MS)
    # It is the thief's own id that counts: no field of the header can name another.
    assert decode_profile(joined(content, proof), now_ms=NOW_MS, window_ms=1).device_id == (
        thief.device_id
    )
    assert await unanswered(place, joined(content, proof)) == "none"


async def test_a_namespace_that_the_device_is_not_enrolled_into() -> None:
    place, device = Shop(), Shopper(namespace="demo/other")
    assert await unanswered(place, device.header(ASKING)) == "NAMESPACE_NOT_SERVED"


async def test_a_revoked_device() -> None:
    place, device = Shop(), Shopper()
    place.fleet.sets.sets[NAMESPACE] = release_set(epoch=9, revoked=[device.device_id])
    assert await unanswered(place, device.header(ASKING)) == "DEVICE_REVOKED"


async def test_a_changed_profile_under_a_good_signature() -> None:
    place = Shop()
    content, proof = parts(Shopper().header(ASKING))
    for changed in (content[:-1], content + b"\x00", bytes([content[0]]) + b"x" + content[2:]):
        assert await unanswered(place, joined(changed, proof)) in (
            "PROOF_INVALID",
            "PROFILE_INVALID",
        )


async def test_a_proof_for_another_purpose() -> None:
    place, device = Shop(), Shopper()
    content, _ = parts(device.header(ASKING))
    proof = make_proof(device.key, PURPOSE_RENEW, content, NOW_MS)
    assert await unanswered(place, joined(content, proof)) == "PROOF_INVALID"


@pytest.mark.parametrize(
    "header",
    [
        "x",
        "v1",
        "v1..",
        "v2.AAAA.1.a.b",
        "v1.****.1.a.b",
        "v1.AA.1.a.b",
        "v1.//8.1.a.b",
        "v1." + "A" * 4090 + ".1.a.b",
        "v1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.x.y.z",
    ],
)
async def test_rubbish(header: str) -> None:
    assert await unanswered(Shop(), header) in ("PROFILE_INVALID", "PROOF_INVALID")


async def test_bytes_that_are_no_request_under_a_good_signature() -> None:
    place, device = Shop(), Shopper()
    content, _ = parts(device.header(ASKING))
    content = content[: 1 + len(NAMESPACE) + 16] + b"\xff\xff\xff"
    proof = make_proof(device.key, "profile", content, NOW_MS)
    assert await unanswered(place, joined(content, proof)) == "SYNC_INVALID"


def test_a_namespace_that_is_none() -> None:
    device = Shopper()
    for name in (b"\xff\xfe", b"nowhere", b""):
        content = bytes([len(name)]) + name + bytes(16)
        proof = make_proof(device.key, "profile", content, NOW_MS)
        with pytest.raises((ProfileInvalid, ProofInvalid)):
            decode_profile(joined(content, proof), now_ms=NOW_MS, window_ms=1)
