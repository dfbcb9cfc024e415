"""What one device shall hold of one task: the newest release whose audience has it decides. Pure.

Rules of this module:

- Running and completed: the targeting matches and the bucket is below the stage's share.
- Paused and aborted: only devices that hold the version, installed or on its way. Nobody new, nobody loses it.
- Rolled back: devices that hold the version, or failed to, go to the rollback version. Of the release's former audience
  those already there stay; so do others that no release has, for what first brought the old version may be gone.
- A release whose version does not fit the device (`requires`, no bytecode for its Python) is passed over.
- No release decides and the device has a row: the task is removed.
- The answer is final: a device that does what it is told would be told to keep it. So a rollback is followed to where
  it ends, and one that goes in a circle removes the task.
- To a lower version than the row's the way is always `roll_back`: the director authorises every downgrade it signs.
"""

import enum

import msgspec

from cloud.gateway.profile import INSTALLED, DeviceView, Held
from cloud.gateway.release_set import ReleasePlan, TaskPlan, removal_of
from cloud.rollout.machine import ReleaseState
from cloud.targeting.bucket import BUCKETS, bucket

_OPEN = frozenset((ReleaseState.RUNNING, ReleaseState.COMPLETED))


class Told(enum.Enum):
    """How a verdict stands to what the device's newest document already told it."""

    # The version is there.
    HELD = enum.auto()
    # The document asks for just this; it is pending or failed.
    ASKED = enum.auto()
    # Something else.
    NEW = enum.auto()


class Verdict(msgspec.Struct, frozen=True):
    """What shall become of a task.

    Attributes:
        told: Whether a new document is needed for it.
        instruction: JSON for a document that is made anyway or for this.
        release: The release that decided; None for a removal that no release asked for.
    """

    told: Told
    instruction: bytes
    release: ReleasePlan | None


def resolve(plan: TaskPlan | None, task: str, view: DeviceView) -> Verdict | None:
    """Decides; None when the task is none of the device's business.

    Args:
        plan: The task's plan; None when it has no active release.
    """
    held = view.held(task)
    release = _final(plan, view, held) if plan is not None else None
    if release is not None:
        return _verdict(release, view, held)
    if held is None:
        return None
    return Verdict(Told.NEW, plan.remove if plan else removal_of(task), None)


def _final(plan: TaskPlan, view: DeviceView, held: Held | None) -> ReleasePlan | None:
    """The release that decides, rollbacks followed to where they end."""
    release = _decider(plan, view, held)
    seen: set[int] = set()
    while release is not None and _moves(release, held):
        if release.target is None:
            return _decider(plan, view, None) or release
        version = release.target.version
        if version.number in seen:
            return None
        seen.add(version.number)
        held = Held(version.number, version.digest, INSTALLED)
        release = _decider(plan, view, held)
    return release


def _decider(plan: TaskPlan, view: DeviceView, held: Held | None) -> ReleasePlan | None:
    """The newest release that has the device, else the newest rollback that brought it where it is."""
    for release in plan.releases:
        if audience_has(release, view, held) and _fits(release, view):
            return release
    if held is not None:
        for release in plan.releases:
            if release.anchors and _is_there(release, held) and _fits(release, view):
                return release
    return None


def _moves(plan: ReleasePlan, held: Held | None) -> bool:
    """Whether it is a rollback that sends the device elsewhere."""
    rolled_back = plan.release.state is ReleaseState.ROLLED_BACK
    return rolled_back and (held is None or not _is_there(plan, held))


def audience_has(plan: ReleasePlan, view: DeviceView, held: Held | None) -> bool:
    """Whether the release's audience has the device."""
    release = plan.release
    if release.state in _OPEN:
        return _reaches(plan, view)
    if held is None:
        return False
    if release.state is ReleaseState.ROLLED_BACK:
        stays = plan.anchors and _is_there(plan, held) and _reaches(plan, view)
        return stays or held.version == release.version
    return held.version == release.version and not held.failed


def _reaches(plan: ReleasePlan, view: DeviceView) -> bool:
    """Whether the device is of those that the release was for, by bucket and targeting."""
    share_ppm = plan.release.share_ppm
    if share_ppm < BUCKETS and bucket(plan.release.salt, view.device_id) >= share_ppm:
        return False
    return plan.everyone or plan.matches(view.attributes)


def _is_there(plan: ReleasePlan, held: Held) -> bool:
    return held.version == plan.release.rollback_version


def _fits(plan: ReleasePlan, view: DeviceView) -> bool:
    return plan.target is None or plan.target.fits(view.capabilities)


def _verdict(plan: ReleasePlan, view: DeviceView, held: Held | None) -> Verdict:
    if plan.target is None:
        return Verdict(Told.NEW, plan.remove, plan)
    version = plan.target.version
    tag = view.capabilities.python_tag
    rolled_back = plan.release.state is ReleaseState.ROLLED_BACK
    instructions = plan.roll_back if rolled_back else plan.install
    if held is None:
        return Verdict(Told.NEW, instructions[tag], plan)
    if held.version == version.number and held.digest == version.digest:
        if held.steady:
            return Verdict(Told.HELD, plan.target.keep, plan)
        return Verdict(Told.ASKED, instructions[tag], plan)
    if version.number < held.version:
        instructions = plan.roll_back
    return Verdict(Told.NEW, instructions[tag], plan)
