"""What the first start of an empty home makes: keys, schema, namespaces, and the first operator's token.

Rules of this module:

- Each step looks whether it is done and can be repeated: a process that died anywhere in here just starts again.
- A start that dies between database and file leaves a token that nobody knows; the next start makes another.
- Keys are made only where there are none; a half of a set is an error, never mended.
"""

import asyncio
import shutil
from contextlib import suppress

import structlog

from cloud.admin.operations.tokens import first_token
from cloud.keys.generate import init_keys
from cloud.server.home import CloudHome
from cloud.server.settings import ServerSettings
from cloud.store.database import Database
from cloud.store.errors import NamespaceExists
from cloud.store.namespaces import create_namespace
from device_agent.clock import Clock
from device_agent.failpoint import failpoint

log = structlog.get_logger(__name__)
OWNER = "owner"


async def make_first_keys(home: CloudHome, settings: ServerSettings, clock: Clock) -> None:
    """Makes keys when the home has none."""
    if home.keys.exists() or not settings.first_keys:
        return
    # A start that was killed leaves private keys behind that nobody trusts; the home's lock says that it is dead.
    for left in home.path.glob(f".{home.keys.name}.*"):
        await asyncio.to_thread(shutil.rmtree, left)
    hosts = sorted({"localhost", "127.0.0.1", settings.public_host})
    await asyncio.to_thread(
        init_keys, home.keys, namespaces=settings.namespaces, hosts=hosts, now_ms=clock.wall_ms()
    )
    log.info("keys made", folder=str(home.keys))


async def make_namespaces(database: Database, settings: ServerSettings, clock: Clock) -> None:
    """Makes the namespaces that are not there."""
    for namespace in settings.namespaces:
        with suppress(NamespaceExists):
            async with database.begin() as connection:
                await create_namespace(connection, namespace, clock.wall_ms(), OWNER)


async def make_first_token(
    home: CloudHome, database: Database, settings: ServerSettings, clock: Clock
) -> bool:
    """Makes the first token when the home has none; tells whether it did."""
    if home.admin_token.exists() or not settings.first_keys:
        return False
    made = await first_token(database, clock, OWNER)
    failpoint("server.token.recorded")
    home.write_private(home.admin_token, made.token.encode() + b"\n")
    return True
