"""Routes of what devices trust: expiries, metadata to sign anew, new roots and keys, new namespaces."""

from fastapi import APIRouter

from cloud.admin.caller import Scope
from cloud.admin.operations.views import MetadataView, NamespaceView, SuccessorView, TrustView
from cloud.admin.rest.bodies import NamespaceBody, TrustBody
from cloud.admin.rest.context import AdminOf, CallerOf
from cloud.admin.rest.routes.scoped import needs

router = APIRouter(prefix="/api/v1", tags=["trust"])


@router.post("/namespaces", status_code=201, **needs(Scope.TRUST_WRITE))
async def add_namespace(admin: AdminOf, caller: CallerOf, body: NamespaceBody) -> NamespaceView:
    """Adds a namespace with the delegation that the offline targets key signed; for a token of all namespaces."""
    return await admin.trust.add_namespace(caller, body.namespace, body.roles)


@router.get("/trust", **needs(None))
async def trust_status(admin: AdminOf, caller: CallerOf) -> TrustView:
    """When roles and certificates expire, and whose keys sign them."""
    return admin.trust.status(caller)


@router.get("/trust/roles/{role}", **needs(None))
async def trust_metadata(admin: AdminOf, caller: CallerOf, role: str) -> MetadataView:
    """Published metadata of root, targets, a namespace or a task."""
    return admin.trust.metadata(caller, role)


@router.post("/trust", **needs(Scope.TRUST_WRITE))
async def publish_trust(admin: AdminOf, caller: CallerOf, body: TrustBody) -> TrustView:
    """Publishes signed metadata: a new root, or roles signed anew."""
    return await admin.trust.accept(caller, body.root, body.roles, body.director_keys)


@router.post("/trust/successors/{kind}", **needs(Scope.TRUST_WRITE))
async def prepare_successor(admin: AdminOf, caller: CallerOf, kind: str) -> SuccessorView:
    """Has the server make the key that shall follow its online or director key."""
    return await admin.trust.prepare_successor(caller, kind)
