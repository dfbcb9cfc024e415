"""The Sync that rides on a business request."""

import asyncio

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from cloud.gateway.business import App, Message, Receive, Scope, Send
from cloud.gateway.follower import Follower
from cloud.gateway.metrics import ProfileCollector
from cloud.gateway.nonces import SeenNonces
from cloud.gateway.settings import BusinessSettings, FollowerSettings
from cloud.store.database import Database
from device_agent.clock import SystemClock
from device_agent.tasks.director import Action
from device_agent.tasks.profile_header import (
    CHANGES_HEADER,
    HEADER_CHARS_MAX,
    SYNC_NOW,
    decode_changes,
    decode_profile,
    encode_changes,
    encode_profile,
)
from device_agent.tasks.trust_errors import ProfileInvalid
from device_agent.tasks.verify import verify_director
from docs.examples.business_app import shop, with_shoal
from tests.helpers.business import Shop, Shopper
from tests.helpers.release_sets import NAMESPACE, release, request, row, version
from tests.helpers.seed_store import Seed
from tests.helpers.sync_fleet import NOW_MS

START: Message = {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]}


async def streams(_scope: Scope, receive: Receive, send: Send) -> None:
    """A chunk for each chunk that comes in, informational and trailing parts around them."""
    await send({"type": "http.response.start", "status": 206, "headers": iter([(b"a", b"b")])})
    while (message := await receive())["more_body"]:
        await send({"type": "http.response.body", "body": message["body"], "more_body": True})
    await send({"type": "http.response.body", "body": b""})
    await send({"type": "http.response.trailers", "headers": [(b"c", b"d")]})


async def says_no_headers(_scope: Scope, _receive: Receive, send: Send) -> None:
    """A HEAD, say: a start without headers and an empty body."""
    await send({"type": "http.response.start", "status": 304})
    await send({"type": "http.response.body"})


