"""Messages of an agent one version older, of today's, and of one newer, against today's cloud: none is refused.

The bytes lie in tests/golden/wire; what is read from them today must stay what was read yesterday.
"""

from pathlib import Path

import pytest
from shoal.device.v1 import device_pb2
from shoal.telemetry.v1 import telemetry_pb2

from cloud.gateway.answer import Outcome
from cloud.gateway.checks import check_acknowledgements, check_profile
from cloud.gateway.presence import installed_json
from cloud.gateway.recorder import batch_of
from cloud.gateway.settings import SyncSettings
from cloud.rpc.peer import DevicePeer
from cloud.telemetry.checks import check_message
from cloud.telemetry.records import EmitRecord, decode_record, encode_record
from cloud.telemetry.settings import TelemetrySettings
from cloud.telemetry.tally import ReportBatch, Tally
from tests.helpers.release_sets import NAMESPACE, release, release_set, version
from tests.helpers.reports import BOOT, UID
from tests.helpers.sync_fleet import NOW_MS, SyncFleet

WIRE = Path(__file__).parent / "wire"
EPOCH = 1_763_900_000_000
AGES = ["before", "now", "after"]
PEER = DevicePeer("0123456789abcdef0123456789abcdef", NAMESPACE)


def golden(name: str) -> bytes:
    return bytes.fromhex((WIRE / f"{name}.hex").read_text())


@pytest.mark.parametrize("age", AGES)
def test_a_sync_of_any_age_is_answered(age: str) -> None:
    fleet = SyncFleet(devices=1, releases=11)
    fleet.sets.sets[NAMESPACE] = release_set(
        [release("digits", 2), release("other", 2)],
        [version("digits", 2), version("other", 2)],
        epoch=EPOCH,
        floor=EPOCH - 9,
        changes=[(EPOCH - 1, "digits")],
    )
    data = golden(f"sync_request.{age}")
    request = fleet.answerer.read(data)
    check_profile(request, SyncSettings())
    answer = fleet.answerer.answer(PEER, data, request, NOW_MS)
    told = device_pb2.SyncResponse.FromString(answer)
    assert (told.epoch, bool(told.director)) == (EPOCH, True)
    assert fleet.answerer.counts[Outcome.CHANGED] == 1


@pytest.mark.parametrize("age", ["now", "after"])
def test_acknowledgements_of_any_age_are_kept(age: str) -> None:
    request = device_pb2.SyncRequest.FromString(golden(f"sync_request.{age}"))
    check_acknowledgements(request, SyncSettings())
    (told,) = batch_of(PEER, request).told
    assert told.outcome == {"now": "installed", "after": "unspecified"}[age]


@pytest.mark.parametrize("age", AGES)
def test_a_profile_of_any_age_is_stored(age: str) -> None:
    request = device_pb2.SyncRequest.FromString(golden(f"sync_request.{age}"))
    stored = {task: row["state"] for task, row in installed_json(request).items()}
    assert (
        stored
        == {
            "before": {"digits": "installed"},
            "now": {"digits": "installed", "other": "pending"},
            "after": {"digits": "installed", "other": "unspecified"},
        }[age]
    )


@pytest.mark.parametrize("age", AGES)
def test_reports_of_any_age_are_counted(age: str) -> None:
    message = telemetry_pb2.TunnelRequest.FromString(golden(f"tunnel_request.{age}"))
    check_message(message, TelemetrySettings())
    tally = Tally(settings=TelemetrySettings())
    batch = ReportBatch(peer=PEER, boot=BOOT.hex(), reports=tuple(message.reports))
    assert tally.add(batch, 0) == len(message.reports)
    records = sum(map(len, tally.records.values()))
    seen = (records, sum(tally.runs.values()), len(tally.notices), tally.unknown)
    assert seen == {"before": (1, 0, 0, 0), "now": (1, 1, 1, 0), "after": (2, 0, 0, 1)}[age]


@pytest.mark.parametrize("age", ["now", "after"])
def test_answers_of_a_cloud_of_any_age_are_read_by_todays_agent(age: str) -> None:
    told = device_pb2.SyncResponse.FromString(golden(f"sync_response.{age}"))
    assert (told.epoch, told.next_sync_after_ms, told.retry) == (EPOCH, 60_000, False)
    assert (told.director, told.acknowledged_sequence) == (b'{"payload":""}', 1)
    down = telemetry_pb2.TunnelResponse.FromString(golden(f"tunnel_response.{age}"))
    (reply,) = down.replies
    assert (down.acknowledged_sequence, reply.reply_id, reply.event_id) == (3, UID, 1002)


def test_the_answer_of_yesterdays_bytes_is_made_today() -> None:
    told = device_pb2.SyncResponse(
        epoch=EPOCH,
        next_sync_after_ms=60_000,
        director=b'{"payload":""}',
        server_time_ms=EPOCH + 1,
        acknowledged_sequence=1,
    )
    assert told.SerializeToString() == golden("sync_response.now")


RECORD = (
    "9801d9203031323334353637383961626364656630313233343536373839616263646566a262310703c410"
    "75757575757575757575757575757575cd03e8c40137"
)


def test_records_on_the_bus_keep_their_bytes() -> None:
    record = EmitRecord(
        device=PEER.device_id,
        boot="b1",
        sequence=7,
        version=3,
        event_uid=UID,
        at_ms=1_000,
        payload=b"7",
    )
    assert decode_record(encode_record(record)) == record
    assert encode_record(record).hex() == RECORD
