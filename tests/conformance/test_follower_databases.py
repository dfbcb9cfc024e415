"""The follower and presence on both databases: what a cold start reads is what following arrives at."""

from cloud.gateway.follower import Follower
from cloud.gateway.presence import PresenceLog
from cloud.gateway.settings import FollowerSettings, RecorderSettings
from cloud.rpc.peer import DevicePeer
from cloud.store.database import Database
from device_agent.clock import SystemClock
from tests.helpers.release_sets import DEVICE, NAMESPACE, release, request, row, version
from tests.helpers.seed_store import Seed

SETTINGS = FollowerSettings(poll_ms=60_000, devices_page=2)


async def test_following_ends_where_a_cold_start_begins(database: Database) -> None:
    seed = Seed(database)
    await seed.namespace()
    for number in (1, 2):
        await seed.publish(version("digits", number))
    await seed.release(release("digits", 1))
    for number in range(5):
        await seed.device(f"{number:032x}", {"tier": str(number)})
    warm = Follower(database, SystemClock(), SETTINGS)
    await warm.start()
    await seed.release(release("digits", 2, share=0.5, attributes={"tier": "1"}))
    await seed.release(release("digits", 1, "rolled_back"))
    await seed.kill("")
    await seed.revoke(f"{3:032x}")
    await warm.look()
    cold = Follower(database, SystemClock(), SETTINGS)
    await cold.start()
    a, b = warm.set_for(NAMESPACE), cold.set_for(NAMESPACE)
    assert a is not None
    assert b is not None
    assert (a.epoch, a.kill, a.revoked) == (b.epoch, b.kill, b.revoked)
    assert [one.release for one in a.tasks["digits"].releases] == [
        one.release for one in b.tasks["digits"].releases
    ]
    assert cold.enrolled(NAMESPACE, f"{4:032x}") == {"tier": "4"}
    assert cold.health().devices == 5


async def test_presence_is_written(database: Database) -> None:
    seed = Seed(database)
    await seed.namespace()
    await seed.device(DEVICE)
    log = PresenceLog(database, RecorderSettings(presence_batch_max=1))
    said = request(epoch=7, rows=[row("digits", 1)]).SerializeToString()
    for device_id in (DEVICE, "cd" * 16):
        log.note(DevicePeer(device_id, NAMESPACE), said, 50)
    await log.flush()
    assert log.waiting == 0
