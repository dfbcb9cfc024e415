"""Enrolment and renewal: how a device gets an identity from the cloud, and keeps it valid.

Rules of this module:

- The first contact trusts nothing but the enrolment code: the CA that the server shows must have its fingerprint.
- The key is written before anything is sent: an enrolment that broke off is repeated with the same key, and a new
  token keeps the device id.
- What the cloud answers is checked before it replaces what is there. Answers are bounded.
"""

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Self

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from device_agent.failpoint import failpoint
from device_agent.tasks.errors import NameInvalid
from device_agent.tasks.fetch import Fetcher, Headers, check_address
from device_agent.tasks.identity import Identity, keep, key_pem, own_key
from device_agent.tasks.names import Namespace, device_id_of, is_text
from device_agent.tasks.proof import PURPOSE_RENEW
from device_agent.tasks.settings import IDENTITY
from device_agent.tasks.trust_errors import (
    CloudUntrusted,
    EnrolmentCodeInvalid,
    EnrolmentFailed,
    LinkBroken,
)

CODE_CHARS_MAX: Final = 2048
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")

type FetcherFor = Callable[[str, bytes | None], Fetcher]
"""Makes a Fetcher for (url, CA in PEM); without a CA it trusts any certificate, for the first look at the CA only."""


class EnrolmentCode(msgspec.Struct, frozen=True):
    """What an operator hands to a device, as one string.

    Attributes:
        url: "https://host:port" of the cloud's HTTPS face.
        namespace: "app/project" to enrol into.
        token: Opens the door once.
        ca_sha256: Fingerprint of the cloud's CA: SHA-256 over DER, hex.
    """

    url: str
    namespace: str
    token: str
    ca_sha256: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads the string.

        Raises:
            EnrolmentCodeInvalid: it is no enrolment code.
        """
        plain = text.strip()
        try:
            if len(plain) > CODE_CHARS_MAX:
                raise ValueError("it is too long")
            data = base64.b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)
            code = msgspec.json.decode(data, type=cls)
            Namespace.parse(code.namespace)
            if not _FINGERPRINT.fullmatch(code.ca_sha256):
                raise ValueError("its fingerprint is malformed")
            check_address(code.url)
        except (ValueError, RecursionError, msgspec.DecodeError, NameInvalid) as error:
            raise EnrolmentCodeInvalid(
                "this is no enrolment code; copy the whole line that `shoal device token create` printed"
            ) from error
        return code

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).rstrip(b"=").decode()


def enrol(
    fetcher_for: FetcherFor, code_text: str, folder: Path, facts: Mapping[str, object]
) -> Identity:
    """Enrols this device, or enrols it again. Blocking: call it in a thread.

    Args:
        fetcher_for: How to reach the cloud.
        code_text: The enrolment code.
        folder: Where the identity lives, e.g. HOME/identity.
        facts: What the device says of itself.

    Raises:
        EnrolmentCodeInvalid: the code is malformed.
        CloudUntrusted: the server's CA is not the code's, or its answer is not for this device.
        EnrolmentFailed: the cloud refused, or could not be reached.
    """
    code = EnrolmentCode.parse(code_text)
    key = own_key(folder)
    ca_pem = _pinned_ca(fetcher_for(code.url, None), code.ca_sha256)
    request = {
        "namespace": code.namespace,
        "token": code.token,
        "csr": _certificate_request(key),
        "facts": dict(facts),
    }
    answer = _post(fetcher_for(code.url, ca_pem), "/v1/enrol", json.dumps(request).encode(), {})
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    identity = Identity(
        device_id=device_id_of(spki),
        namespace=code.namespace,
        url=code.url,
        sync_address=_text(answer, "sync_address"),
        ca_pem=ca_pem,
        certificate_pem=_text(answer, "certificate").encode(),
        key_pem=key_pem(key),
        root=_text(answer, "tuf_root").encode(),
    )
    return keep(folder, identity)


def enrol_anew(
    fetcher_for: FetcherFor, code_text: str, folder: Path, facts: Mapping[str, object]
) -> Identity:
    """Enrols with a new key, as another device; the identity before it goes when the new one is whole.

    Args and raises as `enrol`. Broken off, it is repeated with the same code and the same new key.
    """
    working = folder.with_name(f"{folder.name}.new")
    identity = enrol(fetcher_for, code_text, working, facts)
    if folder.exists():
        shutil.rmtree(folder)
    failpoint("identity.enrol.old_removed")
    working.rename(folder)
    return identity


def renew(fetcher: Fetcher, identity: Identity, folder: Path) -> Identity:
    """Gets a new certificate for the same key. Blocking: call it in a thread.

    The request is signed at the cloud's time, which is asked for first: a device whose clock is wrong renews, too.

    Raises:
        CloudUntrusted: the answer is not for this device.
        EnrolmentFailed: the cloud refused (`reason_code` says why, e.g. DEVICE_REVOKED), or could not be reached.
    """
    now_ms = fetch_server_time(fetcher)
    request = {"namespace": identity.namespace, "csr": _certificate_request(identity.key)}
    body = json.dumps(request).encode()
    headers = {"shoal-proof": identity.proof(PURPOSE_RENEW, body, now_ms)}
    answer = _post(fetcher, "/v1/renew", body, headers)
    renewed = Identity(
        device_id=identity.device_id,
        namespace=identity.namespace,
        url=identity.url,
        sync_address=_text(answer, "sync_address"),
        ca_pem=identity.ca_pem,
        certificate_pem=_text(answer, "certificate").encode(),
        key_pem=identity.key_pem,
        root=identity.root,
    )
    return keep(folder, renewed)


def fetch_server_time(fetcher: Fetcher) -> int:
    """The cloud's wall clock in milliseconds, as TLS vouches for it.

    Raises:
        EnrolmentFailed: it could not be asked.
    """
    answer = _ask(fetcher, "GET", "/v1/time", b"", {})
    now_ms = answer.get("now_ms")
    if not isinstance(now_ms, int):
        raise EnrolmentFailed("the cloud's time cannot be read; is this the right address?")
    return now_ms


def _certificate_request(key: ec.EllipticCurvePrivateKey) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shoal device")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def _pinned_ca(fetcher: Fetcher, fingerprint: str) -> bytes:
    ca_pem = _text(_ask(fetcher, "GET", "/v1/ca", b"", {}), "certificate").encode()
    try:
        der = x509.load_pem_x509_certificate(ca_pem).public_bytes(Encoding.DER)
    except ValueError as error:
        raise CloudUntrusted(
            "the server's CA cannot be read; the device was not enrolled"
        ) from error
    if hashlib.sha256(der).hexdigest() != fingerprint:
        raise CloudUntrusted(
            "the server shows another CA than the enrolment code names; the token was not sent. "
            "Is the code from this cloud, and is nobody in between?"
        )
    return ca_pem


def _post(fetcher: Fetcher, path: str, body: bytes, headers: Headers) -> dict[str, object]:
    return _ask(fetcher, "POST", path, body, {"content-type": "application/json", **headers})


def _ask(
    fetcher: Fetcher, method: str, path: str, body: bytes, headers: Headers
) -> dict[str, object]:
    """Sends a request and reads its JSON answer, bounded."""
    try:
        with fetcher.request(method, path, headers=headers, body=body) as answer:
            status, data = answer.status, b""
            while piece := answer.read(IDENTITY.answer_bytes_max + 1 - len(data)):
                data += piece
                if len(data) > IDENTITY.answer_bytes_max:
                    raise EnrolmentFailed(
                        f"{path}: the answer is too long; is this the right address?"
                    )
    except LinkBroken as error:
        raise EnrolmentFailed(f"the cloud could not be reached: {error}; try again") from error
    return _read_answer(path, status, data)


def _read_answer(path: str, status: int, data: bytes) -> dict[str, object]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise EnrolmentFailed(f"{path}: status {status} and no JSON; is this the right address?")
    if status == 200:
        return value
    error = value.get("error")
    said = error if isinstance(error, dict) else {}
    failure = EnrolmentFailed(
        f"{path}: {said.get('code', status)}: {said.get('message', 'no reason given')}"
    )
    failure.reason_code = str(said.get("code", ""))
    raise failure


def _text(answer: Mapping[str, object], name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str) or not is_text(value):
        raise EnrolmentFailed(f"the cloud's answer has no {name}; is it another version?")
    return value
