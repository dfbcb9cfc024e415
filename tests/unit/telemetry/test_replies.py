import asyncio

import pytest

from cloud.store.database import Database
from cloud.telemetry.errors import RepliesFull, ReplyInvalid
from cloud.telemetry.replies import ReplyHub, ReplyService, reply_id_for
from cloud.telemetry.settings import TelemetrySettings
from device_agent.clock import SystemClock
from device_agent.errors import ShoalError
from tests.helpers.release_sets import DEVICE, NAMESPACE
from tests.helpers.reports import UID

KEY = (NAMESPACE, DEVICE)


def service(
    database: Database, hub: ReplyHub | None = None, settings: TelemetrySettings | None = None
) -> ReplyService:
    return ReplyService(database, SystemClock(), settings or TelemetrySettings(), hub or ReplyHub())


async def reply(replies: ReplyService, number: int = 1, payload: bytes = b"7") -> bool:
    reply_id = reply_id_for("labels", str(number))
    return await replies.reply(NAMESPACE, DEVICE, "digits", 1002, UID, payload, reply_id)


async def test_a_reply_stays_until_the_device_has_it(database: Database) -> None:
    replies = service(database)
    assert await reply(replies)
    (pending,) = await replies.pending(KEY, 10)
    assert (pending.task, pending.event_id, pending.cause_uid) == ("digits", 1002, UID)
    assert (pending.payload, pending.reply_id) == (b"7", reply_id_for("labels", "1"))
    await replies.forget(KEY, [b"another id......"])
    assert len(await replies.pending(KEY, 10)) == 1
    await replies.forget(KEY, [pending.reply_id])
    assert await replies.pending(KEY, 10) == []


async def test_the_same_answer_twice_is_one(database: Database) -> None:
    replies = service(database)
    assert [await reply(replies), await reply(replies)] == [True, False]
    assert len(await replies.pending(KEY, 10)) == 1


async def test_another_device_neither_sees_nor_confirms_it(database: Database) -> None:
    replies = service(database)
    await reply(replies)
    other = (NAMESPACE, "cd" * 16)
    assert await replies.pending(other, 10) == []
    await replies.forget(other, [reply_id_for("labels", "1")])
    assert len(await replies.pending(KEY, 10)) == 1


async def test_a_reply_wakes_the_open_tunnel(database: Database) -> None:
    hub = ReplyHub()
    replies = service(database, hub)
    awake = hub.open(KEY)
    awake.clear()
    await reply(replies)
    assert awake.is_set()


async def test_a_reply_of_another_process_is_found(database: Database) -> None:
    hub = ReplyHub()
    here = service(database, hub, TelemetrySettings(replies_poll_ms=1))
    awake = hub.open(KEY)
    awake.clear()
    looking = asyncio.create_task(here.run())
    await reply(service(database))  # its own hub: it knows nothing of this tunnel
    await asyncio.wait_for(awake.wait(), 5)
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)


async def test_so_many_may_wait_and_no_more(database: Database) -> None:
    replies = service(database, settings=TelemetrySettings(replies_pending_max=2))
    await reply(replies, 1)
    await reply(replies, 2)
    with pytest.raises(RepliesFull):
        await reply(replies, 3)
    assert len(await replies.pending(KEY, 10)) == 2


def test_a_newer_tunnel_takes_over() -> None:
    hub = ReplyHub()
    first = hub.open(KEY)
    first.clear()
    second = hub.open(KEY)
    assert first.is_set()
    assert not hub.is_current(KEY, first)
    hub.close(KEY, first)
    assert hub.is_current(KEY, second)
    hub.close(KEY, second)
    assert hub.tunnels == 0


@pytest.mark.parametrize(
    "changed",
    [
        {"device": "nobody"},
        {"task": "No Task"},
        {"event_id": 0},
        {"event_id": 2**32},
        {"cause_uid": b""},
        {"reply_id": b"short"},
        {"payload": bytes(65_537)},
    ],
)
async def test_a_reply_that_no_device_could_take_is_refused(
    database: Database, changed: dict[str, object]
) -> None:
    good: dict[str, object] = {
        "namespace": NAMESPACE,
        "device": DEVICE,
        "task": "digits",
        "event_id": 1002,
        "cause_uid": UID,
        "payload": b"",
        "reply_id": bytes(16),
    }
    replies = service(database)
    with pytest.raises(ShoalError) as refused:
        await replies.reply(**(good | changed))  # type: ignore[arg-type]  # bad on purpose
    assert refused.value.code in (ReplyInvalid.code, "NAME_INVALID")
    assert await replies.pending(KEY, 10) == []


async def test_a_repeated_answer_is_no_fault_where_as_many_wait_as_may(database: Database) -> None:
    """A consumer that is given its records again answers again: it must get on, and the device gets each once."""
    replies = service(database, settings=TelemetrySettings(replies_pending_max=3))
    assert [await reply(replies, number) for number in (1, 2, 3)] == [True] * 3
    assert [await reply(replies, number) for number in (2, 3, 1)] == [False] * 3
    with pytest.raises(RepliesFull, match="3 replies wait"):
        await reply(replies, 4)
    assert len(await replies.pending(KEY, 10)) == 3
    await replies.forget(KEY, [reply_id_for("labels", "2")])
    assert await reply(replies, 4)
    with pytest.raises(RepliesFull):
        await reply(replies, 2)


async def test_one_device_that_is_full_keeps_no_other_out(database: Database) -> None:
    replies = service(database, settings=TelemetrySettings(replies_pending_max=1))
    assert await reply(replies)
    for namespace, device in ((NAMESPACE, "cd" * 16), ("demo/other", DEVICE)):
        reply_id = reply_id_for("labels", "1")
        assert await replies.reply(namespace, device, "digits", 1002, UID, b"7", reply_id)
