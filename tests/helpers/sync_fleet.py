"""A fleet against one gateway in memory: release sets and the requests that its devices send.

fleet = SyncFleet(devices=100, releases=30)
fleet.answerer.answer(peer, data, fleet.answerer.read(data), NOW_MS) for peer, data in fleet.requests(fleet.epoch)
"""

from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.gateway.answer import Answerer
from cloud.gateway.release_set import Release, ReleaseSet, Version
from cloud.gateway.settings import GatewaySettings
from cloud.keys.director import DirectorSigner
from cloud.rpc.peer import DevicePeer
from tests.helpers.release_sets import (
    NAMESPACE,
    digest,
    facts,
    release,
    release_set,
    request,
    row,
    version,
)

NOW_MS = 1_763_900_000_000
SEED = bytes(range(32))


class MemorySets:
    """Release sets that a test holds in its hand."""

    def __init__(self, *sets: ReleaseSet) -> None:
        self.sets = {one.namespace: one for one in sets}
        self.attributes: dict[str, Mapping[str, str] | None] = {}

    def set_for(self, namespace: str) -> ReleaseSet | None:
        return self.sets.get(namespace)

    def enrolled(self, _namespace: str, device_id: str) -> Mapping[str, str] | None:
        return self.attributes.get(device_id, {})


class SyncFleet:
    """Devices in regions; each region has its tasks, released to it alone.

    Attributes:
        epoch: The set's epoch; at epoch - 1 a task of region 0 has changed, at epoch - 2 the task "everywhere" too.
    """

    def __init__(
        self,
        devices: int,
        releases: int,
        tasks_each: int = 10,
        settings: GatewaySettings | None = None,
    ) -> None:
        self.epoch = NOW_MS - 1000
        self.tasks_each = tasks_each
        self.regions = max(1, (releases - 1) // tasks_each)
        names = [(f"task-{place:03d}", place // tasks_each) for place in range(releases - 1)]
        versions: list[Version] = [version(name, 1) for name, _ in names]
        active: list[Release] = [
            release(name, 1, attributes={"region": f"r{region}"}, order=place + 1)
            for place, (name, region) in enumerate(names)
        ]
        versions.append(version("everywhere", 2))
        active.append(release("everywhere", 2, order=releases))
        changes = [(self.epoch - 1, "everywhere"), (self.epoch, names[0][0])]
        self.set = release_set(
            active, versions, epoch=self.epoch, floor=self.epoch - 10, changes=changes
        )
        self.sets = MemorySets(self.set)
        self.signer = DirectorSigner(Ed25519PrivateKey.from_private_bytes(SEED))
        self.answerer = Answerer(self.sets, self.signer, settings or GatewaySettings())
        self.peers = [DevicePeer(digest(str(place))[7:39], NAMESPACE) for place in range(devices)]

    def region(self, place: int) -> int:
        """Devices of region 0 hold what changed last already, so it is left out."""
        return 1 + place % max(1, self.regions - 1)

    def requests(self, epoch: int, held: int = 2) -> list[tuple[DevicePeer, bytes]]:
        """What every device sends from this epoch, holding this version of "everywhere"."""
        said = []
        for place, peer in enumerate(self.peers):
            region = self.region(place)
            first = region * self.tasks_each
            rows = [row(f"task-{n:03d}", 1) for n in range(first, first + self.tasks_each - 1)]
            rows.append(row("everywhere", held))
            attributes = {"region": f"r{region}", "tier": "gold"}
            message = request(epoch, rows, facts(attributes=attributes))
            said.append((peer, message.SerializeToString()))
        return said
