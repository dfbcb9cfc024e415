"""Routes of devices, the tokens by which they enrol, and what their agents say."""

from cloud.admin.caller import Scope
from cloud.admin.operations.views import (
    DeviceView,
    EnrolmentCodesOnce,
    EnrolmentTokenView,
    ForgottenView,
    NoticeView,
    OverviewView,
    WhyView,
)
from cloud.admin.paging import Page
from cloud.admin.rest.bodies import EnrolmentBody, ReasonBody
from cloud.admin.rest.context import AdminOf, CallerOf, NamespaceOf, PageOf
from cloud.admin.rest.routes.scoped import namespace_router, needs

router = namespace_router("devices")


@router.get("/overview", **needs(Scope.DEVICE_READ))
async def overview(admin: AdminOf, caller: CallerOf, namespace: NamespaceOf) -> OverviewView:
    """The fleet on one page; needs release:read too."""
    return await admin.overview.overview(caller, namespace)


@router.get("/devices", **needs(Scope.DEVICE_READ))
async def list_devices(
    admin: AdminOf,
    caller: CallerOf,
    namespace: NamespaceOf,
    page: PageOf,
    status: str = "",
    id_prefix: str = "",
) -> Page[DeviceView]:
    """Devices, by id; status is online, stale, offline or revoked."""
    return await admin.devices.list(caller, namespace, page, status=status, id_prefix=id_prefix)


@router.get("/devices/{device_id}", **needs(Scope.DEVICE_READ))
async def get_device(
    admin: AdminOf, caller: CallerOf, namespace: NamespaceOf, device_id: str
) -> DeviceView:
    """One device."""
    return await admin.devices.get(caller, namespace, device_id)


@router.get("/devices/{device_id}/why", **needs(Scope.DEVICE_READ))
async def why_device(
    admin: AdminOf, caller: CallerOf, namespace: NamespaceOf, device_id: str, task: str
) -> WhyView:
    """Why a device has, or has not, a version of a task."""
    return await admin.devices.why(caller, namespace, device_id, task)


@router.post("/devices/{device_id}:revoke", **needs(Scope.DEVICE_WRITE))
async def revoke_device(
    admin: AdminOf, caller: CallerOf, namespace: NamespaceOf, device_id: str, body: ReasonBody
) -> DeviceView:
    """Refuses the device from now on."""
    return await admin.devices.revoke(caller, namespace, device_id, body.reason)


@router.delete("/devices/{device_id}", **needs(Scope.DEVICE_WRITE))
async def forget_device(
    admin: AdminOf, caller: CallerOf, namespace: NamespaceOf, device_id: str, reason: str = ""
) -> ForgottenView:
    """Deletes what the cloud knows of the device."""
    return await admin.devices.forget(caller, namespace, device_id, reason)


@router.get("/enrolment-tokens", **needs(Scope.DEVICE_READ))
async def list_enrolment_tokens(
    admin: AdminOf, caller: CallerOf, namespace: NamespaceOf, page: PageOf
) -> Page[EnrolmentTokenView]:
    """Enrolment tokens, used ones too."""
    return await admin.devices.list_enrolment_tokens(caller, namespace, page)


@router.post("/enrolment-tokens", status_code=201, **needs(Scope.DEVICE_WRITE))
async def create_enrolment_codes(
    admin: AdminOf, caller: CallerOf, namespace: NamespaceOf, body: EnrolmentBody
) -> EnrolmentCodesOnce:
    """Makes codes that enrol one device each; they are shown once."""
    return await admin.devices.create_enrolment_codes(
        caller,
        namespace,
        attributes=body.attributes,
        valid_for_s=body.valid_for_s,
        count=body.count,
    )


@router.get("/notices", **needs(Scope.DEVICE_READ))
async def list_notices(
    admin: AdminOf, caller: CallerOf, namespace: NamespaceOf, page: PageOf, device: str = ""
) -> Page[NoticeView]:
    """What agents said of themselves, newest first."""
    return await admin.audit.notices(caller, namespace, page, device=device)
