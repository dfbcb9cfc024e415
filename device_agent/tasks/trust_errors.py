"""What a device refuses, and what it could not fetch.

The tree, by whose fault it is:

    ShoalError
    └── TrustError
        ├── SignatureInvalid, DirectorInvalid, DirectorForAnotherDevice,
        │   DirectorOlder, DirectorExpired                      the cloud's document
        ├── MetadataInvalid, MetadataExpired, MetadataRollback,
        │   MetadataMismatch, MetadataTooLong                   the repository's metadata
        ├── TargetUnknown, TargetMismatch                       the document and the metadata disagree
        ├── LinkBroken, MetadataUnavailable                     outside: the link
        ├── DownloadFailed
        │   ├── FileDamaged, FileTooLong, FileTruncated,
        │   │   FileMissing                                     the server's file
        │   ├── DownloadSlow                                    outside: the link
        │   └── DiskQuota                                       ours: no room
        ├── TicketInvalid, ProofInvalid, ProfileInvalid         the other device's, or the clock's
        ├── EnrolmentCodeInvalid                                caller's
        ├── CloudUntrusted, EnrolmentFailed                     the cloud's
        └── IdentityInvalid                                     ours: the files at home
"""

from typing import ClassVar

from device_agent.errors import ShoalError


class TrustError(ShoalError):
    """Any refusal of something that came from outside: a document, metadata, a file, an identity."""

    code: ClassVar[str] = "TRUST_INVALID"
    status: ClassVar[str] = "FAILED_PRECONDITION"


class SignatureInvalid(TrustError):
    """No signature is by a key that is trusted for this, or too few are."""

    code: ClassVar[str] = "SIGNATURE_INVALID"
    status: ClassVar[str] = "UNAUTHENTICATED"


class DirectorInvalid(TrustError):
    """A director document is too big, malformed, or contradicts itself."""

    code: ClassVar[str] = "DIRECTOR_INVALID"
    status: ClassVar[str] = "DATA_LOSS"


class DirectorForAnotherDevice(TrustError):
    """A director document names another device or namespace."""

    code: ClassVar[str] = "DIRECTOR_FOR_ANOTHER_DEVICE"
    status: ClassVar[str] = "PERMISSION_DENIED"


class DirectorOlder(TrustError):
    """A director document is older than the one that the device holds."""

    code: ClassVar[str] = "DIRECTOR_OLDER"


class DirectorExpired(TrustError):
    """A director document is past its expiry: keep running, install nothing."""

    code: ClassVar[str] = "DIRECTOR_EXPIRED"


class MetadataInvalid(TrustError):
    """TUF metadata cannot be read, or lacks what it must have."""

    code: ClassVar[str] = "METADATA_INVALID"
    status: ClassVar[str] = "DATA_LOSS"


class MetadataExpired(TrustError):
    """TUF metadata is past its expiry: the repository is frozen, or the device's clock is wrong."""

    code: ClassVar[str] = "METADATA_EXPIRED"


class MetadataRollback(TrustError):
    """TUF metadata is older than what the device has seen."""

    code: ClassVar[str] = "METADATA_ROLLBACK"


class MetadataMismatch(TrustError):
    """TUF metadata is not the file that the snapshot or timestamp names: parts of two states are mixed."""

    code: ClassVar[str] = "METADATA_MISMATCH"


class MetadataTooLong(TrustError):
    """TUF metadata is longer than declared or than the limit."""

    code: ClassVar[str] = "METADATA_TOO_LONG"
    status: ClassVar[str] = "RESOURCE_EXHAUSTED"


class MetadataUnavailable(TrustError):
    """TUF metadata could not be fetched; trying again later may help."""

    code: ClassVar[str] = "METADATA_UNAVAILABLE"
    status: ClassVar[str] = "UNAVAILABLE"


