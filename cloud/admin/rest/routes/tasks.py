"""Routes of tasks and versions."""

import asyncio
import base64
import binascii
from collections.abc import Mapping
from typing import Annotated

from fastapi import Path, Query

from cloud.admin.caller import Scope
from cloud.admin.errors import ArgumentInvalid
from cloud.admin.operations.views import (
    DiffView,
    PreparedView,
    TaskView,
    VersionDetail,
    VersionView,
)
from cloud.admin.paging import Page
from cloud.admin.rest.bodies import PrepareBody, PublishBody
from cloud.admin.rest.context import AdminOf, CallerOf, NamespaceOf, PageOf
from cloud.admin.rest.routes.scoped import namespace_router, needs

router = namespace_router("tasks")
VersionNumber = Annotated[int, Path(ge=1, le=2**31 - 1)]


def decode_files(files: Mapping[str, str]) -> dict[str, bytes]:
    """Reads files in base64.

    Raises:
        ArgumentInvalid: A file is not base64.
    """
    decoded: dict[str, bytes] = {}
    for path, content in files.items():
        try:
            decoded[path] = base64.b64decode(content, validate=True)
        except (binascii.Error, ValueError):
            raise ArgumentInvalid(f"files: the content of {path!r} is not base64") from None
    return decoded


@router.get("/tasks", **needs(Scope.TASK_READ))
async def list_tasks(
    admin: AdminOf, caller: CallerOf, namespace: NamespaceOf, page: PageOf
) -> Page[TaskView]:
    """Tasks, by name."""
    return await admin.tasks.list(caller, namespace, page)


@router.post("/tasks:prepare", **needs(Scope.TASK_WRITE))
async def prepare_version(
    admin: AdminOf, caller: CallerOf, namespace: NamespaceOf, body: PrepareBody
) -> PreparedView:
    """Validates, compiles and stores a bundle; answers with what its publisher signs."""
    caller.require(Scope.TASK_WRITE, namespace)
    files = await asyncio.to_thread(decode_files, body.files)
    return await admin.tasks.prepare(caller, namespace, files, body.source_commit)


@router.get("/tasks/{task}/versions", **needs(Scope.TASK_READ))
async def list_versions(
    admin: AdminOf, caller: CallerOf, namespace: NamespaceOf, task: str, page: PageOf
) -> Page[VersionView]:
    """Versions of a task, newest first."""
    return await admin.tasks.versions(caller, namespace, task, page)


@router.get("/tasks/{task}/versions/{version}", **needs(Scope.TASK_READ))
async def get_version(
    admin: AdminOf, caller: CallerOf, namespace: NamespaceOf, task: str, version: VersionNumber
) -> VersionDetail:
    """One version, with its manifest and files."""
    return await admin.tasks.version(caller, namespace, task, version)


@router.post("/tasks/{task}/versions/{version}:publish", **needs(Scope.TASK_WRITE))
async def publish_version(
    admin: AdminOf,
    caller: CallerOf,
    namespace: NamespaceOf,
    task: str,
    version: VersionNumber,
    body: PublishBody,
) -> VersionView:
    """Publishes a prepared version with the metadata that its publisher signed."""
    return await admin.tasks.publish(caller, namespace, task, version, body.roles)


@router.get("/tasks/{task}/diff", **needs(Scope.TASK_READ))
async def diff_versions(
    admin: AdminOf,
    caller: CallerOf,
    namespace: NamespaceOf,
    task: str,
    before: Annotated[int, Query(alias="from", ge=1, le=2**31 - 1)],
    after: Annotated[int, Query(alias="to", ge=1, le=2**31 - 1)],
) -> DiffView:
    """What differs between two versions."""
    return await admin.tasks.diff(caller, namespace, task, before, after)
