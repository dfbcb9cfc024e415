"""Release sets and requests for tests: small, readable, every field with a default.

versions = [version("digits", 1), version("digits", 2)]
releases = [release("digits", 1), release("digits", 2, share=0.4)]
decide(release_set(releases, versions, epoch=5), view("ab" * 16, request(epoch=1, rows=[row("digits", 1)])), 1)
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from shoal.device.v1 import device_pb2
from shoal.identity.v1 import identity_pb2

from cloud.gateway.change_log import ChangeLog
from cloud.gateway.decide import Decision
from cloud.gateway.profile import DeviceView
from cloud.gateway.release_set import Release, ReleaseSet, TaskPlan, Version
from cloud.rollout.machine import ReleaseState
from cloud.targeting.targeting import Targeting
from device_agent.tasks.director import BundleFile, KillSwitch, Scope, TaskInstruction
from device_agent.tasks.manifest import Requires

NAMESPACE = "demo/digits-app"
TAG = "cpython-313-3571"
DEVICE = "0123456789abcdef0123456789abcdef"


def digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def bundle(task: str, number: int, tag: str, scope: Scope = Scope.SHARED) -> tuple[BundleFile, ...]:
    files = []
    for path, name in (("code.bin", tag), ("manifest.json", ""), ("model.bin", "")):
        content = digest(f"{task}/{number}/{path}/{name}")
        target = f"{NAMESPACE}/{task}/{number}/{content.removeprefix('sha256:')}"
        files.append(
            BundleFile(
                path=path,
                digest=content,
                size=100 + number,
                scope=scope if path == "model.bin" else Scope.SHARED,
                target=target,
            )
        )
    return tuple(files)


def version(
    task: str,
    number: int,
    *,
    tags: Sequence[str] = (TAG,),
    requires: Requires | None = None,
    scope: Scope = Scope.SHARED,
) -> Version:
    return Version(
        task=task,
        number=number,
        digest=digest(f"{task}/{number}"),
        requires=requires or Requires(),
        bundles={tag: bundle(task, number, tag, scope) for tag in tags},
    )


def release(
    task: str,
    number: int,
    state: str = "running",
    *,
    share: float = 1.0,
    attributes: Mapping[str, str] | None = None,
    rollback: int = 0,
    order: int | None = None,
    salt: str = "",
    traceparent: str = "",
) -> Release:
    """A release named after its place in order: by default the version's number."""
    place = number if order is None else order
    return Release(
        release_id=f"r{place:018d}{digest(task)[7:15]}",
        task=task,
        version=number,
        state=ReleaseState(state),
        targeting=Targeting(attributes=attributes or {}),
        share_ppm=round(share * 1_000_000),
        salt=salt or f"{task}-{place}",
        rollback_version=rollback,
        traceparent=traceparent,
        started_at_ms=place,
    )


def plans(releases: Iterable[Release], versions: Iterable[Version]) -> list[TaskPlan]:
    releases, versions = list(releases), list(versions)
    names = sorted({r.task for r in releases} | {v.task for v in versions})
    return [
        TaskPlan.build(
            name,
            [r for r in releases if r.task == name],
            [v for v in versions if v.task == name],
        )
        for name in names
    ]


def release_set(
    releases: Iterable[Release] = (),
    versions: Iterable[Version] = (),
    *,
    epoch: int = 100,
    floor: int = 0,
    changes: Sequence[tuple[int, str]] = (),
    kill: KillSwitch | None = None,
    kill_epoch: int = 0,
    revoked: Iterable[str] = (),
) -> ReleaseSet:
    return ReleaseSet.build(
        namespace=NAMESPACE,
        epoch=epoch,
        tasks=plans(releases, versions),
        kill=kill or KillSwitch(),
        kill_epoch=kill_epoch,
        revoked=revoked,
        log=ChangeLog(floor=floor).extended(changes),
    )


def row(task: str, number: int, state: str = "INSTALLED") -> device_pb2.InstalledTask:
    held = identity_pb2.TaskVersion(task=task, version=number, digest=digest(f"{task}/{number}"))
    return device_pb2.InstalledTask(version=held, state=f"TASK_STATE_{state}")


def facts(**changed: object) -> identity_pb2.DeviceFacts:
    known: dict[str, object] = {
        "agent_version": "0.1.0",
        "guest_api": 1,
        "op_set": 1,
        "python_tag": TAG,
        "cpu_features": ["avx2"],
        "os": "linux",
        "os_version": "6.1",
    }
    return identity_pb2.DeviceFacts(**(known | changed))  # type: ignore[arg-type]  # fields by name


def request(
    epoch: int = 0,
    rows: Iterable[device_pb2.InstalledTask] = (),
    said: identity_pb2.DeviceFacts | None = None,
) -> device_pb2.SyncRequest:
    return device_pb2.SyncRequest(
        epoch=epoch, installed=list(rows), facts=said or facts(), device_time_ms=1_000
    )


def view(
    message: device_pb2.SyncRequest,
    device: str = DEVICE,
    enrolled: Mapping[str, str] | None = None,
) -> DeviceView:
    return DeviceView.of(device, message, enrolled or {})


def instructions(decision: Decision) -> dict[str, TaskInstruction]:
    """The document's tasks by name, read as a device reads them."""
    read = [msgspec.json.decode(one, type=TaskInstruction) for one in decision.instructions]
    assert [one.task for one in read] == sorted({one.task for one in read})
    return {one.task: one for one in read}
