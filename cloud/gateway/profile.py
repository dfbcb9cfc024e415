"""What a device says in a Sync, as decisions read it: a view that works out only what is asked for. Pure.

Rules of this module:

- A row that is installed, quarantined or killed is *steady*: the version is there. Pending and failed rows are not.
- Attributes and capabilities are made on first use: most Syncs need neither.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import msgspec
from shoal.device.v1 import device_pb2
from shoal.identity.v1 import identity_pb2

from cloud.targeting.attributes import FACT_NAMES, device_attributes
from device_agent.tasks.requires import Capabilities

CAPABILITIES_MAX = 4096

PENDING = device_pb2.TASK_STATE_PENDING
INSTALLED = device_pb2.TASK_STATE_INSTALLED
FAILED = device_pb2.TASK_STATE_FAILED
QUARANTINED = device_pb2.TASK_STATE_QUARANTINED
KILLED = device_pb2.TASK_STATE_KILLED
_STEADY = frozenset((INSTALLED, QUARANTINED, KILLED))


class Held(msgspec.Struct, frozen=True):
    """One row of the profile: the version held, or wanted while pending or failed."""

    version: int
    digest: str
    state: int

    @property
    def steady(self) -> bool:
        """Whether the version is on the device."""
        return self.state in _STEADY

    @property
    def failed(self) -> bool:
        """Whether its installation failed, so that the device does not hold it."""
        return self.state == FAILED


class ToldAttributes(Mapping[str, str]):
    """`device_attributes` without putting them together: most targetings ask for one.

    tests/unit/gateway compare the two.
    """

    __slots__ = ("_enrolled", "_facts", "_own")

    def __init__(self, enrolled: Mapping[str, str], facts: identity_pb2.DeviceFacts) -> None:
        self._enrolled = enrolled
        self._facts = facts
        self._own = facts.attributes

    def __getitem__(self, name: str) -> str:
        if name in FACT_NAMES:
            told: str = getattr(self._facts, name)
            if told:
                return told
        own = self._own.get(name)
        return self._enrolled[name] if own is None else own

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]  # of texts
        """The attribute's value."""
        try:
            return self[name]
        except KeyError:
            return default

    def __iter__(self) -> Iterator[str]:
        return iter(device_attributes(self._enrolled, self._facts))

    def __len__(self) -> int:
        return len(device_attributes(self._enrolled, self._facts))


class DeviceView:
    """One device at one Sync.

    Attributes:
        device_id: Who it is, by its certificate.
    """

    __slots__ = (
        "_attributes",
        "_capabilities",
        "_data",
        "_enrolled",
        "_request",
        "_rows",
        "device_id",
    )

    def __init__(
        self,
        device_id: str,
        data: bytes,
        request: device_pb2.SyncRequest,
        enrolled: Mapping[str, str],
    ) -> None:
        self.device_id = device_id
        self._data = data
        self._request = request
        self._enrolled = enrolled
        self._attributes: Mapping[str, str] | None = None
        self._capabilities: Capabilities | None = None
        self._rows: dict[str, Held] | None = None

    @classmethod
    def of(
        cls,
        device_id: str,
        request: device_pb2.SyncRequest,
        enrolled: Mapping[str, str] = MappingProxyType({}),
    ) -> "DeviceView":
        """The view of a request that did not come as bytes."""
        return cls(device_id, request.SerializeToString(), request, enrolled)

    def held(self, task: str) -> Held | None:
        """The task's row of the profile."""
        if self._rows is not None:
            return self._rows.get(task)
        # A name that is nowhere in the request is in no row: cheaper than reading ten rows to see that.
        if task.encode() not in self._data:
            return None
        for row in self._request.installed:
            version = row.version
            if version.task == task:
                return Held(version.version, version.digest, row.state)
        return None

    def rows(self) -> Mapping[str, Held]:
        """The whole profile, by task; of two rows of a task the first counts."""
        if self._rows is None:
            rows: dict[str, Held] = {}
            for row in self._request.installed:
                version = row.version
                rows.setdefault(version.task, Held(version.version, version.digest, row.state))
            self._rows = rows
        return self._rows

    def unsettled(self) -> list[str]:
        """Names of the rows that are not steady."""
        return [row.version.task for row in self._request.installed if row.state not in _STEADY]

    @property
    def attributes(self) -> Mapping[str, str]:
        """What targeting is matched against."""
        if self._attributes is None:
            self._attributes = ToldAttributes(self._enrolled, self._request.facts)
        return self._attributes

    @property
    def capabilities(self) -> Capabilities:
        """What `requires` is checked against; equal ones are one object."""
        if self._capabilities is None:
            self._capabilities = _capabilities_of(self._request.facts)
        return self._capabilities


_known: dict[tuple[str, int, int, str, tuple[str, ...]], Capabilities] = {}


def _capabilities_of(facts: identity_pb2.DeviceFacts) -> Capabilities:
    key = (
        facts.agent_version,
        facts.guest_api,
        facts.op_set,
        facts.python_tag,
        tuple(facts.cpu_features),
    )
    known = _known.get(key)
    if known is None:
        known = Capabilities(
            agent_version=key[0],
            guest_api=key[1],
            op_set=key[2],
            python_tag=key[3],
            cpu_features=frozenset(key[4]),
        )
        if len(_known) >= CAPABILITIES_MAX:
            _known.clear()
        _known[key] = known
    return known
