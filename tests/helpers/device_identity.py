"""Device identities for tests: what a device sends to get a certificate, and a home folder that has one."""

import json
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from cloud.keys.authority import private_pem
from device_agent.clock import SystemClock
from device_agent.tasks.identity import IDENTITY_FILE, KEY_FILE
from tests.helpers.device_tls import TlsCloud


def certificate_request(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A signing request for a device key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "device")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def enrolled_home(home: Path, namespace: str = "demo/app") -> Path:
    """A home folder enrolled in a cloud that is not there any more."""
    cloud, key = TlsCloud(), ec.generate_private_key(ec.SECP256R1())
    issued = cloud.authority.issue_device(
        certificate_request(key), namespace, SystemClock().wall_ms()
    )
    folder = home / "identity"
    folder.mkdir(parents=True)
    (folder / KEY_FILE).write_bytes(private_pem(key))
    stored = {
        "device_id": issued.device_id,
        "namespace": namespace,
        "url": "https://127.0.0.1:1",
        "sync_address": "127.0.0.1:1",
        "ca_pem": cloud.ca_pem.decode(),
        "certificate_pem": issued.pem.decode(),
        "root": "{}",
    }
    (folder / IDENTITY_FILE).write_text(json.dumps(stored))
    return home
