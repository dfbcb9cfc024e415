"""The director's envelopes: made by the cloud, accepted by the device, and by nobody else's keys."""

import json
import time

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner, SSlibKey

from cloud.keys.director import DirectorSigner, director_keys_target
from device_agent.tasks.director import (
    PAYLOAD_TYPE,
    Action,
    BundleFile,
    DirectorDocument,
    KillSwitch,
    Scope,
    TaskInstruction,
)
from device_agent.tasks.dsse import encode_envelope, pae
from device_agent.tasks.trust_errors import (
    DirectorExpired,
    DirectorForAnotherDevice,
    DirectorInvalid,
    DirectorOlder,
    SignatureInvalid,
    TargetMismatch,
    TargetUnknown,
)
from device_agent.tasks.verify import (
    ENVELOPE_BYTES_MAX,
    TargetInfo,
    check_files_against_targets,
    read_director,
    verify_director,
)

DEVICE = "ab" * 16
NAMESPACE = "demo/digits-app"
NOW = 1_790_000_000_000
SIGNER = DirectorSigner(Ed25519PrivateKey.from_private_bytes(b"\1" * 32))
KEYS = {SIGNER.keyid: SIGNER.public_key}


def bundle_file(path: str = "code.bin", digit: str = "a", version: int = 3) -> BundleFile:
    digest = digit * 64
    return BundleFile(
        path=path,
        digest=f"sha256:{digest}",
        size=100,
        scope=Scope.SHARED,
        target=f"{NAMESPACE}/digits/{version}/{digest}",
    )


def instruction(*files: BundleFile, action: Action = Action.INSTALL) -> TaskInstruction:
    return TaskInstruction(
        task="digits", action=action, version=3, digest="sha256:" + "c" * 64, files=files
    )


def document(**changes: object) -> DirectorDocument:
    plain = DirectorDocument(
        device=DEVICE,
        namespace=NAMESPACE,
        epoch=NOW,
        issued_at_ms=NOW,
        expires_at_ms=NOW + 1000,
        tasks=(instruction(bundle_file()),),
        kill=KillSwitch(),
    )
    return msgspec.structs.replace(plain, **changes)


def verify(
    envelope: bytes, held: tuple[int, int] | None = None, now_ms: int = NOW
) -> DirectorDocument:
    return verify_director(
        envelope, keys=KEYS, device=DEVICE, namespace=NAMESPACE, held=held, now_ms=now_ms
    )


def info(file: BundleFile, **changes: object) -> TargetInfo:
    values: dict[str, object] = {
        "path": file.target,
        "length": file.size,
        "sha256": file.digest.removeprefix("sha256:"),
        "bundle_paths": (file.path,),
    }
    return TargetInfo(**(values | changes))  # type: ignore[arg-type]  # a test's shorthand


def test_a_signed_document_is_read_as_it_was_written() -> None:
    assert verify(SIGNER.sign(document())) == document()


def test_the_same_document_again_is_accepted() -> None:
    assert verify(SIGNER.sign(document()), held=(NOW, NOW)) == document()


@pytest.mark.parametrize("held", [(NOW + 1, 0), (NOW, NOW + 1)])
def test_an_older_document_is_refused(held: tuple[int, int]) -> None:
    with pytest.raises(DirectorOlder):
        verify(SIGNER.sign(document()), held=held)


def test_an_expired_document_is_refused_and_can_still_be_read() -> None:
    envelope = SIGNER.sign(document())
    with pytest.raises(DirectorExpired):
        verify(envelope, now_ms=NOW + 1000)
    assert read_director(envelope, keys=KEYS) == document()


@pytest.mark.parametrize("change", [{"device": "cd" * 16}, {"namespace": "demo/other"}])
def test_a_document_for_another_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(DirectorForAnotherDevice):
        verify(SIGNER.sign(document(**change)))


def test_a_key_that_nobody_vouches_for_is_refused() -> None:
    stranger = DirectorSigner(Ed25519PrivateKey.from_private_bytes(b"\2" * 32))
    with pytest.raises(SignatureInvalid):
        verify(stranger.sign(document()))


def test_a_stranger_under_a_known_key_id_is_refused() -> None:
    stranger = Ed25519PrivateKey.from_private_bytes(b"\2" * 32)
    payload = msgspec.json.encode(document())
    signature = stranger.sign(pae(PAYLOAD_TYPE.encode(), payload))
    with pytest.raises(SignatureInvalid):
        verify(encode_envelope(PAYLOAD_TYPE.encode(), payload, SIGNER.keyid.encode(), signature))


def test_every_flipped_bit_is_noticed() -> None:
    envelope = SIGNER.sign(document())
    for place in range(0, len(envelope), 7):
        damaged = bytearray(envelope)
        damaged[place] ^= 1
        try:
            read = verify(bytes(damaged))
        except (SignatureInvalid, DirectorInvalid):
            continue
        # What is left are flips that say the same: the case of a key id cannot be one of them.
        assert read == document()


