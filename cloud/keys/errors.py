"""What can go wrong with keys, certificates, enrolment and the TUF repository.

The tree, by whose fault it is:

    ShoalError
    └── KeysError
        ├── KeysExist               caller's: init or restore would overwrite keys
        ├── KeysMissing             caller's: a key file is not there
        ├── KeysUnreadable          caller's: wrong passphrase, or not a key
        ├── BackupInvalid           caller's: not a backup, damaged, or a wrong passphrase
        ├── CertificateInvalid      peer's: a client certificate that this cloud did not issue, or a bad request for one
        ├── EnrolmentRefused        peer's: the token is unknown, used or expired
        ├── EnrolmentBusy           peer's: too many tries; the answer says when to try again
        ├── DeviceRevoked           peer's: the device was revoked
        ├── DeviceUnknown           caller's: no such device
        ├── PublicationRefused      caller's: signed metadata does not fit the repository
        ├── PublicationConflict     caller's: somebody published in between; sign again
        ├── MetadataMissing         caller's: no such file in the repository
        └── RepositoryEmpty         ours: the first metadata was not loaded
"""

from typing import ClassVar

from device_agent.errors import ShoalError


class KeysError(ShoalError):
    """Any error of this package."""

    code: ClassVar[str] = "KEYS_ERROR"
    status: ClassVar[str] = "INTERNAL"


class KeysExist(KeysError):
    """Keys are never overwritten."""

    code: ClassVar[str] = "KEYS_EXIST"
    status: ClassVar[str] = "ALREADY_EXISTS"


class KeysMissing(KeysError):
    """A key file is not where it should be."""

    code: ClassVar[str] = "KEYS_MISSING"
    status: ClassVar[str] = "NOT_FOUND"


class KeysUnreadable(KeysError):
    """A key file cannot be opened with this passphrase, or does not hold the kind of key that it should."""

    code: ClassVar[str] = "KEYS_UNREADABLE"
    status: ClassVar[str] = "INVALID_ARGUMENT"


class BackupInvalid(KeysError):
    """A backup cannot be opened."""

    code: ClassVar[str] = "BACKUP_INVALID"
    status: ClassVar[str] = "INVALID_ARGUMENT"


class CertificateInvalid(KeysError):
    """A certificate or a request for one is not as it should be."""

    code: ClassVar[str] = "CERTIFICATE_INVALID"
    status: ClassVar[str] = "UNAUTHENTICATED"


class EnrolmentRefused(KeysError):
    """The one-time token does not open the door."""

    code: ClassVar[str] = "ENROLMENT_REFUSED"
    status: ClassVar[str] = "PERMISSION_DENIED"


class EnrolmentBusy(KeysError):
    """Too many tries to enrol, from this address or from all.

    Attributes:
        retry_after_ms: When a try will be let through, if nobody else takes it.
    """

    code: ClassVar[str] = "ENROLMENT_BUSY"
    status: ClassVar[str] = "RESOURCE_EXHAUSTED"

    def __init__(self, message: str, retry_after_ms: int) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms


class DeviceRevoked(KeysError):
    """The device was revoked by an operator."""

    code: ClassVar[str] = "DEVICE_REVOKED"
    status: ClassVar[str] = "PERMISSION_DENIED"


class DeviceUnknown(KeysError):
    """The namespace has no such device."""

    code: ClassVar[str] = "DEVICE_UNKNOWN"
    status: ClassVar[str] = "NOT_FOUND"


class PublicationRefused(KeysError):
    """Signed role metadata breaks a rule of the repository; nothing was stored."""

    code: ClassVar[str] = "PUBLICATION_REFUSED"
    status: ClassVar[str] = "INVALID_ARGUMENT"


class PublicationConflict(KeysError):
    """Signed role metadata does not follow the version that the repository has now."""

    code: ClassVar[str] = "PUBLICATION_CONFLICT"
    status: ClassVar[str] = "ABORTED"


class RepositoryEmpty(KeysError):
    """The repository has no metadata yet."""

    code: ClassVar[str] = "REPOSITORY_EMPTY"
    status: ClassVar[str] = "FAILED_PRECONDITION"


class MetadataMissing(KeysError):
    """The repository has no such file; for the next root this is the normal answer."""

    code: ClassVar[str] = "METADATA_MISSING"
    status: ClassVar[str] = "NOT_FOUND"
