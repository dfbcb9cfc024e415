"""What the device is like just now: battery and network.

Rules of this module:

- Whoever embeds the agent implements DeviceConditions; on Linux a file says it: HOME/conditions.json,
  {"battery_percent": 80, "charging": true, "network": "unmetered" | "metered" | "offline"}, all optional.
- The file is read again when it changed. A file that cannot be read keeps what was known and is reported once.
"""

import enum
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

FILE_BYTES_MAX = 4096


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

    battery_percent: int | None = None
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
        except FileNotFoundError:
            self._stamp, self._known = None, Conditions()
            return self._known
        stamp = (status.st_mtime_ns, status.st_size)
        if stamp != self._stamp:
            self._stamp = stamp
            self._reread()
        return self._known

    def _reread(self) -> None:
        try:
            with self._path.open("rb") as file:
                data = file.read(FILE_BYTES_MAX + 1)
            self._known = msgspec.json.decode(data, type=Conditions)
        except (OSError, msgspec.DecodeError) as error:
            self._on_invalid(f"{self._path}: {error}; what was known before stays in use")
