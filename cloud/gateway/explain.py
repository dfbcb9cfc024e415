"""Why a device gets what it gets of a task: each release in order, and what spoke for or against it. Pure.

Rules of this module:

- It asks the very functions that decide; it adds words, never a second opinion.
"""

from dataclasses import dataclass

from cloud.gateway.profile import DeviceView
from cloud.gateway.release_set import ReleasePlan, ReleaseSet
from cloud.gateway.resolve import audience_has, resolve
from cloud.rollout.machine import ReleaseState
from cloud.targeting.bucket import bucket
from device_agent.tasks.requires import missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Consideration:
    """One release, as the device saw it.

    Attributes:
        decides: It is the one that decided.
        reason: What spoke for or against it, in words.
    """

    release_id: str
    state: str
    included: bool
    decides: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a document made now would say of the task.

    Attributes:
        instruction: JSON of the instruction; empty when the task would not be named.
        releases: Newest first.
    """

    task: str
    instruction: bytes
    releases: tuple[Consideration, ...]


def explain(release_set: ReleaseSet, view: DeviceView, task: str) -> Explanation:
    """Explains."""
    plan = release_set.tasks.get(task)
    verdict = resolve(plan, task, view)
    decided = verdict.release if verdict else None
    considered = tuple(
        _consider(release, view, task, release is decided)
        for release in (plan.releases if plan else ())
    )
    return Explanation(
        task=task, instruction=verdict.instruction if verdict else b"", releases=considered
    )


def _consider(plan: ReleasePlan, view: DeviceView, task: str, decides: bool) -> Consideration:
    included = audience_has(plan, view, view.held(task))
    lacks = _lacks(plan, view) if included else ()
    reason = _audience(plan, view, task, included)
    if lacks:
        reason = f"passed over: {'; '.join(lacks)}"
    return Consideration(
        release_id=plan.release.release_id,
        state=plan.release.state.value,
        included=included and not lacks,
        decides=decides,
        reason=reason,
    )


def _lacks(plan: ReleasePlan, view: DeviceView) -> tuple[str, ...]:
    if plan.target is None or plan.target.fits(view.capabilities):
        return ()
    lacks = missing(plan.target.version.requires, view.capabilities)
    return lacks or (
        f"there is no bytecode for Python {view.capabilities.python_tag}; name it in the cloud's"
        " `pythons` and publish the task again",
    )


def _audience(plan: ReleasePlan, view: DeviceView, task: str, included: bool) -> str:
    release = plan.release
    if release.state in (ReleaseState.RUNNING, ReleaseState.COMPLETED):
        if not plan.matches(view.attributes):
            return "the device does not match the targeting"
        place = bucket(release.salt, view.device_id)
        side = "below" if included else "not below"
        return f"the device's bucket {place} is {side} the stage's share of {release.share_ppm}"
    held = view.held(task)
    holds = f"holds version {held.version}" if held else "does not hold the task"
    reach = "only devices that hold version"
    return f"{release.state.value}: {reach} {release.version} are concerned; the device {holds}"
