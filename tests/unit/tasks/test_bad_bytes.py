"""Every border where bytes of a peer come in: whatever they are, the answer is a value or a named error."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from cloud.artifacts.http import parse_json
from cloud.keys.director import DirectorSigner
from cloud.keys.publishing import SignedRoles
from cloud.keys.roles import read_targets
from cloud.keys.routes import EnrolRequest, RenewRequest
from device_agent.errors import ShoalError
from device_agent.tasks.bytecode import decode_bytecode, encode_bytecode
from device_agent.tasks.director import DirectorDocument, KillSwitch
from device_agent.tasks.dsse import decode_envelope
from device_agent.tasks.enrol import EnrolmentCode, _read_answer
from device_agent.tasks.identity import IDENTITY_FILE, Identity
from device_agent.tasks.manifest import Manifest, parse_manifest
from device_agent.tasks.names import parse_target_path
from device_agent.tasks.profile_header import decode_changes, decode_profile, encode_profile
from device_agent.tasks.proof import PURPOSE_RENEW, check_proof, make_proof
from device_agent.tasks.trust import _parse_keys
from device_agent.tasks.verify import read_director

NOW = 1_790_000_000_000
KEY = ec.derive_private_key(7, ec.SECP256R1())
DIRECTOR = DirectorSigner(Ed25519PrivateKey.from_private_bytes(b"d" * 32))
KEYS = {DIRECTOR.keyid: DIRECTOR.public_key}
DOCUMENT = DirectorDocument(
    device="0" * 32,
    namespace="a/b",
    epoch=1,
    issued_at_ms=NOW,
    expires_at_ms=NOW + 1,
    tasks=(),
    kill=KillSwitch(),
)
TOML = '[task]\nname = "a"\nentry = "main:run"\n[[triggers]]\nevent = 1\n'
CODE = EnrolmentCode(url="https://x:1", namespace="a/b", token="t", ca_sha256="0" * 64)


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "replace")


# Border: (reads bytes, bytes that it takes).
BORDERS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "enrolment code": (lambda data: EnrolmentCode.parse(text_of(data)), str(CODE).encode()),
    "enrolment answer": (lambda data: _read_answer("/v1/enrol", 200, data), b'{"a": 1}'),
    "enrolment refusal": (lambda data: _read_answer("/v1/enrol", 403, data), b'{"error": {}}'),
    "enrolment request": (
        lambda data: parse_json(data, EnrolRequest),
        b'{"namespace": "a/b", "token": "t", "csr": "c", "facts": {"os": "linux"}}',
    ),
    "renewal request": (
        lambda data: parse_json(data, RenewRequest),
        b'{"namespace": "a/b", "csr": "c"}',
    ),
    "director": (lambda data: read_director(data, keys=KEYS), DIRECTOR.sign(DOCUMENT)),
    "director under a good signature": (
        lambda data: read_director(DIRECTOR.sign_payload(data), keys=KEYS),
        json.dumps({"device": "0", "namespace": "a/b"}).encode(),
    ),
    "director's keys": (_parse_keys, b'{"keys": {}}'),
    "profile": (
        lambda data: decode_profile(text_of(data), now_ms=NOW, window_ms=1000),
        encode_profile(KEY, "a/b", b"request", b"n" * 16, NOW).encode(),
    ),
    "changes": (lambda data: decode_changes(text_of(data)), b"sync-now"),
    "proof": (
        lambda data: check_proof(text_of(data), PURPOSE_RENEW, b"x", now_ms=NOW, window_ms=1000),
        make_proof(KEY, PURPOSE_RENEW, b"x", NOW).encode(),
    ),
    "target path": (lambda data: parse_target_path(text_of(data)), b"a/b/c/1/" + b"0" * 64),
    "task.toml": (lambda data: parse_manifest(text_of(data)), TOML.encode()),
    "manifest": (Manifest.from_json, parse_manifest(TOML).to_json()),
    "bytecode": (lambda data: decode_bytecode(data, 1), encode_bytecode({"main": b"code"}, 1)),
    "signed roles": (SignedRoles.from_json, b'{"a.b": "text"}'),
    "targets role": (lambda data: read_targets(data, "a.b"), b'{"signed": {}}'),
}
NAMES = st.sampled_from(sorted(BORDERS))


def meets(name: str, data: bytes) -> None:
    """Reads, or refuses by a named error with words in it."""
    refusal: str | None = None
    try:
        BORDERS[name][0](data)
    except ShoalError as error:
        refusal = str(error)
    assert refusal != "", f"{name}: refused without a word"


@given(NAMES, st.binary(max_size=300))
def test_any_bytes(name: str, data: bytes) -> None:
    meets(name, data)


@given(NAMES, st.data())
def test_good_bytes_that_were_changed(name: str, draw: st.DataObject) -> None:
    good = BORDERS[name][1]
    at = draw.draw(st.integers(0, len(good)))
    cut = draw.draw(st.integers(0, 8))
    put = draw.draw(st.binary(max_size=8))
    meets(name, good[:at] + put + good[at + cut :])


@given(
    NAMES,
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
        ),
        max_leaves=8,
    ),
)
def test_json_of_any_shape(name: str, value: object) -> None:
    meets(name, json.dumps(value).encode())


DEEP = ["[" * 30_000 + "]" * 30_000, '{"a":' * 20_000 + "1" + "}" * 20_000]


@pytest.mark.parametrize("name", sorted(BORDERS))
@pytest.mark.parametrize("deep", DEEP, ids=["lists", "objects"])
def test_nesting_without_end(name: str, deep: str) -> None:
    """Once a traceback and a 500 for anybody who could reach /v1/enrol."""
    wrapped = f'{{"namespace": "a/b", "token": "t", "csr": "c", "facts": {{"a": {deep}}}, "keys": {deep}}}'
    for data in (deep, wrapped, f"a = {deep}", base64.b64encode(deep.encode()).decode()):
        meets(name, data.encode())


def test_an_envelope_refuses_in_words() -> None:
    with pytest.raises(ValueError, match="not a DSSE envelope"):
        decode_envelope(('{"payload": "", "x": ' + DEEP[0] + "}").encode())


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", DEEP[0].encode(), b"\xff"])
def test_a_damaged_identity_says_enrol_again(content: bytes, tmp_path: Path) -> None:
    (tmp_path / IDENTITY_FILE).write_bytes(content)
    with pytest.raises(ShoalError, match="enrol again"):
        Identity.load(tmp_path)
