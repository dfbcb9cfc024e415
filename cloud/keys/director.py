"""Signs director documents: one envelope for one device, many a second.

Rules of this module:

- Encoding is msgspec's, signing is Ed25519 by cryptography; nothing else happens per document.
- The key is the director's alone: it is no TUF role and no TLS key, and devices learn it from a TUF target.
"""

import json
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.signer import SSlibKey

from device_agent.tasks.director import DOCUMENT_BYTES_MAX, PAYLOAD_TYPE, DirectorDocument
from device_agent.tasks.dsse import encode_envelope, pae

_TYPE: Final = PAYLOAD_TYPE.encode()


class DirectorSigner:
    """Makes the envelopes that `device_agent.tasks.verify` accepts."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._encoder = msgspec.json.Encoder()
        self.use(key)

    def use(self, key: Ed25519PrivateKey) -> None:
        """Signs with another key from now on: the one that devices have been told of."""
        self._key = key
        self.public_key: Ed25519PublicKey = key.public_key()
        self.keyid: str = keyid_of(self.public_key)
        self._keyid = self.keyid.encode()

    def sign(self, document: DirectorDocument) -> bytes:
        """The DSSE envelope around the document.

        Raises:
            ValueError: the document is longer than devices accept; name fewer tasks in one document.
        """
        return self.sign_payload(self._encoder.encode(document))

    def sign_payload(self, payload: bytes) -> bytes:
        """The envelope around a document that is already encoded: gateways keep instructions in JSON form.

        Raises:
            ValueError: the document is longer than devices accept.
        """
        if len(payload) > DOCUMENT_BYTES_MAX:
            raise ValueError(f"a document of {len(payload)} bytes is over {DOCUMENT_BYTES_MAX}")
        signature = self._key.sign(pae(_TYPE, payload))
        return encode_envelope(_TYPE, payload, self._keyid, signature)


def keyid_of(key: Ed25519PublicKey) -> str:
    """Key id as securesystemslib and TUF compute it, so that every verifier agrees."""
    return str(SSlibKey.from_crypto(key).keyid)


def director_keys_target(*keys: Ed25519PublicKey) -> bytes:
    """Content of the TUF target that names the director's keys: the newest first, older ones while they rotate out."""
    known = [SSlibKey.from_crypto(key) for key in keys]
    document = {"keys": {key.keyid: key.to_dict() for key in known}}
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