class TargetUnknown(TrustError):
    """A file names a target that no signed metadata has."""

    code: ClassVar[str] = "TARGET_UNKNOWN"
    status: ClassVar[str] = "NOT_FOUND"


class TargetMismatch(TrustError):
    """A file and its target disagree: an artifact of another task, version or place, or another content."""

    code: ClassVar[str] = "TARGET_MISMATCH"


class LinkBroken(TrustError):
    """The link to the cloud's HTTPS face failed; what was asked for may be tried again."""

    code: ClassVar[str] = "LINK_BROKEN"
    status: ClassVar[str] = "UNAVAILABLE"


class DownloadFailed(TrustError):
    """Any end of a download but the file."""

    code: ClassVar[str] = "DOWNLOAD_FAILED"
    status: ClassVar[str] = "UNAVAILABLE"


class FileDamaged(DownloadFailed):
    """A downloaded file is not the one that was signed; it was deleted."""

    code: ClassVar[str] = "FILE_DAMAGED"
    status: ClassVar[str] = "DATA_LOSS"


class FileTooLong(DownloadFailed):
    """A body goes on past the signed length; it was cut and deleted."""

    code: ClassVar[str] = "FILE_TOO_LONG"
    status: ClassVar[str] = "DATA_LOSS"


class FileTruncated(DownloadFailed):
    """A body keeps ending before the signed length; it was deleted."""

    code: ClassVar[str] = "FILE_TRUNCATED"
    status: ClassVar[str] = "DATA_LOSS"


class FileMissing(DownloadFailed):
    """The cloud does not have the file."""

    code: ClassVar[str] = "FILE_MISSING"
    status: ClassVar[str] = "NOT_FOUND"


class DownloadSlow(DownloadFailed):
    """A body came slower than the least throughput that is allowed."""

    code: ClassVar[str] = "DOWNLOAD_SLOW"
    status: ClassVar[str] = "DEADLINE_EXCEEDED"


class DiskQuota(DownloadFailed):
    """The files would not fit; nothing was fetched."""

    code: ClassVar[str] = "DISK_QUOTA"
    status: ClassVar[str] = "RESOURCE_EXHAUSTED"


class TicketInvalid(TrustError):
    """A ticket is for another device or file, has expired, or was not issued by this cloud."""

    code: ClassVar[str] = "TICKET_INVALID"
    status: ClassVar[str] = "PERMISSION_DENIED"


class ProofInvalid(TrustError):
    """A signature by the device key does not hold, or is too old."""

    code: ClassVar[str] = "PROOF_INVALID"
    status: ClassVar[str] = "UNAUTHENTICATED"


class IdentityInvalid(TrustError):
    """The identity on disk cannot be read, or does not fit together."""

    code: ClassVar[str] = "IDENTITY_INVALID"
    status: ClassVar[str] = "DATA_LOSS"


class EnrolmentCodeInvalid(TrustError):
    """The text is not an enrolment code."""

    code: ClassVar[str] = "ENROLMENT_CODE_INVALID"
    status: ClassVar[str] = "INVALID_ARGUMENT"


class CloudUntrusted(TrustError):
    """The server's certificate authority is not the one that the enrolment code names."""

    code: ClassVar[str] = "CLOUD_UNTRUSTED"
    status: ClassVar[str] = "UNAUTHENTICATED"


class EnrolmentFailed(TrustError):
    """The cloud refused to enrol or renew, or could not be reached; the message has its reason.

    Attributes:
        reason_code: The cloud's error code, e.g. "DEVICE_REVOKED"; empty when it gave none.
    """

    reason_code: str = ""

    code: ClassVar[str] = "ENROLMENT_FAILED"
    status: ClassVar[str] = "UNAVAILABLE"


class ProfileInvalid(TrustError):
    """A shoal-profile or shoal-changes header that is malformed, too long, unsigned or replayed."""

    code: ClassVar[str] = "PROFILE_INVALID"
    status: ClassVar[str] = "INVALID_ARGUMENT"
