"""Copied disks are noticed; reboots, crashes, lost answers and late requests are not taken for one."""

from pathlib import Path
from random import Random

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from shoal.device.v1 import device_pb2

from cloud.gateway.clones import CloneWatch
from cloud.gateway.presence import PresenceLog
from cloud.gateway.settings import RecorderSettings
from cloud.keys.authority import CertificateAuthority, create_authority
from cloud.keys.device_rows import store_device
from cloud.keys.errors import EnrolmentRefused
from cloud.keys.files import load_tls_key
from cloud.rpc.peer import DevicePeer
from cloud.store.audit import read_audit
from cloud.store.database import Database
from cloud.store.tables import devices, notices
from tests.helpers.device_identity import certificate_request
from tests.helpers.release_sets import DEVICE, NAMESPACE, request
from tests.helpers.seed_store import Seed

PEER = DevicePeer(DEVICE, NAMESPACE)
SETTINGS = RecorderSettings()
GRACE_MS = SETTINGS.clone_grace_ms
# One Sync of a process: the pause before it, and what becomes of it.
syncs = st.tuples(
    st.integers(0, 400_000),
    st.sampled_from(["heard", "request lost", "answer lost", "sent twice"]),
)
# One life of an agent's process: its Syncs, and how late the last one arrives when the process dies in it.
lives = st.tuples(st.lists(syncs, min_size=1, max_size=8), st.integers(0, GRACE_MS))


@given(st.lists(lives, min_size=1, max_size=8), st.integers(0, 2**32))
def test_one_device_is_never_two(
    history: list[tuple[list[tuple[int, str]], int]], seed: int
) -> None:
    """Reboots, crashes, restored databases, lost answers and requests that were on their way."""
    watch, random, now_ms = CloneWatch(SETTINGS), Random(seed), 0
    late: tuple[bytes, int, int] | None = None
    for life, late_ms in history:
        session = random.randbytes(16)
        for count, (pause_ms, fate) in enumerate(life, 1):
            now_ms += pause_ms
            if late is not None and count > 1 and now_ms <= late[2]:
                watch.heard(PEER, late[0], late[1], now_ms)
                late = None
            if fate != "request lost":
                watch.heard(PEER, session, count, now_ms)
            if fate == "sent twice":
                watch.heard(PEER, session, count, now_ms)
        late = (session, len(life) + 1, now_ms + late_ms)
    assert watch.found == set()


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1_000, 300_000)), min_size=1, max_size=60),
    st.integers(0, 2**32),
)
def test_two_devices_are_found_when_both_go_on(steps: list[tuple[bool, int]], seed: int) -> None:
    watch, random, now_ms = CloneWatch(SETTINGS), Random(seed), 0
    sessions = {True: random.randbytes(16), False: random.randbytes(16)}
    counts = {True: 0, False: 0}
    first_ms: dict[bool, int] = {}
    again = 0  # Syncs of the one that was heard first, after the grace
    for which, pause_ms in steps:
        now_ms += pause_ms
        counts[which] += 1
        first_ms.setdefault(which, now_ms)
        watch.heard(PEER, sessions[which], counts[which], now_ms)
        if len(first_ms) == 2:
            older = min(first_ms, key=lambda one: first_ms[one])
            newer_ms = max(first_ms.values())
            again += which is older and now_ms - newer_ms > GRACE_MS
    assert (PEER in watch.found) == (again >= SETTINGS.clone_returns_min)


def test_copies_that_restart_are_found_too() -> None:
    watch, random = CloneWatch(SETTINGS), Random(1)
    stays, now_ms = random.randbytes(16), 0
    for count in range(1, 6):
        watch.heard(PEER, stays, count, now_ms)
        watch.heard(PEER, random.randbytes(16), 1, now_ms + 1_000)
        now_ms += 2 * GRACE_MS
    assert watch.found == {PEER}


def test_the_last_word_of_a_process_that_nobody_heard_is_no_second_device() -> None:
    watch = CloneWatch(SETTINGS)
    watch.heard(PEER, b"a" * 16, 1, 0)
    watch.heard(PEER, b"b" * 16, 2, 1)  # its first was lost, and it died: this one was on its way
    for count in range(2, 9):
        watch.heard(PEER, b"a" * 16, count, count * 2 * GRACE_MS)
    assert watch.found == set()


