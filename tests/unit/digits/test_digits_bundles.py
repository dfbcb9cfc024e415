"""The example's bundles and what travels: manifests that parse, one wire for both versions, answers stored once."""

import struct
from pathlib import Path

import pytest
import sqlalchemy as sa

from cloud.compiler.compile import compile_file
from cloud.store.database import Database
from cloud.store.tables import replies
from cloud.telemetry.consumer import Delivery
from cloud.telemetry.records import EmitRecord
from cloud.telemetry.replies import ReplyHub, ReplyService
from cloud.telemetry.settings import TelemetrySettings
from device_agent.clock import SystemClock
from device_agent.tasks.manifest import parse_manifest
from docs.examples.digits.dataset import validation_fold
from docs.examples.digits.recognise import Answerer, Recogniser
from docs.examples.digits.v1 import wire

HERE = Path(__file__).parents[3] / "docs" / "examples" / "digits"
UID = bytes(range(16))
DEVICE = "ab" * 16


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_manifests_say_what_the_scripts_use(version: str) -> None:
    manifest = parse_manifest((HERE / version / "task.toml").read_text())
    assert manifest.name == "digits"
    assert {trigger.event for trigger in manifest.triggers} == {wire.DIGIT_EVENT}
    assert dict(manifest.replies) == {"escalate": wire.REPLY_EVENT}
    assert manifest.emit == {"answer", "escalate"}
    assert [resource.path for resource in manifest.resources] == ["digits.shoalmodel"]


def test_both_versions_speak_alike() -> None:
    assert (HERE / "v1" / "wire.py").read_bytes() == (HERE / "v2" / "wire.py").read_bytes()


def test_messages_come_back() -> None:
    answer = wire.encode_answer(UID, 7, wire.FROM_CLOUD, 0.5)
    assert wire.decode_answer(answer) == (UID, 7, wire.FROM_CLOUD, 0.5)
    pixels = bytes(range(64))
    escalation = wire.encode_escalation(UID, 3, 0.25, pixels)
    assert wire.decode_escalation(escalation) == (UID, 3, 0.25, pixels)
    assert wire.decode_reply(wire.encode_reply(UID, 9, 1.0)) == (UID, 9, 1.0)
    assert [len(answer), len(escalation)] == [22, 85]
    for decode in (wire.decode_answer, wire.decode_escalation, wire.decode_reply):
        with pytest.raises(struct.error):
            decode(b"short")


def delivery(payload: bytes, sequence: int = 1) -> Delivery:
    record = EmitRecord(
        device=DEVICE,
        boot="01",
        sequence=sequence,
        version=1,
        event_uid=UID,
        at_ms=0,
        payload=payload,
    )

    async def done() -> None:
        pass

    return Delivery(key=record.key, record=record, done=done)


async def test_an_escalation_is_answered_once_however_often_it_comes(
    database: Database, tmp_path: Path
) -> None:
    compile_file(HERE / "models" / "cloud.onnx", tmp_path / "cloud.shoalmodel")
    service = ReplyService(database, SystemClock(), TelemetrySettings(), ReplyHub())
    answerer = Answerer(Recogniser(tmp_path / "cloud.shoalmodel"), service, "demo/digits-app")
    fold = validation_fold()
    escalation = wire.encode_escalation(UID, 0, 0.3, fold.payloads()[0])
    for _ in range(3):
        await answerer.answer(delivery(escalation))
    await answerer.answer(delivery(b"no escalation", sequence=2))
    async with database.read() as connection:
        rows = (await connection.execute(sa.select(replies))).all()
    assert [(row.device_id, row.event_id, row.cause_uid) for row in rows] == [
        (DEVICE, wire.REPLY_EVENT, UID.hex())
    ]
    assert wire.decode_reply(rows[0].payload)[:2] == (UID, int(fold.labels[0]))
    assert (answerer.answered, answerer.unreadable) == (3, 1)
