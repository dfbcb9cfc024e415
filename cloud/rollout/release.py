"""A release as people see it, and the draft that one is made from. Pure.

Rules of this module:

- A draft is checked whole before anything is stored; the message names the field and the limit.
- Counts are of devices that are enrolled, not revoked and match; a device that no longer matches is not counted.
"""

import dataclasses
from collections.abc import Mapping

from cloud.rollout.errors import ReleaseInvalid
from cloud.rollout.machine import PPM, Counts, ReleaseState, Stage
from cloud.rollout.settings import RolloutSettings
from cloud.targeting.targeting import Targeting
from device_agent.tasks.names import check_task_name

EVERYONE = (Stage(share_ppm=PPM),)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseDraft:
    """What an operator asks for.

    Attributes:
        task: Name.
        version: Published version.
        targeting: Whom it is for.
        stages: Shares strictly growing; empty is one stage of 100 %.
        rollback_version: Where a rollback leads; 0 removes the task; None takes what the release before it runs.
        sticky: Draw the stages by the task's name, so that the same devices come first in every release of it;
            otherwise each release draws afresh.
        start: Start at once.
    """

    task: str
    version: int
    targeting: Targeting = dataclasses.field(default_factory=Targeting)
    stages: tuple[Stage, ...] = ()
    rollback_version: int | None = None
    sticky: bool = False
    start: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How far a release has come.

    Attributes:
        targeted: Devices of the stage that is out; 0 before the start.
        notified: Of these, how many accepted a document that names it.
        installed: Of these, how many hold it.
        failed: Of these, how many failed to install it.
        stages: The same for each stage, as if it were out: devices of its share.
    """

    targeted: int = 0
    notified: int = 0
    installed: int = 0
    failed: int = 0
    stages: tuple[Counts, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A release = task version + targeting + stages."""

    id: str
    namespace: str
    task: str
    version: int
    state: ReleaseState
    targeting: Targeting
    stages: tuple[Stage, ...]
    stage_index: int
    coverage: Coverage
    rollback_version: int
    salt: str
    traceparent: str
    created_at_ms: int
    created_by: str
    started_at_ms: int | None
    revision: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReleasePage:
    """Releases, newest first."""

    releases: tuple[Release, ...]
    next_page_token: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseEvent:
    """One entry of a release's log.

    Attributes:
        revision: Place in the log, from 1.
        actor: Who caused it; "cloud" for what happened by itself.
        event: The entry as JSON, by its "type".
        state: Where the release stood afterwards.
        stage_index: Which stage was out afterwards; -1 before the start.
        message: The same in a sentence, for people.
    """

    revision: int
    at_ms: int
    actor: str
    event: Mapping[str, object]
    state: ReleaseState
    stage_index: int
    message: str


def cover(counts: tuple[Counts, ...], stage_index: int) -> Coverage:
    """Coverage from counts by cohort: a stage has the devices of its cohort and of all before it."""
    stages: list[Counts] = []
    for row in counts:
        stages.append(row + stages[-1] if stages else row)
    reached = stages[stage_index] if stage_index >= 0 else Counts()
    return Coverage(
        targeted=reached.targeted,
        notified=reached.notified,
        installed=reached.installed,
        failed=reached.failed,
        stages=tuple(stages),
    )


def check_draft(draft: ReleaseDraft, settings: RolloutSettings) -> tuple[Stage, ...]:
    """The draft's stages, checked.

    Raises:
        ReleaseInvalid: A stage or version breaks a rule.
        NameInvalid: The task's name does.
    """
    check_task_name(draft.task)
    if draft.version < 1:
        raise ReleaseInvalid(f"version {draft.version} does not exist; versions begin with 1")
    if draft.rollback_version is not None and draft.rollback_version < 0:
        raise ReleaseInvalid("rollback_version must be a version, or 0 to remove the task")
    if draft.rollback_version == draft.version:
        raise ReleaseInvalid(
            f"rollback_version is the version released, {draft.version}; name an older one or 0"
        )
    stages = draft.stages or EVERYONE
    if len(stages) > settings.stages_max:
        raise ReleaseInvalid(f"{len(stages)} stages; at most {settings.stages_max} fit")
    _check_shares(stages)
    return stages


def _check_shares(stages: tuple[Stage, ...]) -> None:
    below = 0
    for number, stage in enumerate(stages, start=1):
        if not below < stage.share_ppm <= PPM:
            raise ReleaseInvalid(
                f"stage {number}: share_ppm is {stage.share_ppm}; it must lie above the stage "
                f"before it ({below}) and at most at {PPM}, which is 100 %"
            )
        if not 0 <= stage.promote_at_ppm <= PPM:
            raise ReleaseInvalid(
                f"stage {number}: promote_at_ppm is {stage.promote_at_ppm}; it must lie between "
                f"0 (wait for the operator) and {PPM}"
            )
        below = stage.share_ppm
