"""Proofs by the device key, and envelopes: what holds, and that nothing near it does."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from device_agent.tasks.dsse import decode_envelope, encode_envelope
from device_agent.tasks.names import device_id_of
from device_agent.tasks.proof import PURPOSE_PROFILE, check_proof, make_proof
from device_agent.tasks.trust_errors import ProofInvalid

KEY = ec.generate_private_key(ec.SECP256R1())
SPKI = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
NOW = 1_790_000_000_000
WINDOW = 300_000


def check(proof: str, content: bytes = b"said", now_ms: int = NOW) -> str:
    return check_proof(proof, PURPOSE_PROFILE, content, now_ms=now_ms, window_ms=WINDOW)


@given(st.binary(max_size=100), st.integers(min_value=-WINDOW, max_value=WINDOW))
def test_a_proof_says_which_device_spoke(content: bytes, skew_ms: int) -> None:
    proof = make_proof(KEY, PURPOSE_PROFILE, content, NOW + skew_ms)
    assert check(proof, content) == device_id_of(SPKI)


@pytest.mark.parametrize("skew_ms", [-WINDOW - 1, WINDOW + 1, -NOW])
def test_a_proof_outside_the_window_says_what_to_do(skew_ms: int) -> None:
    with pytest.raises(ProofInvalid, match="/v1/time"):
        check(make_proof(KEY, PURPOSE_PROFILE, b"said", NOW + skew_ms))


PROOF = make_proof(KEY, PURPOSE_PROFILE, b"said", NOW)


@given(st.integers(min_value=0, max_value=len(PROOF) - 1), st.sampled_from("0aA-_.=\u00fc "))
def test_a_changed_proof_is_refused_or_the_same_device(place: int, character: str) -> None:
    changed = PROOF[:place] + character + PROOF[place + 1 :]
    try:
        device = check(changed)
    except ProofInvalid:
        return
    # base64 has spare bits at its end: the text may differ where the bytes do not.
    assert device == device_id_of(SPKI)


@given(st.text(max_size=600))
def test_any_text_is_refused_by_name(text: str) -> None:
    with pytest.raises(ProofInvalid):
        check(text)


def test_another_curve_is_refused() -> None:
    other = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(ProofInvalid, match="P-256"):
        check(make_proof(other, PURPOSE_PROFILE, b"said", NOW))


@given(st.binary(max_size=200), st.binary(min_size=1, max_size=80))
def test_an_envelope_is_split_as_it_was_made(payload: bytes, signature: bytes) -> None:
    split = decode_envelope(encode_envelope(b"a/b", payload, b"key", signature))
    assert (split.payload, split.payload_type) == (payload, "a/b")
    assert split.signatures == (("key", signature),)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_by_name(data: bytes) -> None:
    with pytest.raises(ValueError, match="envelope"):
        decode_envelope(data)


def test_two_signatures_of_one_key_are_refused() -> None:
    one = b'{"keyid":"k","sig":"AAAA"}'
    data = b'{"payload":"","payloadType":"x","signatures":[' + one + b"," + one + b"]}"
    with pytest.raises(ValueError, match="same key"):
        decode_envelope(data)
