"""Proof that a request comes from the holder of a device key, where TLS does not carry a client certificate.

Rules of this module:

- The proof carries the public key: the device id is its digest, so the checking side needs no database.
- What is signed names its purpose, the time and the digest of the content: a proof for one purpose or content is
  useless for another, and an old one is refused.
- A proof says who; whether that device may (revoked, another's ticket) is for the caller to decide.

Text form: `<milliseconds since 1970>.<public key, base64url DER>.<signature, base64url>`.
"""

import binascii
import hashlib
from base64 import b64decode, urlsafe_b64encode
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from device_agent.tasks.names import device_id_of
from device_agent.tasks.trust_errors import ProofInvalid

PROOF_CHARS_MAX: Final = 512
PURPOSE_EXCLUSIVE: Final = "exclusive"
PURPOSE_PROFILE: Final = "profile"
PURPOSE_RENEW: Final = "renew"
_ECDSA: Final = ec.ECDSA(hashes.SHA256())


def make_proof(key: ec.EllipticCurvePrivateKey, purpose: str, content: bytes, at_ms: int) -> str:
    """Signs `content` for one purpose at one time."""
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    signature = key.sign(_signed(purpose, content, at_ms), _ECDSA)
    return f"{at_ms}.{_encode(public)}.{_encode(signature)}"


def check_proof(proof: str, purpose: str, content: bytes, *, now_ms: int, window_ms: int) -> str:
    """Says which device signed `content`.

    Returns:
        The device id.

    Raises:
        ProofInvalid: it is malformed, older or newer than the window, or the signature does not hold.
    """
    parts = proof.split(".")
    if len(proof) > PROOF_CHARS_MAX or len(parts) != 3 or not parts[0].isdecimal():
        raise ProofInvalid("the proof is malformed; make it as docs/reference/device-https.md says")
    at_ms = int(parts[0])
    if abs(now_ms - at_ms) > window_ms:
        raise ProofInvalid(
            f"the proof is {abs(now_ms - at_ms)} ms away from the cloud's time; "
            "ask GET /v1/time, set the device's clock offset and sign again"
        )
    public = _decode(parts[1])
    try:
        _load(public).verify(_decode(parts[2]), _signed(purpose, content, at_ms), _ECDSA)
    except InvalidSignature as error:
        raise ProofInvalid("the proof's signature does not hold for this request") from error
    return device_id_of(public)


def _load(public: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = load_der_public_key(public)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ProofInvalid("the proof's public key cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ProofInvalid("a device key is ECDSA on P-256; enrol again to make one")
    return key


def _signed(purpose: str, content: bytes, at_ms: int) -> bytes:
    digest = hashlib.sha256(content).hexdigest()
    return f"shoal-proof-v1\n{purpose}\n{at_ms}\n{digest}".encode()


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        return b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProofInvalid("the proof is not base64url") from error
