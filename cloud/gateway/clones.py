"""Two devices with one certificate: noticed when an agent's process that was followed by another speaks again. Pure.

Rules of this module:

- Each process of an agent names itself by a random session and counts its Syncs. Processes of one device follow one
  another: after a reboot, a crash or a restore there is a new session, and the old one is silent for ever.
- A request of the old process may still be on its way when the new one speaks. So an old session counts only when it
  says something new, and only `clone_grace_ms` after the newer one was first heard; and it must do so twice.
- A request whose process said nothing before may be the last word of one that died unheard: a session counts as the
  newer one only when it was heard from its first Sync on, or twice. Which is newer goes by who appeared first.
- A Sync that is sent again, or whose answer was lost, says nothing new. An agent that names no session is left alone.
- Bounded: the devices that were quiet for longest are forgotten first, and of a device the oldest sessions.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from cloud.gateway.settings import RecorderSettings
from cloud.rpc.peer import DevicePeer

SESSIONS_MAX = 4
SESSION_BYTES = 16


@dataclass(slots=True)
class _Session:
    first_ms: int
    count: int
    alive: bool


@dataclass(slots=True)
class _Device:
    # In order of appearance; the last one that is alive is the process that should be alone.
    sessions: OrderedDict[bytes, _Session] = field(default_factory=OrderedDict)
    returns: int = 0


class CloneWatch:
    """What was heard of each device's processes.

    Attributes:
        found: Devices that two processes speak for; the caller takes out those it has reported.
    """

    def __init__(self, settings: RecorderSettings) -> None:
        self._settings = settings
        self._devices: OrderedDict[DevicePeer, _Device] = OrderedDict()
        self.found: set[DevicePeer] = set()

    def heard(self, peer: DevicePeer, session: bytes, count: int, now_ms: int) -> None:
        """Takes in one Sync."""
        if len(session) != SESSION_BYTES:
            return
        device = self._device(peer)
        known = device.sessions.get(session)
        if known is None:
            device.sessions[session] = _Session(now_ms, count, alive=count == 1)
            if len(device.sessions) > SESSIONS_MAX:
                device.sessions.popitem(last=False)
            return
        if count <= known.count:
            return
        known.count = count
        if not known.alive:
            known.first_ms, known.alive = now_ms, True
        newest = next(one for one in reversed(device.sessions.values()) if one.alive)
        if known is newest or now_ms - newest.first_ms <= self._settings.clone_grace_ms:
            return
        device.returns += 1
        if device.returns >= self._settings.clone_returns_min:
            device.returns = 0
            self.found.add(peer)

    def _device(self, peer: DevicePeer) -> _Device:
        found = self._devices.pop(peer, None) or _Device()
        self._devices[peer] = found
        if len(self._devices) > self._settings.clone_devices_max:
            self._devices.popitem(last=False)
        return found
