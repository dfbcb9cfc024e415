"""Pools in which something goes otherwise: runs that wait, that never end, that kill the agent, that find no room.

Example:
    pool = QueuePool()
    device.core.runner._pool = pool
    pool.begin(1)      # the first that waits may run
"""

import asyncio
from collections.abc import Callable

from device_agent.vm.errors import VmQueueFull, VmRetired
from device_agent.vm.interface import VmSpec
from tests.helpers.fake_pool import FakePool


class QueuePool(FakePool):
    """Lets runs begin only when told; a retired key's waiting runs are turned away, as in the real pool."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, asyncio.Future[None]]] = []

    async def turn(self, spec: VmSpec, begin: Callable[[], None]) -> None:
        del begin
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lines.append((spec.key, turn))
        await turn

    async def retire(self, key: str) -> None:
        for its_key, turn in self.lines:
            if its_key == key and not turn.done():
                turn.set_exception(VmRetired("replaced"))
        await super().retire(key)

    def begin(self, count: int) -> None:
        """The next `count` of those that wait may run."""
        waiting = [turn for _, turn in self.lines if not turn.done()]
        for turn in waiting[:count]:
            turn.set_result(None)


class SlowPool(QueuePool):
    """The first run begins and goes on until `release` is set; those behind it wait.

    Attributes:
        begun: Set when the first run has begun.
        release: Lets it end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()
        self.release = asyncio.Event()

    async def turn(self, spec: VmSpec, begin: Callable[[], None]) -> None:
        if self.begun.is_set():
            await super().turn(spec, begin)
            return
        begin()
        self.begun.set()
        await self.release.wait()


class Death(BaseException):
    """The process ends inside a task."""


class DeadlyPool(FakePool):
    """Kills the process in tasks whose key has the name; keeps count of what runs at once."""

    def __init__(self, deadly: str) -> None:
        super().__init__()
        self.deadly = deadly
        self.now = 0
        self.most = 0

    async def turn(self, spec: VmSpec, begin: Callable[[], None]) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        if spec.key.startswith(self.deadly):
            begin()
            raise Death
        self.now -= 1


class FullPool(FakePool):
    """Has no room for anybody."""

    async def turn(self, spec: VmSpec, begin: Callable[[], None]) -> None:
        del spec, begin
        raise VmQueueFull("no room; try again")
