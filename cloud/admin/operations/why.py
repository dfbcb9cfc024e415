"""Why a device gets what it gets: the gateway's own explanation, for the device as the database last saw it. Pure.

Rules of this module:

- What the device said last is put back into the form of a Sync, so that the very functions that answer Syncs explain.
"""

import json
from collections.abc import Mapping
from typing import Any, Protocol, cast

from google.protobuf.json_format import ParseDict
from shoal.device.v1 import device_pb2

from cloud.admin.errors import NotReady
from cloud.admin.operations.lists import Row
from cloud.admin.operations.views import ReleaseReason, WhyView
from cloud.gateway.explain import explain
from cloud.gateway.profile import DeviceView
from cloud.gateway.release_set import ReleaseSet

UNTOLD = "the device is told nothing of this task"


class Sets(Protocol):
    """Where release sets come from: cloud.gateway.follower.Follower."""

    def set_for(self, namespace: str) -> ReleaseSet | None:
        """The newest release set of a namespace."""
        ...


def sync_of(row: Row) -> device_pb2.SyncRequest:
    """The Sync that a device's row was written from."""
    request = device_pb2.SyncRequest(epoch=row["epoch"])
    ParseDict(dict(row["facts"]), request.facts, ignore_unknown_fields=True)
    for task, held in row["installed"].items():
        installed = request.installed.add()
        installed.version.task = task
        installed.version.version = int(held["version"])
        installed.version.digest = str(held["digest"])
        installed.state = _state(str(held["state"]))
    return request


def _state(name: str) -> device_pb2.TaskState:
    for value in device_pb2.TaskState.DESCRIPTOR.values:
        if value.name == f"TASK_STATE_{name.upper()}":
            return cast("device_pb2.TaskState", value.number)
    return device_pb2.TASK_STATE_UNSPECIFIED


def explain_row(release_set: ReleaseSet | None, row: Row, task: str) -> WhyView:
    """Explains what the device of this row would be told of a task.

    Raises:
        NotReady: The release set of the namespace is not loaded.
    """
    if release_set is None:
        raise NotReady("the namespace's releases are not loaded yet: try again in a moment")
    view = DeviceView.of(row["device_id"], sync_of(row), row["attributes"])
    told = explain(release_set, view, task)
    instruction = json.loads(told.instruction) if told.instruction else None
    releases = tuple(
        ReleaseReason(
            release_id=one.release_id,
            state=one.state,
            included=one.included,
            decides=one.decides,
            reason=one.reason,
        )
        for one in told.releases
    )
    return WhyView(
        device_id=row["device_id"],
        task=task,
        decision=_decision(release_set, row, task, instruction),
        instruction=instruction,
        releases=releases,
    )


def _decision(
    release_set: ReleaseSet, row: Row, task: str, instruction: Mapping[str, Any] | None
) -> str:
    if row["device_id"] in release_set.revoked:
        return "the device is revoked: it is refused"
    if instruction is None:
        return UNTOLD
    version = instruction.get("version", 0)
    return f"{instruction['action']} {task}" + (f" version {version}" if version else "")
