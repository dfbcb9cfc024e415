"""What can go wrong with the database.

The tree, by whose fault it is:

    ShoalError
    └── StoreError
        ├── DatabaseUrlInvalid     caller's: the URL names no database that Shoal can use
        ├── IdempotencyKeyReused   caller's: the same key came with another request
        ├── NamespaceUnknown       caller's: the namespace was never created
        ├── NamespaceExists        caller's: it was created before
        ├── RestoreRefused         caller's: the database to restore into is not empty
        ├── BackupDamaged          outside's: the file is cut, changed or of another schema
        ├── DatabaseBusy           outside's: locked or serialization conflict; trying again helps
        ├── DatabaseUnavailable    outside's: it cannot be reached
        ├── SchemaMismatch         ours or the operator's: the schema is of another revision than the code
        └── AuditChainBroken       outside's: somebody changed the audit log
"""

from typing import ClassVar

from device_agent.errors import ShoalError


class StoreError(ShoalError):
    """Any error of this package."""

    code: ClassVar[str] = "STORE_ERROR"


class DatabaseUrlInvalid(StoreError):
    """The URL names no database that Shoal can use."""

    code: ClassVar[str] = "DATABASE_URL_INVALID"
    status: ClassVar[str] = "INVALID_ARGUMENT"


class IdempotencyKeyReused(StoreError):
    """An idempotency key came again, with another request."""

    code: ClassVar[str] = "IDEMPOTENCY_KEY_REUSED"
    status: ClassVar[str] = "INVALID_ARGUMENT"


class NamespaceUnknown(StoreError):
    """The namespace was never created."""

    code: ClassVar[str] = "NAMESPACE_UNKNOWN"
    status: ClassVar[str] = "NOT_FOUND"


class NamespaceExists(StoreError):
    """The namespace was created before."""

    code: ClassVar[str] = "NAMESPACE_EXISTS"
    status: ClassVar[str] = "ALREADY_EXISTS"


class RestoreRefused(StoreError):
    """The database to restore into is not empty."""

    code: ClassVar[str] = "RESTORE_REFUSED"
    status: ClassVar[str] = "FAILED_PRECONDITION"


class BackupDamaged(StoreError):
    """A backup is cut, changed, or of a schema that this code cannot read."""

    code: ClassVar[str] = "BACKUP_DAMAGED"
    status: ClassVar[str] = "DATA_LOSS"


class DatabaseBusy(StoreError):
    """The database was locked, or two transactions met; nothing was written and trying again helps."""

    code: ClassVar[str] = "DATABASE_BUSY"
    status: ClassVar[str] = "UNAVAILABLE"


class DatabaseUnavailable(StoreError):
    """The database cannot be reached."""

    code: ClassVar[str] = "DATABASE_UNAVAILABLE"
    status: ClassVar[str] = "UNAVAILABLE"


class SchemaMismatch(StoreError):
    """The schema in the database is of another revision than the code."""

    code: ClassVar[str] = "SCHEMA_MISMATCH"
    status: ClassVar[str] = "FAILED_PRECONDITION"


class AuditChainBroken(StoreError):
    """The audit log does not hash to what it says: rows were changed, removed or reordered."""

    code: ClassVar[str] = "AUDIT_CHAIN_BROKEN"
    status: ClassVar[str] = "DATA_LOSS"
