"""Tasks and their versions, authorised: the work is the registry's.

Rules of this module:

- Publishing takes two steps, because the publishing key stays with the operator: prepare answers with what is to be
  signed and what the signature builds on, publish brings the signed metadata.
"""

from collections.abc import Mapping

from cloud.admin.caller import Caller, Scope
from cloud.admin.errors import ArgumentInvalid
from cloud.admin.operations.texts import check_storable, check_text, signed_roles
from cloud.admin.operations.views import (
    DiffView,
    FileChangeView,
    FileView,
    PreparedView,
    TargetView,
    TaskView,
    VersionDetail,
    VersionView,
)
from cloud.admin.paging import Page, PageRequest, cut_page, decode_token, page_limit
from cloud.admin.settings import AdminSettings
from cloud.registry.diff import FileChange, file_changes, manifest_changes, text_diff
from cloud.registry.registry import PreparedVersion, Row, TaskRegistry
from cloud.registry.upload import Upload
from device_agent.tasks.names import check_task_name

NEWEST = 2**31 - 1
COMMIT_CHARS_MAX = 80  # a SHA-256 and "+dirty"


def _task_view(row: Row) -> TaskView:
    return TaskView(
        name=row["task"],
        latest_version=row["latest_version"],
        digest=row["digest"] or "",
        created_at_ms=row["created_at_ms"],
        created_by=row["created_by"],
        published_at_ms=row["published_at_ms"],
        published_by=row["published_by"] or "",
    )


def _version_view(row: Row) -> VersionView:
    return VersionView(
        task=row["task"],
        version=row["version"],
        digest=row["digest"],
        state=row["state"],
        source_commit=row["source_commit"] or "",
        created_at_ms=row["created_at_ms"],
        created_by=row["created_by"],
        published_at_ms=row["published_at_ms"],
    )


def _file_view(row: Row) -> FileView:
    return FileView(
        kind=row["kind"],
        path=row["path"],
        python_tag=row["python_tag"],
        digest=row["digest"],
        size=row["size"],
        scope=row["scope"],
        target=row["target"],
    )


def _prepared_view(prepared: PreparedVersion) -> PreparedView:
    targets = tuple(
        TargetView(target=target.target, digest=target.digest, size=target.size, paths=target.paths)
        for target in prepared.targets
    )
    return PreparedView(
        task=prepared.task,
        version=prepared.version,
        digest=prepared.digest,
        already_published=prepared.already_published,
        targets=targets,
        base=prepared.base.to_json(),
    )


class TaskOperations:
    """Tasks of a namespace."""

    def __init__(self, registry: TaskRegistry, settings: AdminSettings) -> None:
        self._registry = registry
        self._settings = settings

    async def list(self, caller: Caller, namespace: str, page: PageRequest) -> Page[TaskView]:
        """Lists tasks by name."""
        caller.require(Scope.TASK_READ, namespace)
        limit = page_limit(page, self._settings)
        after = decode_token("tasks", page.token, (str,)) or ("",)
        rows = await self._registry.tasks(namespace, str(after[0]), limit + 1)
        cut = cut_page(rows, limit, "tasks", lambda row: (str(row["task"]),))
        return Page(
            items=tuple(_task_view(row) for row in cut.items), next_page_token=cut.next_page_token
        )

    async def versions(
        self, caller: Caller, namespace: str, task: str, page: PageRequest
    ) -> Page[VersionView]:
        """Lists a task's versions, newest first."""
        caller.require(Scope.TASK_READ, namespace)
        limit = page_limit(page, self._settings)
        before = decode_token("versions", page.token, (int,)) or (NEWEST,)
        rows = await self._registry.versions(
            namespace, check_task_name(task), int(before[0]), limit + 1
        )
        cut = cut_page(rows, limit, "versions", lambda row: (int(row["version"]),))
        items = tuple(_version_view(row) for row in cut.items)
        return Page(items=items, next_page_token=cut.next_page_token)

    async def version(
        self, caller: Caller, namespace: str, task: str, version: int
    ) -> VersionDetail:
        """Shows one version with its manifest and files."""
        caller.require(Scope.TASK_READ, namespace)
        row = await self._registry.version(namespace, check_task_name(task), version)
        files = await self._registry.files(namespace, task, version)
        view = _version_view(row)
        return VersionDetail(
            task=view.task,
            version=view.version,
            digest=view.digest,
            state=view.state,
            source_commit=view.source_commit,
            created_at_ms=view.created_at_ms,
            created_by=view.created_by,
            published_at_ms=view.published_at_ms,
            manifest=row["manifest"],
            files=tuple(_file_view(file) for file in files),
        )

    async def diff(
        self, caller: Caller, namespace: str, task: str, before: int, after: int
    ) -> DiffView:
        """Shows what differs between two versions: files, fields of the manifest, lines of scripts."""
        caller.require(Scope.TASK_READ, namespace)
        registry, name = self._registry, check_task_name(task)
        old = await registry.version(namespace, name, before)
        new = await registry.version(namespace, name, after)
        changes = file_changes(
            await registry.files(namespace, name, before),
            await registry.files(namespace, name, after),
        )
        fields = [
            f"task.toml {place}: {was!r} -> {now!r}"
            for place, was, now in manifest_changes(old["manifest"], new["manifest"])
        ]
        texts = [await self._text(change) for change in changes if change.kind == "source"]
        files = tuple(
            FileChangeView(
                kind=change.kind,
                path=change.path,
                change=change.change,
                before=change.before,
                after=change.after,
            )
            for change in changes
        )
        text = "\n".join([*fields, *texts])
        return DiffView(task=name, from_version=before, to_version=after, files=files, text=text)

    async def _text(self, change: FileChange) -> str:
        before, after = await self._script(change.before), await self._script(change.after)
        return text_diff(change.path, before, after)

    async def _script(self, digest: str) -> str:
        return (await self._registry.content(digest)).decode(errors="replace") if digest else ""

    async def prepare(
        self, caller: Caller, namespace: str, files: Mapping[str, bytes], source_commit: str | None
    ) -> PreparedView:
        """Validates, compiles and stores a bundle; answers with what its publisher signs."""
        caller.require(Scope.TASK_WRITE, namespace)
        for path in files:
            check_storable("files", path)
        commit = check_text("source_commit", source_commit or "", COMMIT_CHARS_MAX)
        upload = Upload(files=dict(files), source_commit=commit or None)
        return _prepared_view(await self._registry.prepare(namespace, upload, caller.actor))

    async def publish(
        self,
        caller: Caller,
        namespace: str,
        task: str,
        version: int,
        roles: Mapping[str, str],
    ) -> VersionView:
        """Publishes a prepared version with the metadata that its publisher signed."""
        caller.require(Scope.TASK_WRITE, namespace)
        if not roles:
            raise ArgumentInvalid("roles: none came; sign what prepare answered and send it")
        signed = signed_roles(roles)
        row = await self._registry.publish(
            namespace, check_task_name(task), version, signed, caller.actor
        )
        return _version_view(row)
