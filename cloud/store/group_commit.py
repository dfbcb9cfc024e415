"""Group commit: many callers wait for one transaction, so that a commit costs each of them a share.

Rules of this module:

- `submit` returns after the commit that holds its item, and raises what spoiled it; nothing is ever half told.
- While one transaction commits, the next batch gathers: no timer, and a lone caller waits for nobody.
- Bounded: a full queue raises at once.
- An item that fails alone does not take the others down: a batch that failed is run again one by one. What says
  UNAVAILABLE (the database, the bus) is everybody's and is told to all.
- `apply` may be called again for the same items (the transaction was rolled back before): it keeps no state.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.store.database import Database
from device_agent.errors import ShoalError

type Apply[Item, Result] = Callable[
    [AsyncConnection, Sequence[Item]], Awaitable[Sequence[Result | Exception]]
]
_log = structlog.get_logger(__name__)


class GroupCommit[Item, Result]:
    """A queue and the task that empties it into transactions.

    Args:
        apply: Writes a batch; gives one result an item, or the exception that its caller shall get.
        busy: Raised when the queue is full.
        committed: Told of each batch after its commit.
    """

    def __init__(
        self,
        database: Database,
        apply: Apply[Item, Result],
        *,
        queue_max: int,
        batch_max: int,
        busy: type[ShoalError],
        committed: Callable[[Sequence[Item]], None] | None = None,
    ) -> None:
        self._database = database
        self._apply = apply
        self._batch_max = batch_max
        self._busy = busy
        self._committed = committed
        self._queue: asyncio.Queue[tuple[Item, asyncio.Future[Result]]] = asyncio.Queue(queue_max)

    @property
    def waiting(self) -> int:
        """Items that no transaction has taken up yet."""
        return self._queue.qsize()

    async def submit(self, item: Item) -> Result:
        """Waits until the item is durable.

        Raises:
            ShoalError: `busy`, when too many wait already; or what spoiled the item or its batch.
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait((item, future))
        except asyncio.QueueFull:
            raise self._busy("too many writes are waiting; send it again later") from None
        return await future

    async def run(self) -> None:
        """Commits batches until it is cancelled; those who wait then are cancelled too."""
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        try:
            while True:
                batch = [await self._queue.get()]
                while len(batch) < self._batch_max and not self._queue.empty():
                    batch.append(self._queue.get_nowait())
                await self._commit([entry for entry in batch if not entry[1].cancelled()])
        finally:
            for _, future in batch:
                future.cancel()  # those that are told already stay as they are
            while not self._queue.empty():
                self._queue.get_nowait()[1].cancel()

    async def _commit(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        if not batch:
            return
        items = [item for item, _ in batch]
        try:
            results = await self._database.run(lambda connection: self._apply(connection, items))
        except Exception as error:
            if isinstance(error, ShoalError) and error.status == "UNAVAILABLE":
                _settle(batch, [error] * len(batch))
            else:
                await self._one_by_one(batch, error)
        else:
            _settle(batch, results)
            if self._committed is not None:
                self._committed(items)

    async def _one_by_one(
        self, batch: list[tuple[Item, asyncio.Future[Result]]], error: Exception
    ) -> None:
        if len(batch) == 1:
            if not isinstance(error, ShoalError):
                _log.error("store.group_commit_failed", exc_info=error)
            _settle(batch, [error])
            return
        for entry in batch:
            await self._commit([entry])


def _settle[Item, Result](
    batch: list[tuple[Item, asyncio.Future[Result]]], results: Sequence[Result | Exception]
) -> None:
    assert len(batch) == len(results), "apply gives one result an item"
    for (_, future), result in zip(batch, results, strict=True):
        if future.done():
            continue  # its caller gave up waiting
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
