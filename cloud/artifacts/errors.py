"""What can go wrong with stored files.

ShoalError
└── ArtifactsError
    ├── BlobMissing     caller's: no such digest
    ├── BlobDamaged     ours: the store gave back other bytes than were put
    ├── BlobTooLarge    caller's: over the limit
    └── StoreUnusable   outside: the object store cannot be opened, read or written
"""

from typing import ClassVar

from device_agent.errors import ShoalError


class ArtifactsError(ShoalError):
    """Any error of this package."""

    code: ClassVar[str] = "ARTIFACTS_ERROR"
    status: ClassVar[str] = "INTERNAL"


class BlobMissing(ArtifactsError):
    """There is no file of that digest."""

    code: ClassVar[str] = "BLOB_MISSING"
    status: ClassVar[str] = "NOT_FOUND"


class BlobDamaged(ArtifactsError):
    """What was read is not what was put."""

    code: ClassVar[str] = "BLOB_DAMAGED"
    status: ClassVar[str] = "DATA_LOSS"


class BlobTooLarge(ArtifactsError):
    """A file is over the limit."""

    code: ClassVar[str] = "BLOB_TOO_LARGE"
    status: ClassVar[str] = "RESOURCE_EXHAUSTED"


class StoreUnusable(ArtifactsError):
    """The object store cannot be opened, read or written."""

    code: ClassVar[str] = "ARTIFACT_STORE_UNUSABLE"
    status: ClassVar[str] = "UNAVAILABLE"


class RequestInvalid(ArtifactsError):
    """A request of the HTTPS face cannot be read."""

    code: ClassVar[str] = "REQUEST_INVALID"
    status: ClassVar[str] = "INVALID_ARGUMENT"


class RequestTooLong(ArtifactsError):
    """A request body is over the limit."""

    code: ClassVar[str] = "REQUEST_TOO_LONG"
    status: ClassVar[str] = "RESOURCE_EXHAUSTED"
