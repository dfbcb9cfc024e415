"""Waiting on a condition that no event announces, bounded."""

import asyncio
from collections.abc import Callable


async def until(holds: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """Gives other tasks their turn until the condition holds; TimeoutError when it does not in time."""
    async with asyncio.timeout(timeout_s):
        while not holds():  # noqa: ASYNC110 - what is watched has no event of its own
            await asyncio.sleep(0.001)
