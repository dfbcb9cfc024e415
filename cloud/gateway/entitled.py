"""Whether an exclusive file is for a device: it belongs to what the device holds, or to what it shall hold. Pure.

Rules of this module:

- The same resolution as in a document decides; a digest alone entitles nobody.
- A version that the device holds or was told to fetch stays open to it until its release moves it away.
- What the device says that it holds is only its word. Some release must have brought the version to the device's
  bucket, which it cannot choose; shares never shrink, so that whoever was reached stays reached.
"""

from cloud.gateway.profile import DeviceView
from cloud.gateway.release_set import ReleaseSet, TaskPlan, Version
from cloud.gateway.resolve import resolve
from cloud.targeting.bucket import in_share
from device_agent.tasks.director import Scope


def is_entitled(release_set: ReleaseSet, view: DeviceView, digest: str) -> bool:
    """Whether some version that the device holds or shall hold has this exclusive file."""
    return any(
        _for_device(plan, view, digest)
        for plan in release_set.tasks.values()
        if digest in plan.exclusive
    )


def _for_device(plan: TaskPlan, view: DeviceView, digest: str) -> bool:
    tag = view.capabilities.python_tag
    held = view.held(plan.task)
    versions = []
    if held is not None and held.version in plan.versions:
        versions.append(plan.versions[held.version].version)
    verdict = resolve(plan, plan.task, view)
    if verdict is not None and verdict.release is not None and verdict.release.target is not None:
        versions.append(verdict.release.target.version)
    return any(
        _has(version, tag, digest) and _was_brought(plan, version.number, view.device_id)
        for version in versions
    )


def _was_brought(plan: TaskPlan, number: int, device_id: str) -> bool:
    """Whether a release installed the version, or returned to it, in the device's bucket."""
    releases = (one.release for one in plan.releases)
    return any(
        number in (release.version, release.rollback_version)
        and in_share(release.salt, device_id, release.share_ppm)
        for release in releases
    )


def _has(version: Version, tag: str, digest: str) -> bool:
    return any(
        file.digest == digest and file.scope is Scope.EXCLUSIVE
        for file in version.bundles.get(tag, ())
    )
