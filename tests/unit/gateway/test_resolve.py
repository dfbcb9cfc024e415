"""Which release decides, state by state, and what the device is told."""

import msgspec
import pytest

from cloud.gateway.release_set import Release, Version
from cloud.gateway.resolve import Told, Verdict, resolve
from cloud.targeting.bucket import bucket
from device_agent.tasks.director import Action, TaskInstruction
from device_agent.tasks.manifest import Requires
from tests.helpers.release_sets import (
    DEVICE,
    TAG,
    bundle,
    digest,
    facts,
    plans,
    release,
    request,
    row,
    version,
    view,
)

V1, V2 = version("digits", 1), version("digits", 2)
HOLDS = ("INSTALLED", "PENDING", "QUARANTINED", "KILLED")


def decided(
    releases: list[Release], *rows: object, versions: tuple[Version, ...] = (V1, V2), **said: object
) -> tuple[Verdict | None, TaskInstruction | None]:
    (plan,) = plans(releases, versions)
    message = request(rows=rows, said=facts(**said))  # type: ignore[arg-type]  # rows are rows
    verdict = resolve(plan, "digits", view(message))
    read = msgspec.json.decode(verdict.instruction, type=TaskInstruction) if verdict else None
    return verdict, read


def test_a_running_release_is_installed_with_its_files_and_its_trace() -> None:
    verdict, told = decided([release("digits", 1, traceparent="00-ab-cd-01")])
    assert verdict is not None
    assert verdict.told is Told.NEW
    assert told == TaskInstruction(
        task="digits",
        action=Action.INSTALL,
        version=1,
        digest=digest("digits/1"),
        release_id=release("digits", 1).release_id,
        traceparent="00-ab-cd-01",
        files=bundle("digits", 1, TAG),
    )


@pytest.mark.parametrize("state", ["INSTALLED", "QUARANTINED", "KILLED"])
def test_what_is_there_is_kept_without_files(state: str) -> None:
    verdict, told = decided([release("digits", 1)], row("digits", 1, state))
    assert verdict is not None
    assert verdict.told is Told.HELD
    assert told == TaskInstruction(
        task="digits", action=Action.KEEP, version=1, digest=digest("digits/1")
    )


@pytest.mark.parametrize("state", ["PENDING", "FAILED"])
def test_what_is_asked_and_not_there_is_no_news_but_names_its_files(state: str) -> None:
    verdict, told = decided([release("digits", 1)], row("digits", 1, state))
    assert verdict is not None
    assert verdict.told is Told.ASKED
    assert told is not None
    assert (told.action, len(told.files)) == (Action.INSTALL, 3)


def test_another_content_under_the_same_number_is_sent_again() -> None:
    wrong = row("digits", 1)
    wrong.version.digest = digest("something else")
    verdict, told = decided([release("digits", 1)], wrong)
    assert verdict is not None
    assert verdict.told is Told.NEW
    assert told is not None
    assert told.action is Action.INSTALL


def test_the_newest_release_that_has_the_device_decides() -> None:
    _, told = decided([release("digits", 1), release("digits", 2)], row("digits", 1))
    assert told is not None
    assert (told.action, told.version) == (Action.INSTALL, 2)


def test_newest_is_by_start_then_id_not_by_version() -> None:
    releases = [release("digits", 2, order=1), release("digits", 1, order=2)]
    _, told = decided(releases)
    assert told is not None
    assert told.version == 1


def test_a_device_outside_the_share_keeps_the_older_release() -> None:
    place = bucket("salt", DEVICE)
    narrow = release("digits", 2, share=place / 1_000_000, salt="salt")
    wide = release("digits", 2, share=(place + 1) / 1_000_000, salt="salt")
    _, outside = decided([release("digits", 1), narrow], row("digits", 1))
    _, inside = decided([release("digits", 1), wide], row("digits", 1))
    assert outside is not None
    assert inside is not None
    assert (outside.action, inside.action) == (Action.KEEP, Action.INSTALL)


def test_targeting_sees_enrolment_overridden_by_facts() -> None:
    (plan,) = plans([release("digits", 1, attributes={"tier": "gold"})], [V1])
    silent, loud = request(), request(said=facts(attributes={"tier": "tin"}))
    assert resolve(plan, "digits", view(silent, enrolled={"tier": "gold"})) is not None
    assert resolve(plan, "digits", view(loud, enrolled={"tier": "gold"})) is None


@pytest.mark.parametrize("state", ["paused", "aborted"])
def test_a_stopped_release_takes_nobody_new(state: str) -> None:
    verdict, _ = decided([release("digits", 1, state)])
    assert verdict is None


@pytest.mark.parametrize("state", ["paused", "aborted"])
@pytest.mark.parametrize("held", HOLDS)
def test_a_stopped_release_is_kept_by_who_holds_it(state: str, held: str) -> None:
    verdict, _ = decided([release("digits", 2, state)], row("digits", 2, held))
    assert verdict is not None
    assert verdict.told is not Told.NEW


@pytest.mark.parametrize("state", ["paused", "aborted"])
def test_who_failed_a_stopped_release_goes_back_to_the_one_before(state: str) -> None:
    releases = [release("digits", 1), release("digits", 2, state)]
    _, told = decided(releases, row("digits", 2, "FAILED"))
    assert told is not None
    assert (told.action, told.version) == (Action.ROLL_BACK, 1)


