"""The REST application: routes over the operations, one form of failure, OpenAPI 3.1.

Rules of this module:

- /openapi.json is served; the pages that FastAPI makes of it are not, for they load scripts from elsewhere.
- /healthz says that the process lives, /readyz that it can serve, /metrics what it counted; none needs a token, and
  the socket is on loopback unless an operator says otherwise.
"""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from prometheus_client.registry import Collector

from cloud.admin.operations.admin import Admin
from cloud.admin.rest.console import ConsoleFiles
from cloud.admin.rest.health import Readiness, health_router
from cloud.admin.rest.middleware import BodyLimit, RequestLog
from cloud.admin.rest.problems import install_problem_handlers
from cloud.admin.rest.routes import access, devices, events, releases, tasks, trust
from cloud.admin.rest.streams import EventStreams
from device_agent.clock import Clock

FAILURE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "hint"],
            "properties": {name: {"type": "string"} for name in ("code", "message", "hint")},
        }
    },
}


def make_app(
    admin: Admin,
    *,
    clock: Clock,
    readiness: Readiness,
    console: ConsoleFiles,
    collectors: Sequence[Collector] = (),
) -> FastAPI:
    """Builds the application; `collectors` tell what this cloud's parts count, beside what the process counts."""
    app = FastAPI(
        title="Shoal",
        version="1",
        summary="Tasks, releases and devices.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        separate_input_output_schemas=False,
    )
    app.state.admin = admin
    app.state.streams = EventStreams(admin.settings, clock)
    install_problem_handlers(app)
    app.include_router(health_router(readiness, collectors))
    app.include_router(access.global_router)
    for part in (access, trust, tasks, releases, devices, events):
        app.include_router(part.router)
    app.mount("/console", console)
    app.add_middleware(BodyLimit, bytes_max=admin.settings.body_bytes_max)
    app.add_middleware(RequestLog, clock=clock)
    _describe(app)
    return app


def _describe(app: FastAPI) -> None:
    """Adds to the schema what FastAPI does not know: the form of failures and the bearer token."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title, version=app.version, summary=app.summary, routes=app.routes
            )
            components = schema.setdefault("components", {})
            components.setdefault("schemas", {})["Failure"] = FAILURE_SCHEMA
            components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
            _drop_default_validation(schema)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend


def _drop_default_validation(schema: dict[str, Any]) -> None:
    """Removes the 422 that FastAPI writes: a wrong request is 400 in our form."""
    for path in schema["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        schema["components"]["schemas"].pop(name, None)
