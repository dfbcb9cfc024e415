"""Who gets an exclusive file: what a device says that it holds opens nothing that no release brought to it."""

import pytest

from cloud.gateway.entitled import is_entitled
from cloud.gateway.release_set import Release
from cloud.targeting.bucket import bucket
from device_agent.tasks.director import Scope
from tests.helpers.release_sets import (
    DEVICE,
    digest,
    release,
    release_set,
    request,
    row,
    version,
    view,
)

VERSIONS = [version("digits", number, scope=Scope.EXCLUSIVE) for number in (1, 2)]
STATES = ("running", "paused", "completed", "aborted", "rolled_back")
SALT = "digits"
PLACE = bucket(SALT, DEVICE)
OUTSIDE, INSIDE = PLACE / 1_000_000, (PLACE + 1) / 1_000_000


def opens(number: int, releases: list[Release], *held: object) -> bool:
    message = request(rows=held)  # type: ignore[arg-type]  # rows are rows
    return is_entitled(
        release_set(releases, VERSIONS), view(message), digest(f"digits/{number}/model.bin/")
    )


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("told", ["INSTALLED", "PENDING", "FAILED", "KILLED"])
def test_a_claim_to_hold_what_was_released_to_others_opens_nothing(state: str, told: str) -> None:
    releases = [release("digits", 2, state, share=OUTSIDE, salt=SALT, rollback=1)]
    for number in (1, 2):
        assert not opens(number, releases, row("digits", 2, told))
        assert not opens(number, releases, row("digits", 1, told))


@pytest.mark.parametrize("state", STATES)
def test_who_was_reached_may_fetch_again_whatever_became_of_the_release(state: str) -> None:
    releases = [release("digits", 2, state, share=INSIDE, salt=SALT, rollback=1)]
    assert opens(2, releases, row("digits", 2))


def test_a_rollback_opens_the_version_that_it_returns_to() -> None:
    releases = [release("digits", 2, "rolled_back", share=INSIDE, salt=SALT, rollback=1)]
    assert opens(1, releases, row("digits", 2))


def test_a_device_that_matches_no_longer_still_gets_back() -> None:
    gone = {"app_version": "0.9"}
    back = release("digits", 2, "rolled_back", salt=SALT, rollback=1, attributes=gone)
    assert opens(1, [back], row("digits", 2))
