"""Between shoal.admin.v1 and the operations' views. Pure.

Rules of this module:

- States and commands have one name in both worlds; the wire's prefix is all that differs.
- A time that is missing stays unset.
"""

from google.protobuf.timestamp_pb2 import Timestamp
from shoal.admin.v1 import admin_pb2 as wire

from cloud.admin.errors import ArgumentInvalid
from cloud.admin.operations.releases import NewRelease
from cloud.admin.operations.views import (
    DeviceView,
    ReleaseView,
    StageView,
    TargetingView,
    TaskView,
)

STATE, COMMAND = "RELEASE_STATE_", "RELEASE_COMMAND_"


def timestamp(at_ms: int | None) -> Timestamp | None:
    """A time on the wire."""
    if at_ms is None:
        return None
    made = Timestamp()
    made.FromMilliseconds(at_ms)
    return made


def task_message(task: TaskView) -> wire.Task:
    """A task on the wire."""
    return wire.Task(
        name=task.name,
        latest_version=task.latest_version,
        digest=task.digest,
        published_by=task.published_by,
        published_at=timestamp(task.published_at_ms),
    )


def release_message(release: ReleaseView) -> wire.Release:
    """A release on the wire."""
    coverage = release.coverage
    return wire.Release(
        id=release.id,
        task=release.task,
        version=release.version,
        state=STATE + release.state.upper(),
        targeting=wire.Targeting(attributes=dict(release.targeting.attributes)),
        stages=[
            wire.Stage(share_ppm=stage.share_ppm, promote_at_ppm=stage.promote_at_ppm)
            for stage in release.stages
        ],
        stage_index=release.stage_index,
        coverage=wire.Coverage(
            targeted=coverage.targeted,
            notified=coverage.notified,
            installed=coverage.installed,
            failed=coverage.failed,
        ),
        rollback_version=release.rollback_version,
        created_at=timestamp(release.created_at_ms),
        created_by=release.created_by,
        revision=release.revision,
    )


def device_message(device: DeviceView) -> wire.Device:
    """A device on the wire."""
    attributes = {name: str(value) for name, value in device.attributes.items()}
    return wire.Device(
        id=device.id,
        attributes=attributes,
        last_seen_at=timestamp(device.last_seen_at_ms),
        epoch=device.epoch,
        revoked=device.revoked_at_ms is not None,
    )


def new_release(request: wire.CreateReleaseRequest) -> NewRelease:
    """What a request asks for; on the wire, rollback version 0 means "the one that ran before"."""
    return NewRelease(
        task=request.task,
        version=request.version,
        targeting=TargetingView(attributes=dict(request.targeting.attributes)),
        stages=tuple(
            StageView(share_ppm=stage.share_ppm, promote_at_ppm=stage.promote_at_ppm)
            for stage in request.stages
        ),
        rollback_version=request.rollback_version or None,
        start=request.start,
    )


def command_name(command: wire.ReleaseCommand) -> str:
    """A command by its name.

    Raises:
        ArgumentInvalid: It was not set, or is of a newer version.
    """
    known = {value.number: value.name for value in wire.ReleaseCommand.DESCRIPTOR.values}
    name = known.get(int(command), "")
    if not name or command == wire.RELEASE_COMMAND_UNSPECIFIED:
        raise ArgumentInvalid("command: set one of start, pause, resume, abort, promote, roll back")
    return name.removeprefix(COMMAND).lower()
