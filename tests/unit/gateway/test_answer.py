"""Answers put together by hand are the messages that upb would have made."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shoal.device.v1 import device_pb2

from cloud.gateway.answer import Outcome, acknowledged
from cloud.gateway.errors import NamespaceNotServed, SyncInvalid
from cloud.gateway.profile import ToldAttributes
from cloud.gateway.settings import GatewaySettings, SyncSettings
from cloud.gateway.wire import bytes_field, varint_field
from cloud.keys.errors import DeviceRevoked
from cloud.rpc.peer import DevicePeer
from cloud.targeting.attributes import device_attributes
from device_agent.tasks.director import Action
from device_agent.tasks.verify import verify_director
from tests.helpers.release_sets import NAMESPACE, facts, release_set, request
from tests.helpers.sync_fleet import NOW_MS, SyncFleet


@given(
    epoch=st.integers(0, 2**63 - 1),
    later=st.integers(0, 2**32 - 1),
    director=st.binary(max_size=300),
)
def test_joined_fields_are_one_message(epoch: int, later: int, director: bytes) -> None:
    joined = varint_field(1, epoch) + bytes_field(3, director) + varint_field(2, later)
    assert device_pb2.SyncResponse.FromString(joined) == device_pb2.SyncResponse(
        epoch=epoch, next_sync_after_ms=later, director=director
    )


def answer(fleet: SyncFleet, epoch: int, held: int = 2) -> device_pb2.SyncResponse:
    peer, data = fleet.requests(epoch, held)[0]
    raw = fleet.answerer.answer(peer, data, fleet.answerer.read(data), NOW_MS)
    return device_pb2.SyncResponse.FromString(raw)


def test_the_same_epoch_is_told_pacing_and_time() -> None:
    fleet = SyncFleet(devices=1, releases=31)
    told = answer(fleet, fleet.epoch)
    assert (told.epoch, told.server_time_ms, told.retry) == (fleet.epoch, NOW_MS, False)
    assert told.next_sync_after_ms > 0
    assert told.director == b""
    assert fleet.answerer.counts[Outcome.SAME] == 1


def test_a_moved_epoch_that_is_not_for_the_device() -> None:
    fleet = SyncFleet(devices=1, releases=31)
    told = answer(fleet, fleet.epoch - 1)
    assert (told.epoch, told.director) == (fleet.epoch, b"")
    assert fleet.answerer.counts[Outcome.NOTHING] == 1


def test_what_changed_is_signed_for_the_device() -> None:
    fleet = SyncFleet(devices=1, releases=31)
    told = answer(fleet, fleet.epoch - 2, held=1)
    document = verify_director(
        told.director,
        keys={fleet.signer.keyid: fleet.signer.public_key},
        device=fleet.peers[0].device_id,
        namespace=NAMESPACE,
        held=(fleet.epoch - 2, 0),
        now_ms=NOW_MS,
    )
    assert (document.epoch, document.issued_at_ms) == (fleet.epoch, NOW_MS)
    assert document.expires_at_ms == NOW_MS + SyncSettings().document_valid_ms
    actions = {one.task: one.action for one in document.tasks}
    assert actions.pop("everywhere") is Action.INSTALL
    assert set(actions.values()) == {Action.KEEP}


def test_a_gateway_behind_says_retry_soon() -> None:
    fleet = SyncFleet(devices=1, releases=31)
    told = answer(fleet, fleet.epoch + 1)
    assert told.retry
    assert told.next_sync_after_ms == GatewaySettings().pacing.retry_ms


def test_a_device_that_is_not_met_yet_is_not_decided_for() -> None:
    fleet = SyncFleet(devices=1, releases=31)
    fleet.sets.attributes[fleet.peers[0].device_id] = None
    assert answer(fleet, fleet.epoch - 2, held=1).retry
    assert not answer(fleet, fleet.epoch).retry


def test_revoked_and_unserved_get_no_answer() -> None:
    fleet = SyncFleet(devices=1, releases=31)
    peer = fleet.peers[0]
    fleet.sets.sets[NAMESPACE] = release_set(revoked=[peer.device_id])
    with pytest.raises(DeviceRevoked):
        fleet.answerer.set_for(peer)
    with pytest.raises(NamespaceNotServed):
        fleet.answerer.set_for(DevicePeer(peer.device_id, "demo/other"))


def test_facts_are_limited_on_every_request() -> None:
    fleet = SyncFleet(devices=1, releases=31)
    long = request(epoch=fleet.epoch, said=facts(os_version="x" * 1025)).SerializeToString()
    with pytest.raises(SyncInvalid, match="facts"):
        fleet.answerer.read(long)


def test_nothing_durable_is_told_as_nothing() -> None:
    assert acknowledged(0) == b""
    assert device_pb2.SyncResponse.FromString(acknowledged(7)).acknowledged_sequence == 7


names = st.sampled_from(["os", "os_version", "app_version", "agent_version", "tier", "region"])
attributes = st.dictionaries(names, st.sampled_from(["", "a", "b"]))


@given(enrolled=attributes, own=attributes, os=st.sampled_from(["", "linux"]), name=names)
def test_told_attributes_are_those_of_targeting(
    enrolled: Mapping[str, str], own: Mapping[str, str], os: str, name: str
) -> None:
    said = facts(attributes=dict(own), os=os)
    told, wanted = ToldAttributes(enrolled, said), device_attributes(enrolled, said)
    assert dict(told) == wanted
    assert (told.get(name), len(told)) == (wanted.get(name), len(wanted))
