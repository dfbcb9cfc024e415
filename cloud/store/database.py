"""The one way to the database: transactions over SQLite and PostgreSQL that behave alike.

Rules of this module:

- A write transaction takes its lock when it begins (SQLite: BEGIN IMMEDIATE on one connection; PostgreSQL: row or
  advisory locks, see locks.py), so that what was read inside it still holds when it writes.
- A read transaction sees one state from beginning to end and cannot write.
- Every wait is bounded. A lock that did not come or a conflict is DatabaseBusy; a lost server is DatabaseUnavailable.
- Leaving `begin` normally commits durably; leaving it by an exception, or being cancelled in it, writes nothing.
"""

import asyncio
import contextlib
import random
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Self

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cloud.store.engines import make_engines, probe_sqlite
from cloud.store.errors import DatabaseBusy, DatabaseUnavailable
from cloud.store.failures import translate
from cloud.store.settings import DatabaseSettings
from cloud.store.urls import SQLITE, parse_url, shown
from device_agent.failpoint import failpoint


class Database:
    """A pool of connections to one database.

    Attributes:
        url: As it may be shown: without password.
        dialect: "sqlite" or "postgresql".
        settings: Its limits.
    """

    def __init__(self, url: str, settings: DatabaseSettings, jitter: random.Random) -> None:
        parsed = parse_url(url)
        self.url = shown(parsed)
        self.dialect = parsed.get_backend_name()
        self.settings = settings
        self._jitter = jitter
        self._writer, self._reader = make_engines(parsed, settings)
        # Connections whose caller was cancelled while they were opened.
        self._unwanted: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(
        cls,
        url: str,
        settings: DatabaseSettings | None = None,
        jitter: random.Random | None = None,
    ) -> Self:
        """Connects once, so that a wrong URL is told at start and not at the first request.

        Raises:
            DatabaseUrlInvalid: the URL names no database that Shoal can use.
            DatabaseUnavailable: it cannot be reached.
            DatabaseBusy: another had it to itself for longer than a lock is waited for.
        """
        database = cls(url, settings or DatabaseSettings(), jitter or random.Random())
        await database._probe(parse_url(url))
        try:
            async with database.read() as connection:
                await connection.execute(sa.select(sa.literal(1)))
        except BaseException:
            await database.close()
            raise
        return database

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A write transaction: commits at the end, writes nothing when an exception leaves it.

        Raises:
            DatabaseBusy: a lock did not come in time, or two transactions met.
            DatabaseUnavailable: the database cannot be reached.
        """
        async with self._transaction(self._writer) as connection:
            yield connection
            failpoint("store.transaction.committing")
        failpoint("store.transaction.committed")

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A read transaction: one state of the database, no writing.

        Raises:
            DatabaseBusy: no connection came free in time.
            DatabaseUnavailable: the database cannot be reached.
        """
        async with self._transaction(self._reader) as connection:
            yield connection

    async def run[T](self, step: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Runs a write transaction, again from the start after DatabaseBusy, a bounded number of times.

        Args:
            step: The whole transaction; called anew for each attempt, so it must keep no state between.
        """
        wait_ms = self.settings.backoff_ms
        for attempt in range(1, self.settings.attempts_max + 1):
            try:
                async with self.begin() as connection:
                    return await step(connection)
            except DatabaseBusy:
                if attempt == self.settings.attempts_max:
                    raise
            await asyncio.sleep(wait_ms * self._jitter.uniform(0.5, 1.5) / 1000)
            wait_ms *= 2
        raise AssertionError("attempts_max is at least 1")

    async def ready(self) -> None:
        """Readiness probe: one round trip, bounded.

        Raises:
            DatabaseBusy, DatabaseUnavailable: it did not answer in time.
        """
        try:
            async with asyncio.timeout(self.settings.ready_s_max), self.read() as connection:
                await connection.execute(sa.select(sa.literal(1)))
        except TimeoutError:
            raise DatabaseUnavailable(
                f"{self.url} did not answer within {self.settings.ready_s_max} s; check the server"
            ) from None

    async def close(self) -> None:
        """Closes every connection."""
        await asyncio.gather(*self._unwanted)
        await self._writer.dispose()
        if self.dialect == SQLITE:  # PostgreSQL's reader is a view of the writer's pool
            await self._reader.dispose()

    async def _probe(self, url: sa.URL) -> None:
        if self.dialect != SQLITE:
            return
        deadline_s = time.monotonic() + self.settings.lock_ms_max / 1000
        while True:
            try:
                return await asyncio.to_thread(probe_sqlite, url, self.settings)
            except sqlite3.Error as error:
                told = self._told(error)
                if not isinstance(told, DatabaseBusy) or time.monotonic() > deadline_s:
                    raise told from error
            await asyncio.sleep(self.settings.backoff_ms * self._jitter.uniform(0.5, 1.5) / 1000)

    @asynccontextmanager
    async def _transaction(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        connection = await self._connect(engine)
        try:
            async with connection.begin():
                yield connection
        except sa.exc.SQLAlchemyError as error:
            raise self._told(error) from error
        finally:
            # A cancelled caller still gives its connection back.
            await asyncio.shield(connection.close())

    async def _connect(self, engine: AsyncEngine) -> AsyncConnection:
        opening = asyncio.ensure_future(engine.connect().start())
        try:
            # The drivers lose a connection that is cancelled half open: file and thread stay, and no pool knows them.
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            unwanted = asyncio.create_task(_give_back(opening))
            self._unwanted.add(unwanted)
            unwanted.add_done_callback(self._unwanted.discard)
            raise
        except (sa.exc.SQLAlchemyError, OSError) as error:
            raise self._told(error) from error

    def _told(self, error: Exception) -> Exception:
        return translate(error, self.url) or error


async def _give_back(opening: asyncio.Future[AsyncConnection]) -> None:
    """To the pool, when it is open; that it could not be opened, nobody waits to hear."""
    with contextlib.suppress(sa.exc.SQLAlchemyError, OSError):
        await (await opening).close()
