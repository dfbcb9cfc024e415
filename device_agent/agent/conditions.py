"""What the device is like just now: battery and network.

Rules of this module:

- Whoever embeds the agent implements DeviceConditions; on Linux a file says it: HOME/conditions.json,
  {"battery_percent": 80, "charging": true, "network": "unmetered" | "metered" | "offline"}, all optional.
- The file is read again when it changed. A file that cannot be read, or says what cannot be, keeps what was known and
  is reported once.
"""

import enum
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, Protocol

import msgspec

FILE_BYTES_MAX = 4096
# What stands for the stamp of a file that cannot be looked at.
UNREADABLE: Final = (-1, -1)
type Percent = Annotated[int, msgspec.Meta(ge=0, le=100)]


class Network(enum.StrEnum):
    """What a download would cost."""

    UNMETERED = "unmetered"
    METERED = "metered"
    OFFLINE = "offline"


class Conditions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The device's state.

    Attributes:
        battery_percent: 0 to 100; None when there is no battery.
        charging: Power is connected.
        network: What a download would cost.
    """

    battery_percent: Percent | None = None
    charging: bool = False
    network: Network = Network.UNMETERED


class DeviceConditions(Protocol):
    """Where conditions come from."""

    def read(self) -> Conditions:
        """The conditions now."""
        ...


class FixedConditions:
    """Conditions that never change."""

    def __init__(self, conditions: Conditions | None = None) -> None:
        self._conditions = conditions or Conditions()

    def read(self) -> Conditions:
        """The conditions now."""
        return self._conditions


class FileConditions:
    """Conditions from a file that some program of the device keeps up to date."""

    def __init__(self, path: Path, on_invalid: Callable[[str], None]) -> None:
        self._path = path
        self._on_invalid = on_invalid
        self._stamp: tuple[int, int] | None = None
        self._known = Conditions()

    def read(self) -> Conditions:
        """The conditions now; without a file, those of a device on mains and unmetered."""
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
        except FileNotFoundError:
            self._stamp, self._known = None, Conditions()
            return self._known
        except OSError:
            stamp = UNREADABLE
        if stamp != self._stamp:
            self._stamp = stamp
            self._reread()
        return self._known

    def _reread(self) -> None:
        try:
            with self._path.open("rb") as file:
                data = file.read(FILE_BYTES_MAX + 1)
            if len(data) > FILE_BYTES_MAX:
                raise ValueError(f"it is longer than {FILE_BYTES_MAX} bytes")
            self._known = msgspec.json.decode(data, type=Conditions)
        except (OSError, ValueError, RecursionError) as error:  # DecodeError is a ValueError
            self._on_invalid(f"{self._path}: {error}; what was known before stays in use")
