"""Opens the bus that a URL names.

Rules of this module:

- "embedded:" is the bus in the control plane's database; "redis://…" and "rediss://…" are Redis Streams.
- Nothing else is guessed at, and a message shows no password.
"""

from cloud.bus.embedded import EmbeddedBus
from cloud.bus.errors import BusUrlInvalid
from cloud.bus.interface import Bus
from cloud.bus.settings import SETTINGS, BusSettings
from cloud.store.database import Database
from device_agent.clock import Clock

EMBEDDED_URL = "embedded:"


async def open_bus(
    url: str, database: Database, clock: Clock, settings: BusSettings = SETTINGS
) -> Bus:
    """Opens a bus and makes sure that it answers.

    Raises:
        BusUrlInvalid: the URL names no bus that Shoal can use.
        BusUnavailable: it cannot be reached.
    """
    if url == EMBEDDED_URL:
        return EmbeddedBus(database, clock, settings)
    scheme = url.partition("://")[0]
    if scheme in {"redis", "rediss"}:
        # Loaded by those who use it: the embedded default starts faster without Redis's library.
        from cloud.bus.redis_streams import RedisBus

        return await RedisBus.open(url, clock, settings)
    raise BusUrlInvalid(
        f'{scheme[:20]!r} names no bus; use "embedded:" or redis://host:port/number'
    )
