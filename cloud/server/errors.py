"""Why a cloud process does not start.

ShoalError
├── SettingsInvalid    the operator's: a flag, a variable or the TOML file
├── CloudHomeInUse          the operator's: another process runs in this home
└── PortTaken          the outside's: a port is not free
"""

from typing import ClassVar

from device_agent.errors import ShoalError


class SettingsInvalid(ShoalError):
    """A setting is unknown or not what its name says."""

    code: ClassVar[str] = "SETTINGS_INVALID"
    status: ClassVar[str] = "INVALID_ARGUMENT"


class CloudHomeInUse(ShoalError):
    """Another cloud process runs in this home."""

    code: ClassVar[str] = "CLOUD_HOME_IN_USE"
    status: ClassVar[str] = "FAILED_PRECONDITION"


class PortTaken(ShoalError):
    """A port is not free, or not allowed."""

    code: ClassVar[str] = "PORT_TAKEN"
    status: ClassVar[str] = "FAILED_PRECONDITION"
