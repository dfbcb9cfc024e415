"""What a document means for what the device holds, and what the device itself admits: decisions only.

Rules of this module:

- A task that the document does not name stays as it is.
- An instruction that asks for what is already there is done at once; nothing is fetched twice.
- Local policy is asked each time an installation is tried, never before a removal: a device may always carry less.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from device_agent.agent.conditions import Conditions, Network
from device_agent.agent.errors import Deferred
from device_agent.agent.settings import LocalPolicy
from device_agent.agent.store.held import TaskRow
from device_agent.tasks.director import Action, DirectorDocument, TaskInstruction


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """Put the instruction into the task's row; installing follows."""

    row: TaskRow
    instruction: TaskInstruction


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """It is there already: say so."""

    row: TaskRow
    instruction: TaskInstruction


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """The cloud no longer wants what was wanted; what runs goes on."""

    row: TaskRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Take the task off this device."""

    instruction: TaskInstruction


Step = Want | Done | Forget | Remove


def plan(
    document: DirectorDocument, held: Mapping[str, TaskRow], python_tag: str
) -> Sequence[Step]:
    """The steps of a document, in its order."""
    steps = [_step(instruction, held, python_tag) for instruction in document.tasks]
    return [step for step in steps if step is not None]


def _step(
    instruction: TaskInstruction, held: Mapping[str, TaskRow], python_tag: str
) -> Step | None:
    row = held.get(instruction.task, TaskRow(task=instruction.task))
    match instruction.action:
        case Action.REMOVE:
            return Remove(instruction=instruction)
        case Action.KEEP:
            return _kept(row, instruction)
        case Action.INSTALL | Action.ROLL_BACK:
            if is_held(row, instruction, python_tag):
                return Done(row=settled(row), instruction=instruction)
            wanted = replace(row, wanted=instruction, tries=0, told="")
            return Want(row=wanted, instruction=instruction)


def _kept(row: TaskRow, instruction: TaskInstruction) -> Step | None:
    if row.wanted is None or row.wanted.version == instruction.version:
        return None
    return Forget(row=settled(row))


def is_held(row: TaskRow, instruction: TaskInstruction, python_tag: str) -> bool:
    """Whether just this version runs here, with bytecode for this Python."""
    return (row.digest, row.python_tag) == (instruction.digest, python_tag)


def settled(row: TaskRow) -> TaskRow:
    """The row with nothing wanted."""
    return replace(row, wanted=None, tries=0, told="")


def admit(
    instruction: TaskInstruction,
    *,
    conditions: Conditions,
    policy: LocalPolicy,
    opted_out: bool,
    fetch_bytes: int,
    held_bytes: int,
) -> None:
    """Whether this device admits an installation now.

    Args:
        instruction: What is to be installed.
        conditions: Battery and network as they are.
        policy: What the device's owner set.
        opted_out: The owner refuses this task.
        fetch_bytes: What has to be fetched for it.
        held_bytes: What the bundles on disk take already.

    Raises:
        Deferred: not now; its `reason` is acknowledged.
    """
    task = instruction.task
    if opted_out:
        raise Deferred("OPTED_OUT", f"the device's owner opted out of {task}")
    battery = conditions.battery_percent
    if battery is not None and not conditions.charging and battery < policy.battery_percent_min:
        raise Deferred(
            "BATTERY_LOW", f"battery at {battery} %, {policy.battery_percent_min} % are needed"
        )
    if fetch_bytes and conditions.network is Network.OFFLINE:
        raise Deferred("NETWORK_OFFLINE", "no network")
    metered = conditions.network is Network.METERED
    if metered and fetch_bytes > policy.metered_bytes_max:
        raise Deferred("NETWORK_METERED", f"{fetch_bytes} bytes are too many for a metered network")
    if held_bytes + fetch_bytes > policy.disk_quota_bytes:
        raise Deferred(
            "DISK_QUOTA", f"{held_bytes} + {fetch_bytes} bytes pass {policy.disk_quota_bytes}"
        )
