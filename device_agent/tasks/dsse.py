"""The signed envelope (DSSE): a payload, its type, and signatures over both.

Rules of this module:

- What is signed is the pre-authentication encoding (PAE), never the JSON around it.
- The payload is not parsed before a signature over it holds: this module only splits the envelope.
- One form: standard base64 with padding; anything else is refused rather than guessed.
"""

import binascii
from typing import Final

import msgspec

SIGNATURES_MAX: Final = 8


class EnvelopeSignature(msgspec.Struct, frozen=True):
    """One signature.

    Attributes:
        keyid: Id of the key, as the TUF target that names the key spells it.
        sig: The signature, base64.
    """

    keyid: str
    sig: str


class _EnvelopeJson(msgspec.Struct, frozen=True):
    payload: str
    payloadType: str
    signatures: tuple[EnvelopeSignature, ...]


class Envelope(msgspec.Struct, frozen=True):
    """An envelope, split but not verified.

    Attributes:
        payload: The signed bytes.
        payload_type: How to read them.
        signatures: Key id and raw signature, in the order of the envelope.
    """

    payload: bytes
    payload_type: str
    signatures: tuple[tuple[str, bytes], ...]


_decoder = msgspec.json.Decoder(_EnvelopeJson)


def pae(payload_type: bytes, payload: bytes) -> bytes:
    """The bytes that a signature covers."""
    return b"DSSEv1 %d %b %d %b" % (len(payload_type), payload_type, len(payload), payload)


def encode_envelope(payload_type: bytes, payload: bytes, keyid: bytes, signature: bytes) -> bytes:
    """An envelope with one signature. `payload_type` and `keyid` hold no character that JSON escapes."""
    return (b'{"payload":"%b","payloadType":"%b","signatures":[{"keyid":"%b","sig":"%b"}]}') % (
        binascii.b2a_base64(payload, newline=False),
        payload_type,
        keyid,
        binascii.b2a_base64(signature, newline=False),
    )


def decode_envelope(data: bytes) -> Envelope:
    """Splits an envelope.

    Raises:
        ValueError: it is not an envelope; the message says what is wrong.
    """
    try:
        parsed = _decoder.decode(data)
        signatures = tuple(
            (one.keyid, binascii.a2b_base64(one.sig, strict_mode=True)) for one in parsed.signatures
        )
        payload = binascii.a2b_base64(parsed.payload, strict_mode=True)
    except (msgspec.DecodeError, RecursionError, binascii.Error, UnicodeError) as error:
        raise ValueError(f"not a DSSE envelope: {error}") from error
    if not 1 <= len(signatures) <= SIGNATURES_MAX:
        raise ValueError(f"an envelope has 1 to {SIGNATURES_MAX} signatures, not {len(signatures)}")
    if len({keyid for keyid, _ in signatures}) != len(signatures):
        raise ValueError("two signatures of an envelope name the same key")
    return Envelope(payload=payload, payload_type=parsed.payloadType, signatures=signatures)
