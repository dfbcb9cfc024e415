"""Routes of operators' own things: who am I, namespaces, tokens, the audit log."""

from fastapi import APIRouter

from cloud.admin.caller import Scope
from cloud.admin.operations.views import (
    AuditReport,
    AuditView,
    MeView,
    NamespaceView,
    TokenOnce,
    TokenView,
)
from cloud.admin.paging import Page
from cloud.admin.rest.bodies import TokenBody
from cloud.admin.rest.context import AdminOf, CallerOf, NamespaceOf, PageOf
from cloud.admin.rest.routes.scoped import namespace_router, needs

global_router = APIRouter(prefix="/api/v1", tags=["access"])
router = namespace_router("access")


@global_router.get("/me", **needs(None))
async def who_am_i(caller: CallerOf) -> MeView:
    """Who the token stands for, and what it allows."""
    return MeView(
        actor=caller.actor,
        namespace=caller.namespace,
        scopes=tuple(sorted(scope.value for scope in caller.scopes)),
        expires_at_ms=caller.expires_at_ms,
    )


@global_router.get("/namespaces", **needs(None))
async def list_namespaces(admin: AdminOf, caller: CallerOf, page: PageOf) -> Page[NamespaceView]:
    """The namespaces that the token is for."""
    return await admin.overview.namespaces(caller, page)


@router.get("/tokens", **needs(Scope.TOKEN_WRITE))
async def list_tokens(
    admin: AdminOf, caller: CallerOf, namespace: NamespaceOf, page: PageOf
) -> Page[TokenView]:
    """Operators' tokens."""
    return await admin.tokens.list(caller, namespace, page)


@router.post("/tokens", status_code=201, **needs(Scope.TOKEN_WRITE))
async def create_token(
    admin: AdminOf, caller: CallerOf, namespace: NamespaceOf, body: TokenBody
) -> TokenOnce:
    """Makes a token that is no wider than the caller's own; it is shown once."""
    return await admin.tokens.create(
        caller, namespace, actor=body.actor, scopes=body.scopes, valid_for_s=body.valid_for_s
    )


@router.post("/tokens/{token_id}:revoke", **needs(Scope.TOKEN_WRITE))
async def revoke_token(
    admin: AdminOf, caller: CallerOf, namespace: NamespaceOf, token_id: str
) -> TokenView:
    """Ends a token now."""
    return await admin.tokens.revoke(caller, namespace, token_id)


@router.get("/audit", **needs(Scope.AUDIT_READ))
async def list_audit(
    admin: AdminOf, caller: CallerOf, namespace: NamespaceOf, page: PageOf
) -> Page[AuditView]:
    """Who did what, newest first."""
    return await admin.audit.list(caller, namespace, page)


@router.get("/audit:verify", **needs(Scope.AUDIT_READ))
async def verify_audit(admin: AdminOf, caller: CallerOf, namespace: NamespaceOf) -> AuditReport:
    """Computes the audit log's hash chain again."""
    return await admin.audit.verify(caller, namespace)