async def breaks_before(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise ConnectionError("the app's own, before it said anything")


async def breaks_amid(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send(dict(START))
    raise LookupError("the app's own, amid its answer")


async def is_cancelled(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send(dict(START))
    raise asyncio.CancelledError


async def speaks_other_extensions(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.debug", "info": {}})
    await send(dict(START))
    await send({"type": "http.response.pathsend", "path": "/tmp/file"})


APPS: dict[str, App] = {
    app.__name__: app
    for app in (
        streams,
        says_no_headers,
        breaks_before,
        breaks_amid,
        is_cancelled,
        speaks_other_extensions,
    )
}


async def spoken(app: App, scope: Scope) -> list[Message]:
    """All that the app said to a server, and what it raised."""
    said: list[Message] = []
    parts = iter([b"one", b"two", b""])

    async def receive() -> Message:
        part = next(parts)
        return {"type": "http.request", "body": part, "more_body": bool(part)}

    async def send(message: Message) -> None:
        if "headers" in message:
            message = {**message, "headers": list(message["headers"])}
        said.append(message)

    try:
        await app(dict(scope), receive, send)
    except BaseException as error:
        said.append({"type": "raised", "what": repr(error)})
    return said


async def test_a_device_hears_of_a_change_in_the_shops_answer() -> None:
    place, device = Shop(), Shopper()
    held = request(epoch=place.fleet.epoch - 2, rows=[row("everywhere", 1)])
    response = await place.get(device.header(held))
    assert response.json() == {"items": 2}
    envelope = decode_changes(response.headers[CHANGES_HEADER])
    assert isinstance(envelope, bytes)
    document = verify_director(
        envelope,
        keys={place.fleet.signer.keyid: place.fleet.signer.public_key},
        device=device.device_id,
        namespace=NAMESPACE,
        held=None,
        now_ms=NOW_MS,
    )
    assert [(one.task, one.action) for one in document.tasks] == [("everywhere", Action.INSTALL)]
    assert place.face.counts == {"document": 1}


@pytest.mark.parametrize("behind", [-5, 0, 1])
async def test_nothing_is_said_when_nothing_changed_for_it(behind: int) -> None:
    place = Shop()
    message = request(epoch=place.fleet.epoch - behind, rows=[row("everywhere", 2)])
    response = await place.get(Shopper().header(message))
    assert CHANGES_HEADER not in response.headers
    assert place.face.counts == {"none": 1}


async def test_what_does_not_fit_a_header_says_sync_now() -> None:
    place = Shop()
    rows = [row(f"a-task-that-is-gone-and-has-a-long-name-{n}", 1) for n in range(30)]
    for held in rows:
        held.version.digest = ""
    response = await place.get(Shopper().header(request(epoch=1, rows=rows)))
    assert response.headers[CHANGES_HEADER] == SYNC_NOW
    assert place.face.counts == {"sync_now": 1}


async def test_a_request_without_a_profile_is_the_shops_alone() -> None:
    place = Shop()
    response = await place.get(None)
    assert (response.json(), CHANGES_HEADER in response.headers) == ({"items": 2}, False)
    assert place.face.counts == {}


async def test_too_many_a_second_go_unanswered() -> None:
    place, device = Shop(BusinessSettings(headers_per_s_max=1)), Shopper()
    for _ in range(2):
        response = await place.get(device.header(request(epoch=1)))
        assert response.status_code == 200
    assert place.face.counts == {"document": 1, "busy": 1}
    place.clock.now_ms += 1_000
    response = await place.get(device.header(request(epoch=1), place.clock.now_ms))
    assert CHANGES_HEADER in response.headers


async def test_our_own_fault_is_not_the_shops() -> None:
    place = Shop()
    place.fleet.sets.sets[NAMESPACE] = None  # type: ignore[assignment]  # what no follower does
    del place.fleet.answerer._signer
    response = await place.get(Shopper().header(request(epoch=1)))
    assert response.json() == {"items": 2}
    assert sum(place.face.counts.values()) == 1
    assert CHANGES_HEADER not in response.headers


async def test_the_shops_own_fault_stays_its_own() -> None:
    with pytest.raises(RuntimeError, match="shop's own"):
        await Shop().get(Shopper().header(request(epoch=1)), "/broken")


@pytest.mark.parametrize("header", ["good", "v1.rubbish", "x" * 8_000, ""])
@pytest.mark.parametrize("name", APPS)
async def test_any_app_says_the_same_to_server_and_client_as_without_us(
    name: str, header: str
) -> None:
    app = APPS[name]
    place = Shop(app=app)
    value = Shopper().header(request(epoch=1)) if header == "good" else header
    scope = {"type": "http", "headers": [(b"host", b"x"), (b"shoal-profile", value.encode())]}
    with_us, alone = await spoken(place.app, scope), await spoken(app, scope)
    added = [
        (name, text)
        for message in with_us
        for name, text in message.get("headers", ())
        if name == CHANGES_HEADER.encode()
    ]
    started = any(message["type"] == "http.response.start" for message in alone)
    assert len(added) == (started and header == "good")
    for message in (*with_us, *alone):
        if "headers" in message or message["type"] == "http.response.start":
            message["headers"] = [one for one in message.get("headers", ()) if one not in added]
    assert with_us == alone


async def test_other_protocols_pass_untouched() -> None:
    seen: list[str] = []

    async def app(scope: object, _receive: object, _send: object) -> None:
        assert isinstance(scope, dict)
        seen.append(scope["type"])

    place = Shop(app=app)
    await place.app({"type": "lifespan"}, None, None)  # type: ignore[arg-type]  # not called
    assert seen == ["lifespan"]


def test_a_profile_comes_back_as_it_was_sent() -> None:
    device = Shopper()
    value = encode_profile(device.key, NAMESPACE, b"request", bytes(16), NOW_MS)
    profile = decode_profile(value, now_ms=NOW_MS + 1_000, window_ms=1_000)
    assert (profile.device_id, profile.namespace) == (device.device_id, NAMESPACE)
    assert (profile.nonce, profile.request) == (bytes(16), b"request")


def test_a_profile_too_long_for_a_header_is_not_made() -> None:
    with pytest.raises(ProfileInvalid, match="without it"):
        encode_profile(Shopper().key, NAMESPACE, bytes(3_000), bytes(16), NOW_MS)


def test_changes_come_back_or_say_sync_now() -> None:
    assert decode_changes(encode_changes(b"envelope")) == b"envelope"
    assert decode_changes(encode_changes(bytes(HEADER_CHARS_MAX))) == SYNC_NOW
    assert decode_changes(None) is None
    assert decode_changes("") is None
    for bad in ("*", "ä", "A" * (HEADER_CHARS_MAX + 1)):
        with pytest.raises(ProfileInvalid):
            decode_changes(bad)


def test_nonces_are_remembered_for_a_window_and_bounded() -> None:
    seen = SeenNonces(window_ms=100, nonces_max=4)
    assert seen.take("d", b"1", 0)
    assert not seen.take("d", b"1", 99)
    assert not seen.take("d", b"1", 150)  # the older generation
    assert seen.take("other", b"1", 150)
    assert seen.take("d", b"1", 500)
    assert seen.take("d", b"2", 500)
    assert not seen.take("d", b"3", 500)  # full
    assert seen.take("d", b"3", 700)


def test_nonces_survive_a_clock_that_was_far_ahead() -> None:
    seen = SeenNonces(window_ms=100, nonces_max=4)
    assert seen.take("d", b"1", 10_000_000)
    assert seen.take("d", b"2", 10_000_000)
    assert not seen.take("d", b"3", 50)  # full
    assert not seen.take("d", b"1", 120)  # and remembered
    assert seen.take("d", b"3", 200)  # a window after it went back, not ten thousand seconds after


def test_metrics_tell_how_headers_ended() -> None:
    place = Shop()
    place.face.answer(b"rubbish")
    registry = CollectorRegistry()
    registry.register(ProfileCollector(place.face))
    told = generate_latest(registry).decode()
    assert 'shoal_gateway_profiles_total{outcome="PROFILE_INVALID"} 1.0' in told


async def test_the_example_shop_answers_a_device_from_a_database(database: Database) -> None:
    device, seed = Shopper(), Seed(database)
    await seed.namespace()
    await seed.device(device.device_id)
    await seed.publish(version("digits", 1))
    await seed.release(release("digits", 1))
    clock = SystemClock()
    follower = Follower(database, clock, FollowerSettings())
    await follower.start()
    app = with_shoal(follower, Shop().fleet.signer)
    for served, told in ((app, True), (shop(), False)):
        transport = httpx.ASGITransport(served)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            headers = {"shoal-profile": device.header(request(epoch=1), clock.wall_ms())}
            response = await client.get("/basket/7", headers=headers)
        assert response.json() == {"customer": "7", "items": ["tea", "rusks"]}
        assert (CHANGES_HEADER in response.headers) is told
