"""A record's bytes: those of the first version for ever, and any others read as a record or refused by name."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.telemetry.consumer import Consumer
from cloud.telemetry.errors import RecordInvalid
from cloud.telemetry.records import VERSION, EmitRecord, decode_record, encode_record, topic_of
from device_agent.tasks.errors import NameInvalid
from tests.helpers.memory_bus import StreamBus

RECORD = EmitRecord(
    device="00112233445566778899aabbccddeeff",
    boot="0f" * 16,
    sequence=7,
    version=3,
    event_uid=bytes(range(16)),
    at_ms=1_790_000_000_000,
    payload=b"\x00answer\xff",
)
# Written by version 1. A record may lie on a bus for a week while the cloud is updated: these bytes are read for ever.
GOLDEN = bytes.fromhex(
    "9801d920303031313232333334343535363637373838393961616262636364646565"
    "6666d92030663066306630663066306630663066306630663066306630663066306630660703c410000102030405060708090a0b"
    "0c0d0e0fcf000001a0c4506c00c40800616e73776572ff"
)
records = st.builds(
    EmitRecord,
    device=st.text(max_size=9),
    boot=st.text(max_size=9),
    sequence=st.integers(0, 2**63 - 1),
    version=st.integers(0, 2**31 - 1),
    event_uid=st.binary(max_size=16),
    at_ms=st.integers(-(2**63), 2**63 - 1),
    payload=st.binary(max_size=40),
)
ODD = {
    "empty": b"",
    "no utf-8": b"\x98\x01\xa1\xff\xa1b\x01\x01\xc4\x00\x01\xc4\x00",
    "deep": b"\x91" * 20_000,
    "more and deep": b"\x99" + GOLDEN[1:] + b"\x91" * 20_000,
    "cut": GOLDEN[:-1],
    "left over": GOLDEN + b"\x00",
    "map": msgspec.msgpack.encode({"format": 1}),
    "number": b"\x01",
    "another version": b"\x98\x02" + GOLDEN[2:],
    "long text": b"\x98\x01\xdb\xff\xff\xff\xff",
    "big number": b"\x98\x01\xa0\xa0\xcf" + b"\xff" * 8,
}


def test_the_bytes_are_those_of_the_first_version() -> None:
    assert VERSION == 1
    assert encode_record(RECORD).hex() == GOLDEN.hex()
    assert decode_record(GOLDEN) == RECORD


@given(records)
def test_a_record_comes_back(record: EmitRecord) -> None:
    assert decode_record(encode_record(record)) == record


@given(st.binary(max_size=60))
def test_any_bytes_are_a_record_or_refused(data: bytes) -> None:
    try:
        decode_record(data)
    except RecordInvalid:
        return
    raise AssertionError("random bytes were read as a record")


@given(st.integers(0, len(GOLDEN) - 1), st.binary(min_size=1, max_size=3))
def test_changed_bytes_are_a_record_or_refused(place: int, garbage: bytes) -> None:
    try:
        record = decode_record(GOLDEN[:place] + garbage + GOLDEN[place + len(garbage) :])
    except RecordInvalid:
        return
    assert record.format == VERSION
    assert isinstance(record.key, str)


@pytest.mark.parametrize("name", ODD)
def test_odd_bytes_are_refused_by_name(name: str) -> None:
    with pytest.raises(RecordInvalid):
        decode_record(ODD[name])


async def test_bad_records_do_not_stop_a_topic() -> None:
    """Whoever could write to the bus, or a bit that flipped: the records behind it are handed out."""
    topic = topic_of("demo/app", "digits", "escalate")
    bus = StreamBus()
    good = [encode_record(msgspec.structs.replace(RECORD, sequence=number)) for number in range(3)]
    await bus.publish(topic, [("good0", good[0]), *((name, data) for name, data in ODD.items())])
    await bus.publish(topic, [("good1", good[1]), ("good2", good[2])])
    consumer = Consumer(
        bus, namespace="demo/app", task="digits", topic="escalate", group="g", name="n"
    )
    seen = []
    async for delivery in consumer:
        seen.append(delivery.record.sequence)
        await delivery.done()
        if len(seen) == 3:
            break
    assert seen == [0, 1, 2]
    assert consumer.unreadable == len(ODD)


@given(st.text(max_size=20))
def test_a_topic_begins_with_a_namespace(namespace: str) -> None:
    try:
        topic = topic_of(namespace, "digits", "escalate")
    except NameInvalid:
        return
    assert topic == f"{namespace}/digits/escalate"
    assert topic.count("/") == 3
