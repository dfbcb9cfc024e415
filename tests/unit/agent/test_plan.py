"""What a document means, and what the device admits: pure."""

import pytest

from device_agent.agent.conditions import Conditions, Network
from device_agent.agent.errors import Deferred
from device_agent.agent.plan import Done, Forget, Remove, Want, admit, plan
from device_agent.agent.settings import LocalPolicy
from device_agent.agent.store.held import TaskRow
from device_agent.tasks.director import Action, DirectorDocument, KillSwitch, TaskInstruction

TAG = "cpython-313-3571"
V1, V2 = ("sha256:" + digit * 64 for digit in "12")


def instruction(action: Action, version: int = 1, digest: str = V1) -> TaskInstruction:
    return TaskInstruction(task="echo", action=action, version=version, digest=digest)


def document(*tasks: TaskInstruction) -> DirectorDocument:
    return DirectorDocument(
        device="d",
        namespace="demo/app",
        epoch=1,
        issued_at_ms=1,
        expires_at_ms=2,
        tasks=tasks,
        kill=KillSwitch(),
    )


INSTALL = instruction(Action.INSTALL)
INSTALL_2 = instruction(Action.INSTALL, 2, V2)
HELD = TaskRow(task="echo", version=1, digest=V1, python_tag=TAG)


def test_what_is_not_held_is_wanted() -> None:
    (step,) = plan(document(INSTALL), {}, TAG)
    assert step == Want(row=TaskRow(task="echo", wanted=INSTALL), instruction=INSTALL)


def test_what_is_held_is_done() -> None:
    (step,) = plan(document(INSTALL), {"echo": HELD}, TAG)
    assert step == Done(row=HELD, instruction=INSTALL)


def test_bytecode_for_another_python_is_installed_again() -> None:
    (step,) = plan(document(INSTALL), {"echo": HELD}, "cpython-314-3600")
    assert isinstance(step, Want)


def test_a_new_document_starts_the_tries_again() -> None:
    row = TaskRow(task="echo", wanted=INSTALL, tries=5, told="FILE_DAMAGED")
    (step,) = plan(document(INSTALL), {"echo": row}, TAG)
    assert isinstance(step, Want)
    assert (step.row.tries, step.row.told) == (0, "")


def test_keep_leaves_what_is_wanted_alone_or_forgets_it() -> None:
    row = TaskRow(task="echo", version=1, digest=V1, python_tag=TAG, wanted=INSTALL_2)
    assert plan(document(instruction(Action.KEEP, 2, V2)), {"echo": row}, TAG) == []
    (step,) = plan(document(instruction(Action.KEEP)), {"echo": row}, TAG)
    assert step == Forget(row=HELD)
    assert plan(document(instruction(Action.KEEP)), {"echo": HELD}, TAG) == []


def test_a_rollback_is_an_installation_of_the_older_version() -> None:
    row = TaskRow(task="echo", version=2, digest=V2, python_tag=TAG)
    back = instruction(Action.ROLL_BACK)
    assert plan(document(back), {"echo": row}, TAG) == [
        Want(
            row=TaskRow(task="echo", version=2, digest=V2, python_tag=TAG, wanted=back),
            instruction=back,
        )
    ]


def test_a_task_that_is_not_named_stays_and_one_removed_goes() -> None:
    assert plan(document(), {"echo": HELD}, TAG) == []
    remove = instruction(Action.REMOVE, 0, "")
    assert plan(document(remove), {"echo": HELD}, TAG) == [Remove(instruction=remove)]


def deferral(
    conditions: Conditions,
    *,
    opted_out: bool = False,
    fetch: int = 1_000,
    held: int = 0,
) -> str:
    policy = LocalPolicy(battery_percent_min=20, metered_bytes_max=500, disk_quota_bytes=10_000)
    try:
        admit(
            INSTALL,
            conditions=conditions,
            policy=policy,
            opted_out=opted_out,
            fetch_bytes=fetch,
            held_bytes=held,
        )
    except Deferred as error:
        return error.reason
    return ""


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (Conditions(), ""),
        (Conditions(battery_percent=19), "BATTERY_LOW"),
        (Conditions(battery_percent=20), ""),
        (Conditions(battery_percent=1, charging=True), ""),
        (Conditions(network=Network.OFFLINE), "NETWORK_OFFLINE"),
        (Conditions(network=Network.METERED), "NETWORK_METERED"),
    ],
)
def test_the_devices_conditions(conditions: Conditions, expected: str) -> None:
    assert deferral(conditions) == expected


def test_what_need_not_be_fetched_needs_no_network() -> None:
    assert deferral(Conditions(network=Network.OFFLINE), fetch=0) == ""
    assert deferral(Conditions(network=Network.METERED), fetch=500) == ""


def test_quota_and_opt_out() -> None:
    assert deferral(Conditions(), held=9_000) == ""
    assert deferral(Conditions(), held=9_001) == "DISK_QUOTA"
    assert deferral(Conditions(), opted_out=True, fetch=0) == "OPTED_OUT"
