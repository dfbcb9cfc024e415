"""How devices come in, stay and go: tokens, enrolment, renewal, revocation, and forgetting.

Rules of this module:

- A token opens the door once, for one device; the database holds its hash alone. Two devices with one token: exactly
  one wins. The winner may repeat its request (its answer may have been lost); nobody else may.
- Enrolling again with a new token keeps the device id (it is the key's digest) and ends a revocation.
- Every change writes its audit row in its transaction; what gateways must hear of bumps the epoch there, too.
- Forgetting removes a device from every table that names it.
"""

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.keys.authority import CertificateAuthority, DeviceCertificate
from cloud.keys.device_rows import (
    REVOCATION,
    delete_everywhere,
    device_row,
    revoked_at,
    store_device,
    use_token,
)
from cloud.keys.errors import CertificateInvalid, DeviceRevoked, EnrolmentRefused
from cloud.keys.settings import SETTINGS, KeySettings
from cloud.store.audit import append_audit
from cloud.store.database import Database
from cloud.store.epochs import bump_epoch
from cloud.store.namespaces import require_namespace
from cloud.store.tables import enrolment_tokens
from cloud.targeting.targeting import Targeting
from device_agent.clock import Clock
from device_agent.failpoint import failpoint
from device_agent.tasks.enrol import EnrolmentCode
from device_agent.tasks.names import Namespace, device_id_of
from device_agent.tasks.proof import PURPOSE_RENEW, check_proof

TOKEN_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentSite:
    """Where the cloud is, as devices shall know it.

    Attributes:
        url: "https://host:port" of the HTTPS face.
        sync_address: "host:port" of the gRPC face.
        tuf_root: Root metadata that devices start to trust.
    """

    url: str
    sync_address: str
    tuf_root: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """Answer to enrolment and renewal."""

    certificate: DeviceCertificate
    site: EnrolmentSite


