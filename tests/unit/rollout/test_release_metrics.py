"""Figures move by what happened, once."""

import pytest
from prometheus_client import REGISTRY

from cloud.rollout.machine import Command
from cloud.rollout.release import ReleaseDraft
from cloud.store.database import Database
from tests.helpers.release_fleet import TASK, ReleaseFleet
from tests.helpers.release_sets import NAMESPACE as NS


def figure(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.mark.slow
async def test_steps_acknowledgements_and_counts_are_counted(database: Database) -> None:
    names = ("shoal_rollout_acknowledgements_total", "shoal_rollout_census_seconds_count")
    steps = "shoal_rollout_steps_total"
    before = [figure(name) for name in names]
    paused = figure(steps, action="release.pause")
    fleet = await ReleaseFleet.make(database, devices=3)
    release = await fleet.service.create(NS, ReleaseDraft(task=TASK, version=1, start=True), "ann")
    await fleet.acknowledge(release, fleet.devices, "installed")
    await fleet.service.command(NS, release.id, Command.PAUSE, "ann")
    assert figure(steps, action="release.pause") == paused + 1
    assert figure(names[0]) == before[0] + 3
    assert figure(names[1]) > before[1]
