"""Counts that are forgotten while others are being counted."""

import asyncio

from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.rollout.census import Audience, Census
from cloud.rollout.settings import RolloutSettings
from cloud.store.database import Database
from cloud.targeting.targeting import Targeting
from tests.helpers.manual_clock import ManualClock


def audience(name: str) -> Audience:
    return Audience(release_id=name, targeting=Targeting(), salt=name, shares_ppm=(1_000_000,))


async def test_a_count_survives_that_another_is_forgotten_meanwhile(database: Database) -> None:
    kept = Census(ManualClock(), RolloutSettings())
    async with database.read() as connection:
        first = await kept.count(connection, "demo/app", [audience("a")])
        forgetting = Forgetting(connection, kept)
        both = await kept.count(forgetting.connection, "demo/app", [audience("a"), audience("b")])
    assert forgetting.forgot
    assert both == [first[0], first[0]]
    assert both[0][0].targeted == 0


class Forgetting:
    """A connection that forgets everything kept, in the middle of a count, as an operator's command does."""

    def __init__(self, connection: AsyncConnection, kept: Census) -> None:
        self.connection = connection
        self.forgot = False
        self._kept = kept
        asyncio.get_running_loop().call_soon(self._forget)

    def _forget(self) -> None:
        self._kept.forget("demo/app")
        self.forgot = True