class EnrolmentService:
    """The life cycle of device identities."""

    def __init__(
        self,
        db: Database,
        authority: CertificateAuthority,
        clock: Clock,
        site: Callable[[], EnrolmentSite],
        settings: KeySettings = SETTINGS,
    ) -> None:
        """Keeps what it is given.

        Args:
            db: The database.
            authority: Issues the certificates.
            clock: Wall clock.
            site: Where the cloud is; asked for at each use, because ports are known late.
            settings: Limits and lifetimes.
        """
        self._db = db
        self._authority = authority
        self._clock = clock
        self._site = site
        self._settings = settings

    async def create_token(
        self,
        namespace: str,
        attributes: Mapping[str, str],
        actor: str,
        valid_for_ms: int | None = None,
    ) -> str:
        """Makes a one-time token.

        Args:
            namespace: "app/project" that the device will be in.
            attributes: What the operator says of the device, for targeting.
            actor: Who asks, for the audit log.
            valid_for_ms: At most `token_lifetime_ms_max`; None for the default.

        Returns:
            The enrolment code, which is shown once and not stored.
        """
        now_ms = self._clock.wall_ms()
        lifetime_ms = self._settings.token_lifetime_ms if valid_for_ms is None else valid_for_ms
        if not 0 < lifetime_ms <= self._settings.token_lifetime_ms_max:
            raise EnrolmentRefused(
                f"a token is valid for 1 to {self._settings.token_lifetime_ms_max} ms, not {lifetime_ms}"
            )
        # The limits of targeting: what breaks them could never be matched.
        attributes = Targeting.from_json({"attributes": dict(attributes)}).attributes
        token = secrets.token_urlsafe(TOKEN_BYTES)
        token_hash, expires_at_ms = _hash(token), now_ms + lifetime_ms
        row = {
            "namespace": namespace,
            "token_hash": token_hash,
            "attributes": dict(attributes),
            "created_at_ms": now_ms,
            "created_by": actor,
            "expires_at_ms": expires_at_ms,
        }

        async def store(connection: AsyncConnection) -> None:
            await require_namespace(connection, namespace)
            await connection.execute(sa.insert(enrolment_tokens).values(row))
            detail = {"attributes": dict(attributes), "expires_at_ms": expires_at_ms}
            subject = token_hash[:16]
            await append_audit(
                connection, namespace, actor, "device.token.create", subject, detail, now_ms
            )

        await self._db.run(store)
        return str(
            EnrolmentCode(
                url=self._site().url,
                namespace=namespace,
                token=token,
                ca_sha256=self._authority.fingerprint,
            )
        )

    async def enrol(
        self, namespace: str, token: str, request_pem: bytes, facts: Mapping[str, Any]
    ) -> Enrolled:
        """Uses a token up for the key of a certificate request.

        Raises:
            EnrolmentRefused: the token is unknown, expired, or was used by another device.
            CertificateInvalid: the request is malformed, or not for P-256.
        """
        now_ms = self._clock.wall_ms()
        if len(msgspec.json.encode(facts)) > self._settings.facts_bytes_max:
            raise EnrolmentRefused(
                f"the facts are longer than {self._settings.facts_bytes_max} bytes; name fewer attributes"
            )
        certificate = self._authority.issue_device(
            request_pem, str(Namespace.parse(namespace)), now_ms
        )

        async def store(connection: AsyncConnection) -> None:
            attributes = await use_token(
                connection, namespace, _hash(token), certificate.device_id, now_ms
            )
            await store_device(connection, certificate, attributes, facts, now_ms)
            failpoint("keys.enrol.before_commit")

        await self._db.run(store)
        return Enrolled(certificate=certificate, site=self._site())

    async def renew(self, namespace: str, request_pem: bytes, proof: str, body: bytes) -> Enrolled:
        """A new certificate for a device that proves who it is.

        Args:
            namespace: "app/project" that the device is in.
            request_pem: Certificate request for the device's own key.
            proof: Signature over `body`.
            body: The whole request as it came.

        Raises:
            ProofInvalid: the proof does not hold, or the clock is wrong.
            CertificateInvalid: the request is for another key.
            DeviceUnknown: the device was never here, or was forgotten.
            DeviceRevoked: it was revoked.
        """
        now_ms = self._clock.wall_ms()
        device_id = check_proof(
            proof, PURPOSE_RENEW, body, now_ms=now_ms, window_ms=self._settings.request_window_ms
        )
        key = self._authority.request_key(request_pem)
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if device_id_of(spki) != device_id:
            raise CertificateInvalid(
                "a certificate is renewed for the same key; to change it, enrol again"
            )
        certificate = self._authority.issue_device(
            request_pem, str(Namespace.parse(namespace)), now_ms
        )

        async def store(connection: AsyncConnection) -> None:
            if await revoked_at(connection, namespace, device_id) is not None:
                raise DeviceRevoked("this device was revoked; an operator can enrol it again")
            await connection.execute(
                device_row(namespace, device_id).values(
                    certificate_serial=certificate.serial,
                    certificate_expires_at_ms=certificate.expires_at_ms,
                )
            )
            await append_audit(
                connection,
                namespace,
                f"device:{device_id}",
                "device.renew",
                device_id,
                {"serial": certificate.serial},
                now_ms,
            )

        await self._db.run(store)
        return Enrolled(certificate=certificate, site=self._site())

    async def revoke(self, namespace: str, device_id: str, actor: str, reason: str) -> bool:
        """Takes a device's rights away; gateways hear of it by the epoch.

        Returns:
            Whether it had any.

        Raises:
            DeviceUnknown: there is no such device.
        """
        now_ms = self._clock.wall_ms()

        async def store(connection: AsyncConnection) -> bool:
            if await revoked_at(connection, namespace, device_id) is not None:
                return False
            await connection.execute(device_row(namespace, device_id).values(revoked_at_ms=now_ms))
            await bump_epoch(connection, namespace, REVOCATION, device_id, now_ms)
            detail = {"reason": reason}
            await append_audit(
                connection, namespace, actor, "device.revoke", device_id, detail, now_ms
            )
            return True

        return await self._db.run(store)

    async def forget(self, namespace: str, device_id: str, actor: str, reason: str) -> int:
        """Deletes a device's rows everywhere; its certificate is worthless from then on.

        Returns:
            How many rows went.

        Raises:
            DeviceUnknown: there is no such device.
        """
        now_ms = self._clock.wall_ms()

        async def store(connection: AsyncConnection) -> int:
            await revoked_at(connection, namespace, device_id)
            rows = await delete_everywhere(connection, namespace, device_id)
            await bump_epoch(connection, namespace, REVOCATION, device_id, now_ms)
            detail = {"reason": reason, "rows": rows}
            await append_audit(
                connection, namespace, actor, "device.forget", device_id, detail, now_ms
            )
            return rows

        return await self._db.run(store)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
