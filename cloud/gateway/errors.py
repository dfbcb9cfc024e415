"""Errors of the gateway.

A revoked device is cloud.keys' DEVICE_REVOKED.

ShoalError
└── GatewayError
    ├── SyncInvalid           the device's fault: a request that breaks a limit
    ├── NamespaceNotServed    ours or the device's: enrolled into what is not (or not yet) here
    ├── FileNotAssigned       the device's fault: a file that is not for it
    └── GatewayBusy           ours: a bounded queue is full
"""

from typing import ClassVar

from device_agent.errors import ShoalError


class GatewayError(ShoalError):
    """The root of the gateway's errors."""

    code: ClassVar[str] = "GATEWAY_ERROR"


class SyncInvalid(GatewayError):
    """The request breaks a limit of the protocol; the message says which."""

    code: ClassVar[str] = "SYNC_INVALID"
    status: ClassVar[str] = "INVALID_ARGUMENT"


class NamespaceNotServed(GatewayError):
    """The certificate names a namespace that this gateway does not know."""

    code: ClassVar[str] = "NAMESPACE_NOT_SERVED"
    status: ClassVar[str] = "NOT_FOUND"


class FileNotAssigned(GatewayError):
    """No version that the device shall hold has this exclusive file."""

    code: ClassVar[str] = "FILE_NOT_ASSIGNED"
    status: ClassVar[str] = "PERMISSION_DENIED"


class GatewayBusy(GatewayError):
    """A queue of the gateway is full."""

    code: ClassVar[str] = "GATEWAY_BUSY"
    status: ClassVar[str] = "RESOURCE_EXHAUSTED"
