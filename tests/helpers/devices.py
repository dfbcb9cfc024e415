"""Agents on the in-memory cloud: made, killed, and made again from what lies on disk."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Self

from shoal_task.event import Event

from device_agent.agent.conditions import DeviceConditions
from device_agent.agent.core import AgentCore
from device_agent.agent.messages import Facts
from device_agent.agent.settings import AgentSettings, LocalPolicy
from tests.helpers.fake_cloud import FakeCloud, FakeDevice, facts
from tests.helpers.fake_pool import FakePool
from tests.helpers.manual_clock import ManualClock


class VirtualDevice:
    """One home folder and the agent that lives in it for now.

    Attributes:
        core: The agent; `reborn` makes a new one on the same home folder.
        known: What the cloud knows of it.
    """

    def __init__(
        self,
        cloud: FakeCloud,
        home: Path,
        *,
        clock: ManualClock,
        seed: int = 1,
        settings: AgentSettings | None = None,
        policy: LocalPolicy | None = None,
        conditions: DeviceConditions | None = None,
    ) -> None:
        self.home = home
        self.clock = clock
        self.known: FakeDevice = cloud.enrol()
        self.random = Random(seed)
        self.pool = FakePool()
        self.facts: Facts = facts()
        self._settings = settings
        self._policy = policy
        self._conditions = conditions
        self.core = self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.core.close()

    def start(self) -> AgentCore:
        """An agent on this home folder."""
        return AgentCore(
            home=self.home,
            link=self.known.link,
            supply=self.known.supply,
            pool=self.pool,
            clock=self.clock,
            random=self.random,
            facts=self.facts,
            conditions=self._conditions,
            policy=self._policy,
            settings=self._settings,
        )

    def reborn(self) -> AgentCore:
        """Drops the agent as a kill would, and starts another on what lies on disk."""
        self.core.close()
        self.pool = FakePool()
        self.core = self.start()
        return self.core

    async def core_turn(self) -> None:
        """One turn of whatever agent lives here now."""
        await self.core.turn()

    async def turns(self, count: int, *, step_ms: int = 1_100) -> None:
        """`count` turns with time between them."""
        for _ in range(count):
            await self.core.turn()
            self.clock.advance_ms(step_ms)

    async def until(self, holds: Callable[[], bool], *, turns_max: int = 50) -> None:
        """Turns until `holds`."""
        for _ in range(turns_max):
            if holds():
                return
            await self.turns(1)
        raise AssertionError(f"not reached in {turns_max} turns")


def event(number: int, event_id: int = 1001, payload: bytes = b"x") -> Event:
    """An event whose uid is its number."""
    return Event(event_id, payload, uid=number.to_bytes(16, "big"))
