"""The two headers by which a Sync rides on an app's own request: `shoal-profile` out, `shoal-changes` back.

    headers["shoal-profile"] = encode_profile(key, namespace, request.SerializeToString(), nonce, now_ms)
    changes = decode_changes(response.headers.get("shoal-changes"))    # None, SYNC_NOW, or a director envelope

Rules of this module:

- Both are ASCII without spaces and at most HEADER_CHARS_MAX long, so that proxies on the way let them through.
- The device key signs namespace, nonce, time and profile together: none can be changed or joined to another.
- What comes back is signed by the director, or it is only the word to sync: a proxy that changes it gains nothing.
- A profile carries no acknowledgements: only a real Sync can promise that they are durable.

`shoal-profile`: `v1.<base64url of namespace length u8, namespace, nonce 16 bytes, SyncRequest>.<proof>` (proof.py).
"""

import binascii
from base64 import b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from device_agent.tasks.errors import NameInvalid
from device_agent.tasks.names import Namespace
from device_agent.tasks.proof import PURPOSE_PROFILE, check_proof, make_proof
from device_agent.tasks.trust_errors import ProfileInvalid

PROFILE_HEADER: Final = "shoal-profile"
CHANGES_HEADER: Final = "shoal-changes"
HEADER_CHARS_MAX: Final = 4096
NONCE_BYTES: Final = 16
SYNC_NOW: Final = "sync-now"
_VERSION: Final = "v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedProfile:
    """What a `shoal-profile` header says, its signature checked.

    Attributes:
        device_id: Digest of the key that signed it; whether it is enrolled is for the caller to ask.
        request: Encoded shoal.device.v1.SyncRequest.
    """

    device_id: str
    namespace: str
    nonce: bytes
    request: bytes


def encode_profile(
    key: ec.EllipticCurvePrivateKey, namespace: str, request: bytes, nonce: bytes, at_ms: int
) -> str:
    """The header's value.

    Args:
        request: Encoded SyncRequest, without acknowledgements.
        nonce: 16 random bytes, never used before.
        at_ms: The device's trusted wall clock.

    Raises:
        ProfileInvalid: it would be longer than a header may be: send none, and sync.
    """
    assert len(nonce) == NONCE_BYTES
    name = namespace.encode()
    content = bytes([len(name)]) + name + nonce + request
    proof = make_proof(key, PURPOSE_PROFILE, content, at_ms)
    value = f"{_VERSION}.{urlsafe_b64encode(content).rstrip(b'=').decode()}.{proof}"
    if len(value) > HEADER_CHARS_MAX:
        raise ProfileInvalid(
            f"the profile needs {len(value)} characters and a header has {HEADER_CHARS_MAX}: "
            "send the request without it"
        )
    return value


def decode_profile(value: str, *, now_ms: int, window_ms: int) -> SignedProfile:
    """Reads the header and checks its signature and time. That its nonce is new is for the caller to see.

    Raises:
        ProfileInvalid: it is too long or malformed.
        ProofInvalid: it is too old, or its signature does not hold.
    """
    version, _, rest = value.partition(".")
    body, _, proof = rest.partition(".")
    if len(value) > HEADER_CHARS_MAX or version != _VERSION or not proof:
        raise ProfileInvalid(f"not a {PROFILE_HEADER} header of version {_VERSION}")
    content = _decode(body)
    end = 1 + content[0] if content else 0
    if len(content) < end + NONCE_BYTES or end < 2:
        raise ProfileInvalid("the profile is cut short")
    return SignedProfile(
        device_id=check_proof(proof, PURPOSE_PROFILE, content, now_ms=now_ms, window_ms=window_ms),
        namespace=_namespace(content[1:end]),
        nonce=content[end : end + NONCE_BYTES],
        request=content[end + NONCE_BYTES :],
    )


def encode_changes(envelope: bytes) -> str:
    """The value of `shoal-changes` for a director envelope; the word to sync when it does not fit."""
    value = urlsafe_b64encode(envelope).rstrip(b"=").decode()
    return value if len(value) <= HEADER_CHARS_MAX else SYNC_NOW


def decode_changes(value: str | None) -> bytes | str | None:
    """What the cloud answered: nothing, SYNC_NOW, or a director envelope that is still to be verified.

    Raises:
        ProfileInvalid: it is too long or malformed.
    """
    if not value or value == SYNC_NOW:
        return value or None
    if len(value) > HEADER_CHARS_MAX:
        raise ProfileInvalid(f"{CHANGES_HEADER} is longer than {HEADER_CHARS_MAX} characters")
    return _decode(value)


def _decode(text: str) -> bytes:
    try:
        return b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProfileInvalid("the header is not base64url") from error


def _namespace(name: bytes) -> str:
    try:
        return str(Namespace.parse(name.decode("ascii")))
    except (UnicodeDecodeError, NameInvalid) as error:
        raise ProfileInvalid("the profile's namespace is none") from error