def test_a_last_word_makes_no_older_process_the_newer_one() -> None:
    watch = CloneWatch(SETTINGS)
    watch.heard(PEER, b"a" * 16, 2, 0)  # its first was lost
    watch.heard(PEER, b"b" * 16, 1, 0)
    watch.heard(PEER, b"a" * 16, 3, 0)  # it is dead: this one was on its way
    for count in range(2, 9):
        watch.heard(PEER, b"b" * 16, count, count * 2 * GRACE_MS)
    assert watch.found == set()


def test_copies_are_found_whose_first_syncs_went_to_another_gateway() -> None:
    watch = CloneWatch(SETTINGS)
    for count in range(7, 12):
        watch.heard(PEER, b"a" * 16, count, count * 2 * GRACE_MS)
        watch.heard(PEER, b"b" * 16, count + 5, count * 2 * GRACE_MS + 1)
    assert watch.found == {PEER}


def test_an_agent_that_names_no_session_is_left_alone() -> None:
    watch = CloneWatch(SETTINGS)
    for count in range(10):
        watch.heard(PEER, b"", 0, count * GRACE_MS)
        watch.heard(PEER, b"short", count, count * GRACE_MS)
    assert watch.found == set()


def test_memory_is_bounded() -> None:
    watch = CloneWatch(RecorderSettings(clone_devices_max=3))
    for number in range(50):
        watch.heard(DevicePeer(f"{number:032x}", NAMESPACE), number.to_bytes(16), 1, number)
    assert len(watch._devices) == 3


def said(session: bytes, count: int) -> bytes:
    told: device_pb2.SyncRequest = request()
    told.session, told.session_sync = session, count
    return told.SerializeToString()


async def alternate(log: PresenceLog, rounds: int = 5) -> None:
    for count in range(1, rounds + 1):
        for offset, session in enumerate((b"a" * 16, b"b" * 16)):
            log.note(PEER, said(session, count), count * (GRACE_MS + 1) + offset)
            await log.flush()


async def test_a_clone_is_written_down_once(database: Database) -> None:
    seed = Seed(database)
    await seed.namespace()
    await seed.device(DEVICE)
    await alternate(PresenceLog(database, SETTINGS))
    await alternate(PresenceLog(database, SETTINGS))  # another gateway, or this one after a restart
    async with database.read() as connection:
        row = (await connection.execute(sa.select(devices))).one()
        told = (await connection.execute(sa.select(notices))).all()
        audit = await read_audit(connection, NAMESPACE)
    assert row.cloned_at_ms is not None
    assert [(one.device_id, one.code) for one in told] == [(DEVICE, "DEVICE_CLONED")]
    assert [(one.object, one.actor) for one in audit if one.action == "device.clone"] == [
        (DEVICE, "cloud")
    ]


async def test_a_key_in_two_hands_does_not_enrol_again(database: Database, tmp_path: Path) -> None:
    from cryptography import x509

    key_pem, certificate_pem = create_authority()
    (tmp_path / "ca.pem").write_bytes(key_pem)
    authority = CertificateAuthority(
        load_tls_key(tmp_path / "ca.pem"), x509.load_pem_x509_certificate(certificate_pem)
    )
    await Seed(database).namespace()
    now_ms = 1_790_000_000_000
    copied, fresh = (
        authority.issue_device(
            certificate_request(ec.generate_private_key(ec.SECP256R1())), NAMESPACE, now_ms
        )
        for _ in range(2)
    )
    async with database.begin() as connection:
        await store_device(connection, copied, {}, {}, now_ms)
        await connection.execute(sa.update(devices).values(cloned_at_ms=now_ms))
    with pytest.raises(EnrolmentRefused, match="--new-key"):
        async with database.begin() as connection:
            await store_device(connection, copied, {}, {}, now_ms)
    async with database.begin() as connection:
        await store_device(connection, fresh, {}, {}, now_ms)
        rows = (await connection.execute(sa.select(devices.c.cloned_at_ms))).scalars().all()
    assert sorted(rows, key=bool) == [None, now_ms]
