"""Which devices are enrolled, with the attributes that enrolment gave them: in memory, for every Sync to see.

Rules of this module:

- Loaded whole at the start, so that a cold gateway does not ask the database once a device.
- A device that is not there is *met*: its row is read with those of all others that came meanwhile.
- Bounded: past the limit the one longest there goes, and is met again when it comes.
- Attributes that are equal are one object: most devices of a fleet share theirs.
"""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType

from cloud.gateway.load import Enrolled
from cloud.gateway.settings import FollowerSettings

type Key = tuple[str, str]


class KnownDevices:
    """Enrolled devices by (namespace, device id)."""

    def __init__(self, settings: FollowerSettings) -> None:
        self._settings = settings
        self._known: dict[Key, Mapping[str, str]] = {}
        self._strangers: dict[Key, int] = {}
        self._wanted: dict[Key, asyncio.Event] = {}
        self._shared: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def attributes(self, namespace: str, device_id: str) -> Mapping[str, str] | None:
        """What enrolment gave the device; None when it is not in memory."""
        return self._known.get((namespace, device_id))

    def add(self, namespace: str, device: Enrolled) -> None:
        """Takes a row of the store."""
        if len(self._known) >= self._settings.devices_max:
            del self._known[next(iter(self._known))]
        self._known[namespace, device.device_id] = self._one_object(device.attributes)

    def drop(self, namespace: str, device_id: str) -> None:
        """Forgets the device."""
        self._known.pop((namespace, device_id), None)

    def want(self, key: Key) -> asyncio.Event:
        """Asks for the device's row; the event is set when it was looked for."""
        return self._wanted.setdefault(key, asyncio.Event())

    def wanted(self) -> dict[Key, asyncio.Event]:
        """Takes all that is asked for."""
        taken, self._wanted = self._wanted, {}
        return taken

    def is_stranger(self, key: Key, now_ms: int) -> bool:
        """Whether the store said lately that it has no such device."""
        return self._strangers.get(key, 0) > now_ms

    def add_stranger(self, key: Key, now_ms: int) -> None:
        """Remembers that the store has no such device."""
        if len(self._strangers) >= self._settings.strangers_max:
            self._strangers.clear()
        self._strangers[key] = now_ms + self._settings.stranger_ms

    def _one_object(self, attributes: Mapping[str, str]) -> Mapping[str, str]:
        key = tuple(sorted(attributes.items()))
        if len(self._shared) >= self._settings.strangers_max:
            self._shared.clear()
        return self._shared.setdefault(key, MappingProxyType(dict(attributes)))