def test_another_payload_type_is_refused() -> None:
    payload = msgspec.json.encode(document())
    other = b"application/vnd.shoal.other"
    signature = Ed25519PrivateKey.from_private_bytes(b"\1" * 32).sign(pae(other, payload))
    with pytest.raises(DirectorInvalid):
        verify(encode_envelope(other, payload, SIGNER.keyid.encode(), signature))


@pytest.mark.parametrize(
    "envelope",
    [b"", b"{}", b"[" * 5000, b'{"payload":"!","payloadType":"x","signatures":[]}', b"\xff"],
)
def test_what_is_no_envelope_is_refused(envelope: bytes) -> None:
    with pytest.raises(DirectorInvalid):
        verify(envelope)


def test_a_document_beyond_the_limit_is_not_parsed() -> None:
    with pytest.raises(DirectorInvalid, match="bytes"):
        verify(b" " * (ENVELOPE_BYTES_MAX + 1))


@pytest.mark.parametrize(
    "tasks",
    [
        (instruction(bundle_file()), instruction(bundle_file())),
        (instruction(),),
        (instruction(bundle_file(), action=Action.KEEP),),
        (instruction(bundle_file(), bundle_file(digit="b")),),
    ],
)
def test_a_signed_document_that_contradicts_itself_is_refused(
    tasks: tuple[TaskInstruction, ...],
) -> None:
    with pytest.raises(DirectorInvalid):
        verify(SIGNER.sign(document(tasks=tasks)))


def test_unknown_fields_of_a_signed_document_are_refused() -> None:
    payload = json.dumps(json.loads(msgspec.json.encode(document())) | {"more": 1}).encode()
    signature = Ed25519PrivateKey.from_private_bytes(b"\1" * 32).sign(
        pae(PAYLOAD_TYPE.encode(), payload)
    )
    with pytest.raises(DirectorInvalid, match="update the agent"):
        verify(encode_envelope(PAYLOAD_TYPE.encode(), payload, SIGNER.keyid.encode(), signature))


def test_files_that_equal_their_targets_pass() -> None:
    file = bundle_file()
    check_files_against_targets(instruction(file), NAMESPACE, {file.target: info(file)})


def test_a_file_without_a_target_is_refused() -> None:
    with pytest.raises(TargetUnknown):
        check_files_against_targets(instruction(bundle_file()), NAMESPACE, {})


@pytest.mark.parametrize(
    "change", [{"length": 101}, {"sha256": "b" * 64}, {"bundle_paths": ("other.bin",)}]
)
def test_a_file_that_differs_from_its_target_is_refused(change: dict[str, object]) -> None:
    file = bundle_file()
    with pytest.raises(TargetMismatch):
        check_files_against_targets(
            instruction(file), NAMESPACE, {file.target: info(file, **change)}
        )


@pytest.mark.parametrize(
    "target",
    [
        "demo/digits-app/other/3/" + "a" * 64,
        "demo/other/digits/3/" + "a" * 64,
        "demo/digits-app/digits/2/" + "a" * 64,
        "demo/digits-app/digits/3/" + "b" * 64,
        "shoal/keys/director",
    ],
)
def test_an_artifact_of_another_task_is_refused(target: str) -> None:
    file = msgspec.structs.replace(bundle_file(), target=target)
    with pytest.raises(TargetMismatch):
        check_files_against_targets(instruction(file), NAMESPACE, {target: info(file)})


def test_the_public_key_travels_as_a_target() -> None:
    other = Ed25519PrivateKey.from_private_bytes(b"\2" * 32).public_key()
    parsed = json.loads(director_keys_target(SIGNER.public_key, other))
    assert SIGNER.keyid in parsed["keys"]
    assert len(parsed["keys"]) == 2


def test_securesystemslib_verifies_our_envelope() -> None:
    envelope = Envelope.from_dict(json.loads(SIGNER.sign(document())))
    accepted = envelope.verify([SSlibKey.from_crypto(SIGNER.public_key)], 1)
    assert set(accepted) == {SIGNER.keyid}


def test_we_verify_an_envelope_of_securesystemslib() -> None:
    envelope = Envelope(msgspec.json.encode(document()), PAYLOAD_TYPE, {})
    envelope.sign(CryptoSigner(Ed25519PrivateKey.from_private_bytes(b"\1" * 32)))
    assert verify(json.dumps(envelope.to_dict()).encode()) == document()


def test_a_document_too_long_for_devices_is_not_signed() -> None:
    files = tuple(bundle_file(path=f"{'x' * 200}{n}") for n in range(800))
    with pytest.raises(ValueError, match="over"):
        SIGNER.sign(document(tasks=(instruction(*files),)))


@pytest.mark.slow
def test_signing_is_fast_enough_for_a_release() -> None:
    big = document(
        tasks=tuple(
            msgspec.structs.replace(
                instruction(*(bundle_file(path=f"f{n}") for n in range(5))), task=f"t{t}"
            )
            for t in range(10)
        )
    )
    count = 2000
    start = time.process_time()
    for _ in range(count):
        SIGNER.sign(big)
    # The target is 5,000/s on an idle core; half of it here, because tests share the machine.
    assert count / (time.process_time() - start) > 2500
