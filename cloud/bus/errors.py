"""What can go wrong on the bus.

The tree, by whose fault it is:

    ShoalError
    └── BusError
        ├── BusUrlInvalid    caller's: the URL names no bus that Shoal can use
        ├── RecordRefused    caller's: a topic, key or payload breaks a limit
        ├── BusFull          outside's: consumers are too far behind; publishing waits until they catch up
        └── BusUnavailable   outside's: it cannot be reached
"""

from typing import ClassVar

from device_agent.errors import ShoalError


class BusError(ShoalError):
    """Any error of this package."""

    code: ClassVar[str] = "BUS_ERROR"


class BusUrlInvalid(BusError):
    """The URL names no bus that Shoal can use."""

    code: ClassVar[str] = "BUS_URL_INVALID"
    status: ClassVar[str] = "INVALID_ARGUMENT"


class RecordRefused(BusError):
    """A topic, group, key or payload breaks a limit of the bus."""

    code: ClassVar[str] = "BUS_RECORD_REFUSED"
    status: ClassVar[str] = "INVALID_ARGUMENT"


class BusFull(BusError):
    """Consumers are too far behind: nothing was published, nothing was dropped."""

    code: ClassVar[str] = "BUS_FULL"
    status: ClassVar[str] = "RESOURCE_EXHAUSTED"


class BusUnavailable(BusError):
    """The bus cannot be reached."""

    code: ClassVar[str] = "BUS_UNAVAILABLE"
    status: ClassVar[str] = "UNAVAILABLE"
