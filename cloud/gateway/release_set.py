"""The release set of one namespace: everything that a Sync is answered from, as one immutable snapshot. Pure.

Rules of this module:

- A snapshot is never mutated; a change makes a new one that shares what did not change.
- Whatever does not depend on the device is worked out here, once: matchers, JSON of instructions, order of releases.
- Newest first is (started_at_ms, release_id) descending.
- A version that a release rolled back is not given again by an older release: those are left out. A newer one may.
- JSON fragments are those of device_agent.tasks.director; the parity tests decode every one of them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import msgspec

from cloud.gateway.change_log import CHANGES_MAX, ChangeLog
from cloud.gateway.wire import varint_field
from cloud.rollout.machine import ReleaseState
from cloud.targeting.targeting import Matcher, Targeting, compile_matcher
from device_agent.tasks.director import Action, BundleFile, KillSwitch, Scope, TaskInstruction
from device_agent.tasks.manifest import Requires
from device_agent.tasks.requires import Capabilities, missing

CAPABILITIES_MAX = 4096
# Field number of SyncResponse.epoch.
_EPOCH = 1
_encode = msgspec.json.Encoder().encode


# States in which a release decides anything for a device.
ACTIVE = frozenset(
    (
        ReleaseState.RUNNING,
        ReleaseState.PAUSED,
        ReleaseState.COMPLETED,
        ReleaseState.ABORTED,
        ReleaseState.ROLLED_BACK,
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A published version of a task and what it is made of for each Python.

    Attributes:
        bundles: Files by bytecode tag; a device whose tag is not there cannot run the version.
    """

    task: str
    number: int
    digest: str
    requires: Requires
    bundles: Mapping[str, tuple[BundleFile, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """An active release, as the store has it.

    Attributes:
        share_ppm: Millionths of the matching devices that the stage now out is for.
        rollback_version: Where ROLLED_BACK sends the devices that hold `version`; 0 removes the task.
    """

    release_id: str
    task: str
    version: int
    state: ReleaseState
    targeting: Targeting
    share_ppm: int
    salt: str
    rollback_version: int = 0
    traceparent: str = ""
    started_at_ms: int = 0


class VersionPlan:
    """A version with the JSON of `keep` and a memory of which capabilities fit it."""

    __slots__ = ("_fits", "keep", "version")

    def __init__(self, version: Version) -> None:
        self.version = version
        self.keep = _instruction(version.task, Action.KEEP, version)
        self._fits: dict[Capabilities, bool] = {}

    def fits(self, capabilities: Capabilities) -> bool:
        """Whether such a device can run it and there is bytecode for it."""
        known = self._fits.get(capabilities)
        if known is None:
            known = capabilities.python_tag in self.version.bundles and not missing(
                self.version.requires, capabilities
            )
            if len(self._fits) >= CAPABILITIES_MAX:
                self._fits.clear()
            self._fits[capabilities] = known
        return known


class ReleasePlan:
    """A release with its matcher and the JSON of what it may tell a device."""

    __slots__ = (
        "anchors",
        "everyone",
        "install",
        "matches",
        "release",
        "remove",
        "roll_back",
        "target",
    )

    def __init__(self, release: Release, target: VersionPlan | None, anchors: bool = False) -> None:
        self.release = release
        # Rolled back, and the rollback version stands: who was sent there stays there.
        self.anchors = anchors
        # What a device shall hold: the rollback version once rolled back; None is nothing.
        self.target = target
        # No attribute is asked for: then a device's need not even be put together.
        self.everyone = not release.targeting.attributes
        self.matches: Matcher = compile_matcher(release.targeting)
        self.install = _by_tag(release, target, Action.INSTALL)
        self.roll_back = _by_tag(release, target, Action.ROLL_BACK)
        self.remove = _encode(
            TaskInstruction(
                task=release.task,
                action=Action.REMOVE,
                release_id=release.release_id,
                traceparent=release.traceparent,
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPlan:
    """The active releases of one task, newest first, and its versions that they speak of."""

    task: str
    releases: tuple[ReleasePlan, ...]
    versions: Mapping[int, VersionPlan]
    remove: bytes
    # Digests of its files that need a ticket.
    exclusive: frozenset[str]

    @classmethod
    def build(
        cls, task: str, releases: Iterable[Release], versions: Iterable[Version]
    ) -> "TaskPlan":
        """Works out a task; a release whose version is not among `versions` decides nothing and is left out."""
        plans = {version.number: VersionPlan(version) for version in versions}
        ordered = sorted(releases, key=lambda r: (r.started_at_ms, r.release_id), reverse=True)
        assert all(release.task == task and release.state in ACTIVE for release in ordered)
        standing = _standing(ordered)
        barred = _barred(standing)
        compiled = [
            ReleasePlan(release, plans.get(wanted), _anchors(release, barred))
            for release in standing
            if (wanted := _wanted_version(release)) == 0 or wanted in plans
        ]
        return cls(
            task=task,
            releases=tuple(compiled),
            versions=plans,
            remove=removal_of(task),
            exclusive=_exclusive(plan.version for plan in plans.values()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseSet:
    """A snapshot.

    Attributes:
        epoch: Epoch of the namespace that this is the state of, or newer than.
        log: Tasks that changed, by epoch.
        kill_epoch: Epoch of the last change of the kill switch, as far as known: a device before it needs a document.
        stepping: Whether a release is on its way, so that devices should come back sooner.
    """

    namespace: str
    epoch: int
    tasks: Mapping[str, TaskPlan]
    kill: KillSwitch
    kill_epoch: int
    revoked: frozenset[str]
    log: ChangeLog
    stepping: bool
    kill_json: bytes = field(repr=False)
    # The answer's epoch, encoded.
    epoch_field: bytes = field(repr=False)

    @classmethod
    def build(
        cls,
        *,
        namespace: str,
        epoch: int,
        tasks: Iterable[TaskPlan],
        kill: KillSwitch,
        kill_epoch: int,
        revoked: Iterable[str],
        log: ChangeLog,
    ) -> "ReleaseSet":
        """The snapshot of a namespace that was read in full."""
        plans = {plan.task: plan for plan in tasks if plan.releases}
        return cls(
            namespace=namespace,
            epoch=epoch,
            tasks=plans,
            kill=kill,
            kill_epoch=kill_epoch,
            revoked=frozenset(revoked),
            log=log,
            stepping=_is_stepping(plans),
            kill_json=_encode(kill),
            epoch_field=varint_field(_EPOCH, epoch),
        )

    def advanced(
        self,
        *,
        epoch: int,
        changes: Iterable[tuple[int, str]] = (),
        tasks: Iterable[TaskPlan] = (),
        kill: KillSwitch | None = None,
        revoked: frozenset[str] | None = None,
        changes_max: int = CHANGES_MAX,
    ) -> "ReleaseSet":
        """The snapshot after later changes: (epoch, task) each, with every changed task's new plan.

        Args:
            kill: The switch as it is now, when it changed; None when it did not.
        """
        assert epoch > self.epoch
        plans = dict(self.tasks)
        for plan in tasks:
            plans.pop(plan.task, None)
            if plan.releases:
                plans[plan.task] = plan
        switch = self.kill if kill is None else kill
        return replace(
            self,
            epoch=epoch,
            tasks=plans,
            kill=switch,
            kill_epoch=self.kill_epoch if kill is None else epoch,
            revoked=self.revoked if revoked is None else revoked,
            log=self.log.extended(changes, changes_max),
            stepping=_is_stepping(plans),
            kill_json=_encode(switch),
            epoch_field=varint_field(_EPOCH, epoch),
        )


def removal_of(task: str) -> bytes:
    """JSON of the instruction that takes a task away because no release asks for it."""
    return _encode(TaskInstruction(task=task, action=Action.REMOVE))


def _exclusive(versions: Iterable[Version]) -> frozenset[str]:
    return frozenset(
        file.digest
        for version in versions
        for files in version.bundles.values()
        for file in files
        if file.scope is Scope.EXCLUSIVE
    )


def _is_stepping(plans: Mapping[str, TaskPlan]) -> bool:
    return any(
        plan.release.state is ReleaseState.RUNNING
        for task in plans.values()
        for plan in task.releases
    )


def _standing(newest_first: Iterable[Release]) -> list[Release]:
    """The releases without those whose version a newer one rolled back."""
    barred: set[int] = set()
    standing: list[Release] = []
    for release in newest_first:
        if release.state is ReleaseState.ROLLED_BACK:
            barred.add(release.version)
            standing.append(release)
        elif release.version not in barred:
            standing.append(release)
    return standing


def _barred(standing: Iterable[Release]) -> frozenset[int]:
    """Versions that were rolled back and that no newer release took up again."""
    taken_up: set[int] = set()
    barred: set[int] = set()
    for release in standing:
        if release.state is not ReleaseState.ROLLED_BACK:
            taken_up.add(release.version)
        elif release.version not in taken_up:
            barred.add(release.version)
    return frozenset(barred)


def _anchors(release: Release, barred: frozenset[int]) -> bool:
    rolled_back = release.state is ReleaseState.ROLLED_BACK
    return rolled_back and release.rollback_version not in barred


def _wanted_version(release: Release) -> int:
    rolled_back = release.state is ReleaseState.ROLLED_BACK
    return release.rollback_version if rolled_back else release.version


def _by_tag(release: Release, target: VersionPlan | None, action: Action) -> Mapping[str, bytes]:
    if target is None:
        return {}
    return {
        tag: _instruction(release.task, action, target.version, release, files)
        for tag, files in target.version.bundles.items()
    }


def _instruction(
    task: str,
    action: Action,
    version: Version,
    release: Release | None = None,
    files: tuple[BundleFile, ...] = (),
) -> bytes:
    return _encode(
        TaskInstruction(
            task=task,
            action=action,
            version=version.number,
            digest=version.digest,
            release_id=release.release_id if release else "",
            traceparent=release.traceparent if release else "",
            files=files,
        )
    )
