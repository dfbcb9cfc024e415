"""Writes the golden messages of the device protocol anew: only when the protocol itself has changed on purpose.

    python -m tests.golden.make_wire

Versions: `before` is what an agent one version older sends (fields that came since are left out), `now` is today's,
`after` is what an agent one version newer sends (fields and enum values that this version does not know).
"""

from collections.abc import Callable
from pathlib import Path

from shoal.device.v1 import device_pb2
from shoal.identity.v1 import identity_pb2
from shoal.telemetry.v1 import telemetry_pb2

from cloud.gateway.wire import bytes_field, varint_field
from tests.helpers.release_sets import facts, request, row
from tests.helpers.reports import BOOT, UID, emit, message, notice, run

FOLDER = Path(__file__).parent / "wire"
UNKNOWN_FIELD = 900
UNKNOWN_ENUM = 90
EPOCH = 1_763_900_000_000


def unknown() -> bytes:
    """Fields that nobody has defined yet."""
    return varint_field(UNKNOWN_FIELD, 7) + bytes_field(UNKNOWN_FIELD + 1, b"tomorrow")


def sync_before() -> bytes:
    said = facts()
    for name in ("cpu_features", "os_version", "app_version", "attributes"):
        said.ClearField(name)
    old = request(EPOCH - 5, [row("digits", 1)], said)
    old.ClearField("device_time_ms")
    return old.SerializeToString()


def sync_now() -> bytes:
    told = request(
        EPOCH - 5,
        [row("digits", 1), row("other", 2, "PENDING")],
        facts(attributes={"region": "eu"}, app_version="3.2"),
    )
    told.acknowledgements.add(
        boot=BOOT,
        sequence=1,
        version=identity_pb2.TaskVersion(task="digits", version=1, digest="sha256:" + "0" * 64),
        release_id="r" + "0" * 26,
        outcome=device_pb2.OUTCOME_INSTALLED,
        at_ms=EPOCH,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    return told.SerializeToString()


def sync_after() -> bytes:
    told = request(EPOCH - 5, [row("digits", 1)])
    strange = told.installed.add(state=UNKNOWN_ENUM)
    strange.version.task, strange.version.version = "other", 2
    told.acknowledgements.add(boot=BOOT, sequence=2, outcome=UNKNOWN_ENUM)
    newer_facts = bytes_field(4, told.facts.SerializeToString() + unknown())
    return told.SerializeToString() + newer_facts + unknown()


def answer(more: bytes = b"") -> bytes:
    told = device_pb2.SyncResponse(
        epoch=EPOCH,
        next_sync_after_ms=60_000,
        director=b'{"payload":""}',
        server_time_ms=EPOCH + 1,
        acknowledged_sequence=1,
    )
    return told.SerializeToString() + more


def tunnel_now() -> bytes:
    told = message(1, emit(), run(), notice())
    told.received_reply_ids.append(UID)
    return told.SerializeToString()


def tunnel_before() -> bytes:
    return message(1, emit()).SerializeToString()


def tunnel_after() -> bytes:
    strange = emit()
    strange.kind = UNKNOWN_ENUM  # type: ignore[assignment]  # proto3 enums are open
    told = message(1, emit(), strange, emit())
    return told.SerializeToString() + unknown()


def reply(more: bytes = b"") -> bytes:
    told = telemetry_pb2.TunnelResponse(acknowledged_sequence=3)
    told.replies.add(reply_id=UID, task="digits", event_id=1002, cause_uid=UID, payload=b"7")
    return told.SerializeToString() + more


MESSAGES: dict[str, Callable[[], bytes]] = {
    "sync_request.before": sync_before,
    "sync_request.now": sync_now,
    "sync_request.after": sync_after,
    "sync_response.now": answer,
    "sync_response.after": lambda: answer(unknown()),
    "tunnel_request.before": tunnel_before,
    "tunnel_request.now": tunnel_now,
    "tunnel_request.after": tunnel_after,
    "tunnel_response.now": reply,
    "tunnel_response.after": lambda: reply(unknown()),
}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, make in MESSAGES.items():
        (FOLDER / f"{name}.hex").write_text(make().hex() + "\n")


if __name__ == "__main__":
    main()
