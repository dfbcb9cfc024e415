"""Routes of releases and kill switches."""

from typing import Annotated

from fastapi import Header, Response

from cloud.admin.caller import Scope
from cloud.admin.operations.releases import NewRelease
from cloud.admin.operations.views import (
    CoverageCurve,
    EpochView,
    KillSwitchView,
    ReleaseDeviceView,
    ReleaseEventView,
    ReleaseView,
    StageView,
    TargetingView,
)
from cloud.admin.paging import Page
from cloud.admin.rest.bodies import CommandBody, KillBody, NewReleaseBody
from cloud.admin.rest.context import AdminOf, CallerOf, NamespaceOf, PageOf, RevisionOf
from cloud.admin.rest.routes.scoped import namespace_router, needs

router = namespace_router("releases")
IdempotencyKey = Annotated[str, Header(max_length=128)]


def _tagged(release: ReleaseView, response: Response) -> ReleaseView:
    response.headers["ETag"] = f'"{release.revision}"'
    return release


@router.get("/releases", **needs(Scope.RELEASE_READ))
async def list_releases(
    admin: AdminOf, caller: CallerOf, namespace: NamespaceOf, page: PageOf, task: str = ""
) -> Page[ReleaseView]:
    """Releases, newest first."""
    return await admin.releases.list(caller, namespace, page, task=task)


@router.post("/releases", status_code=201, **needs(Scope.RELEASE_WRITE))
async def create_release(
    admin: AdminOf,
    caller: CallerOf,
    namespace: NamespaceOf,
    body: NewReleaseBody,
    response: Response,
    idempotency_key: IdempotencyKey = "",
) -> ReleaseView:
    """Makes a release; the same Idempotency-Key gives the same release."""
    new = NewRelease(
        task=body.task,
        version=body.version,
        targeting=TargetingView(attributes=body.targeting.attributes),
        stages=tuple(
            StageView(share_ppm=stage.share_ppm, promote_at_ppm=stage.promote_at_ppm)
            for stage in body.stages
        ),
        rollback_version=body.rollback_version,
        start=body.start,
    )
    made = await admin.releases.create(caller, namespace, new, idempotency_key)
    return _tagged(made, response)


@router.get("/releases/{release_id}", **needs(Scope.RELEASE_READ))
async def get_release(
    admin: AdminOf, caller: CallerOf, namespace: NamespaceOf, release_id: str, response: Response
) -> ReleaseView:
    """One release; the ETag is its revision."""
    return _tagged(await admin.releases.get(caller, namespace, release_id), response)


@router.post("/releases/{release_id}:command", **needs(Scope.RELEASE_WRITE))
async def command_release(
    admin: AdminOf,
    caller: CallerOf,
    namespace: NamespaceOf,
    release_id: str,
    body: CommandBody,
    revision: RevisionOf,
    response: Response,
) -> ReleaseView:
    """Starts, pauses, resumes, aborts, promotes or rolls back; If-Match refuses when it has moved on."""
    release = await admin.releases.command(
        caller,
        namespace,
        release_id,
        body.command,
        reason=body.reason,
        if_revision=revision,
        rollback_version=body.rollback_version,
    )
    return _tagged(release, response)


@router.get("/releases/{release_id}/coverage", **needs(Scope.RELEASE_READ))
async def release_coverage(
    admin: AdminOf, caller: CallerOf, namespace: NamespaceOf, release_id: str
) -> CoverageCurve:
    """How a release's coverage grew."""
    return await admin.releases.coverage(caller, namespace, release_id)


@router.get("/releases/{release_id}/events", **needs(Scope.RELEASE_READ))
async def release_events(
    admin: AdminOf, caller: CallerOf, namespace: NamespaceOf, release_id: str, page: PageOf
) -> Page[ReleaseEventView]:
    """A release's history, oldest first."""
    return await admin.releases.events(caller, namespace, release_id, page)


@router.get("/releases/{release_id}/devices", **needs(Scope.DEVICE_READ))
async def release_devices(
    admin: AdminOf, caller: CallerOf, namespace: NamespaceOf, release_id: str, page: PageOf
) -> Page[ReleaseDeviceView]:
    """What devices acknowledged of a release, by device."""
    return await admin.releases.devices(caller, namespace, release_id, page)


@router.get("/kill-switches", **needs(Scope.RELEASE_READ))
async def list_kill_switches(
    admin: AdminOf, caller: CallerOf, namespace: NamespaceOf, page: PageOf
) -> Page[KillSwitchView]:
    """What may not run."""
    return await admin.releases.kill_switches(caller, namespace, page)


@router.post("/kill-switches", **needs(Scope.KILL_WRITE))
async def set_kill_switch(
    admin: AdminOf, caller: CallerOf, namespace: NamespaceOf, body: KillBody
) -> EpochView:
    """Stops a task, or every task, outside of releases; or lets it run again."""
    return await admin.releases.set_kill(
        caller, namespace, task=body.task, killed=body.killed, reason=body.reason
    )
