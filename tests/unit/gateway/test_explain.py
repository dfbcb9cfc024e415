"""Why a device gets what it gets: the words agree with the decision."""

import msgspec

from cloud.gateway.explain import explain
from device_agent.tasks.director import Action, TaskInstruction
from device_agent.tasks.manifest import Requires
from tests.helpers.release_sets import facts, release, release_set, request, row, version, view

VERSIONS = [
    version("digits", 1),
    version("digits", 2, requires=Requires(agent=">=9")),
    version("digits", 3),
    version("digits", 4),
]
RELEASES = [
    release("digits", 1),
    release("digits", 2),
    release("digits", 3, attributes={"tier": "gold"}),
    release("digits", 4, "paused"),
    release("digits", 3, share=0.0, order=5),
]


def test_each_release_says_what_spoke_for_or_against_it() -> None:
    told = explain(
        release_set(RELEASES, VERSIONS), view(request(rows=[row("digits", 1)])), "digits"
    )
    instruction = msgspec.json.decode(told.instruction, type=TaskInstruction)
    assert (instruction.action, instruction.version) == (Action.KEEP, 1)
    words = [(one.included, one.decides, one.reason) for one in told.releases]
    assert [one.decides for one in told.releases] == [False, False, False, False, True]
    assert "is not below" in words[0][2]
    assert words[1][2].startswith("paused: only devices that hold version 4")
    assert words[1][2].endswith("the device holds version 1")
    assert words[2][2] == "the device does not match the targeting"
    assert words[3][2] == "passed over: agent 0.1.0 is not >=9"
    assert words[4][0]


def test_a_python_without_bytecode_is_named() -> None:
    said = request(said=facts(python_tag="cpython-399-1"))
    told = explain(release_set([release("digits", 1)], VERSIONS), view(said), "digits")
    assert "no bytecode for Python cpython-399-1; name it" in told.releases[0].reason
    assert told.instruction == b""


def test_a_task_that_nobody_releases() -> None:
    told = explain(release_set(), view(request(rows=[row("digits", 1)])), "digits")
    assert told.releases == ()
    assert b"remove" in told.instruction