@pytest.mark.parametrize("held", [*HOLDS, "FAILED"])
def test_rolled_back_sends_holders_to_the_named_version(held: str) -> None:
    verdict, told = decided(
        [release("digits", 2, "rolled_back", rollback=1)], row("digits", 2, held)
    )
    assert verdict is not None
    assert verdict.told is Told.NEW
    assert told is not None
    assert (told.action, told.version, len(told.files)) == (Action.ROLL_BACK, 1, 3)
    assert told.release_id == release("digits", 2).release_id


def test_rolled_back_to_nothing_removes_and_names_the_release() -> None:
    _, told = decided([release("digits", 2, "rolled_back")], row("digits", 2))
    assert told is not None
    assert told == TaskInstruction(
        task="digits", action=Action.REMOVE, release_id=release("digits", 2).release_id
    )


def test_rolled_back_concerns_nobody_else() -> None:
    verdict, _ = decided([release("digits", 2, "rolled_back", rollback=1)])
    assert verdict is None


def test_who_was_rolled_back_stays_when_the_older_release_is_gone() -> None:
    releases = [release("digits", 2, "rolled_back", rollback=1)]
    verdict, _ = decided(releases, row("digits", 1))
    assert verdict is not None
    assert verdict.told is Told.HELD
    pending, again = decided(releases, row("digits", 1, "PENDING"))
    assert pending is not None
    assert pending.told is Told.ASKED
    assert again is not None
    assert again.action is Action.ROLL_BACK


def test_an_older_release_that_is_rolled_back_too_goes_before_staying() -> None:
    versions = (version("digits", 3), V1, V2)
    releases = [
        release("digits", 2, "rolled_back", rollback=1),
        release("digits", 3, "rolled_back", rollback=2),
    ]
    _, told = decided(releases, row("digits", 2), versions=versions)
    assert told is not None
    assert (told.action, told.version) == (Action.ROLL_BACK, 1)


def test_a_newer_release_of_the_same_version_takes_it_up_again() -> None:
    releases = [
        release("digits", 2, "rolled_back", rollback=1),
        release("digits", 2, order=3),
    ]
    verdict, _ = decided(releases, row("digits", 2))
    assert verdict is not None
    assert verdict.told is Told.HELD


def test_a_lower_version_is_always_an_authorised_downgrade() -> None:
    _, told = decided([release("digits", 1)], row("digits", 2))
    assert told is not None
    assert (told.action, told.version) == (Action.ROLL_BACK, 1)


def test_what_does_not_fit_is_passed_over() -> None:
    demanding = version("digits", 2, requires=Requires(agent=">=9"))
    releases = [release("digits", 1), release("digits", 2)]
    _, told = decided(releases, versions=(V1, demanding))
    assert told is not None
    assert told.version == 1


def test_no_bytecode_for_the_devices_python_is_passed_over() -> None:
    verdict, _ = decided([release("digits", 1)], python_tag="cpython-314-3600")
    assert verdict is None


def test_each_python_gets_its_own_bytecode() -> None:
    both = version("digits", 1, tags=(TAG, "cpython-314-3600"))
    _, told = decided([release("digits", 1)], versions=(both,), python_tag="cpython-314-3600")
    assert told is not None
    assert told.files == bundle("digits", 1, "cpython-314-3600")


def test_no_release_and_a_row_is_a_removal() -> None:
    wide = release("digits", 2, attributes={"tier": "gold"})
    _, told = decided([wide], row("digits", 2))
    assert told == TaskInstruction(task="digits", action=Action.REMOVE)
    gone = resolve(None, "digits", view(request(rows=[row("digits", 1)])))
    assert gone is not None
    assert gone.told is Told.NEW


def test_no_release_and_no_row_is_nothing() -> None:
    assert resolve(None, "digits", view(request())) is None


def test_a_release_of_an_unknown_version_decides_nothing() -> None:
    verdict, _ = decided([release("digits", 7)])
    assert verdict is None


def test_what_a_newer_release_rolled_back_is_not_given_again_by_an_older_one() -> None:
    releases = [release("digits", 1, order=1), release("digits", 1, "rolled_back", order=2)]
    fresh, _ = decided(releases)
    assert fresh is None
    _, told = decided(releases, row("digits", 1))
    assert told is not None
    assert told.action is Action.REMOVE


def test_of_the_audience_who_was_rolled_back_stays_though_an_older_release_wants_another() -> None:
    versions = (V1, V2, version("digits", 3))
    releases = [release("digits", 2), release("digits", 3, "rolled_back", rollback=1)]
    verdict, _ = decided(releases, row("digits", 1), versions=versions)
    assert verdict is not None
    assert verdict.told is Told.HELD


def test_a_rollback_is_followed_to_where_it_ends() -> None:
    versions = (V1, V2, version("digits", 3))
    releases = [
        release("digits", 2, "rolled_back", rollback=1),
        release("digits", 3, "rolled_back", rollback=2),
    ]
    _, told = decided(releases, row("digits", 3), versions=versions)
    assert told is not None
    assert (told.action, told.version) == (Action.ROLL_BACK, 1)


def test_rollbacks_in_a_circle_remove_the_task() -> None:
    releases = [
        release("digits", 1, "rolled_back", rollback=2),
        release("digits", 2, "rolled_back", rollback=1),
    ]
    _, told = decided(releases, row("digits", 2))
    assert told == TaskInstruction(task="digits", action=Action.REMOVE)
