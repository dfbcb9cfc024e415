"""Wakes whoever watches a namespace; a wake says that something changed, not what.

Rules of this module:

- Nothing queues: any number of wakes before a watcher looks are one.
- A watcher also looks by itself now and then: another process may have made the change.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Wakes:
    """The watchers of all namespaces of this process."""

    def __init__(self) -> None:
        self._watchers: dict[str, set[asyncio.Event]] = {}

    def wake(self, namespace: str) -> None:
        """Wakes every watcher of the namespace."""
        for event in self._watchers.get(namespace, ()):
            event.set()

    @contextmanager
    def watcher(self, namespace: str) -> Iterator[asyncio.Event]:
        """An event that wakes set, as long as the block lasts."""
        event = asyncio.Event()
        watchers = self._watchers.setdefault(namespace, set())
        watchers.add(event)
        try:
            yield event
        finally:
            watchers.discard(event)
            if not watchers:
                self._watchers.pop(namespace, None)


async def wait_woken(event: asyncio.Event, rest_ms: int, poll_ms: int) -> None:
    """Rests, then waits for the next wake, or until it is time to look anyway."""
    await asyncio.sleep(rest_ms / 1000)
    try:
        async with asyncio.timeout(poll_ms / 1000):
            await event.wait()
    except TimeoutError:
        pass  # time to look, for changes that another process made
    event.clear()
