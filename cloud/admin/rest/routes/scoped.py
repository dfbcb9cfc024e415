"""A router whose routes say which scope they need, so that OpenAPI tells it and a test can look."""

from typing import Any

from fastapi import APIRouter

from cloud.admin.caller import Scope

NAMESPACE_PREFIX = "/api/v1/namespaces/{app}/{project}"
SCOPE_KEY = "x-shoal-scope"
FAILURE = {
    "description": "What went wrong, and what to do next.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}},
}


def needs(scope: Scope | None) -> dict[str, Any]:
    """Arguments of a route that needs `scope`; None is any valid token."""
    failures = dict.fromkeys(("400", "401", "403", "404"), FAILURE)
    extra: dict[str, Any] = {
        SCOPE_KEY: scope.value if scope else "",
        "security": [{"bearer": []}],
        "responses": failures,
    }
    return {"openapi_extra": extra}


def namespace_router(tag: str) -> APIRouter:
    """Routes below a namespace."""
    return APIRouter(prefix=NAMESPACE_PREFIX, tags=[tag])
