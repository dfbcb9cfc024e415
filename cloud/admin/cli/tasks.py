"""`shoal task …`: write, try, publish and compare tasks."""

import base64
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from cloud.admin.cli.client import Answer, RestClient, named
from cloud.admin.cli.dry_run import try_task
from cloud.admin.cli.errors import UsageWrong
from cloud.admin.cli.output import Column, field, show, show_rows, time_field
from cloud.admin.cli.template import write_template
from cloud.admin.cli.where import HERE, Where
from cloud.keys.publishing import Publisher, SigningBase, sign_version
from cloud.keys.roles import TargetToSign
from cloud.registry.upload import Upload, read_source
from device_agent.clock import SystemClock

app = App(name="task", help="Tasks: write, try, publish, compare.")

TASK_COLUMNS = (
    field("TASK", "name"),
    field("NEWEST", "latest_version"),
    Column("DIGEST", lambda row: str(row.get("digest") or "")[:19]),
    time_field("PUBLISHED (UTC)", "published_at_ms"),
    field("BY", "published_by"),
)
VERSION_COLUMNS = (
    field("VERSION", "version"),
    field("STATE", "state"),
    Column("DIGEST", lambda row: str(row["digest"])[:19]),
    Column("COMMIT", lambda row: str(row.get("source_commit") or "")[:12]),
    time_field("PREPARED (UTC)", "created_at_ms"),
    field("BY", "created_by"),
)


@app.command
def init(folder: Path, *, name: str = "") -> None:
    """Write a new task that works: task.toml, a script, its unit test and sample events."""
    for path in write_template(folder, name or folder.resolve().name):
        print(path)


@app.command(name="test")
def try_bundle(
    folder: Path,
    *,
    events: Annotated[
        Path | None,
        Parameter(help="folder of payloads and recordings, or one recording; FOLDER/events"),
    ] = None,
    flame: Annotated[
        Path | None, Parameter(help="SVG file to write: where the time went, as a flame graph")
    ] = None,
    where: Where = HERE,
) -> int:
    """Run a task on recorded events in the VM that devices use, limits on: what came of it, and what it cost."""
    return try_task(folder, events or folder / "events", where.output, flame)


@app.command
def publish(
    folder: Path,
    *,
    keys: Annotated[Path, Parameter(help="folder of keys that holds publish/")],
    where: Where = HERE,
) -> None:
    """Publish a task: the cloud validates and compiles, your key signs."""
    upload = read_source(folder)
    with where.client() as client:
        prepared = _prepare(client, upload)
        name = f"{prepared['task']} version {prepared['version']} ({prepared['digest']})"
        if prepared["already_published"]:
            show(prepared, where.output, f"same content: {name} is already published")
            return
        published = _sign(client, prepared, keys)
    show(published, where.output, f"published {name}")


def _prepare(client: RestClient, upload: Upload) -> Answer:
    files = {path: base64.b64encode(data).decode() for path, data in upload.files.items()}
    body = {"files": files, "source_commit": upload.source_commit}
    return client.post(client.context.path("/tasks:prepare"), body)


def _sign(client: RestClient, prepared: Answer, keys: Path) -> Answer:
    """Signs with the publishing key on this machine: it never travels."""
    publisher = Publisher.load(keys, client.context.namespace)
    targets = [
        TargetToSign(
            target=row["target"], digest=row["digest"], size=row["size"], paths=tuple(row["paths"])
        )
        for row in prepared["targets"]
    ]
    base = SigningBase.from_json(prepared["base"])
    signed = sign_version(publisher, prepared["task"], base, targets, SystemClock().wall_ms())
    roles = {name: data.decode() for name, data in signed.roles.items()}
    path = f"/tasks/{prepared['task']}/versions/{prepared['version']}:publish"
    return client.post(client.context.path(path), {"roles": roles})


@app.command(name="list")
def list_tasks(*, where: Where = HERE) -> None:
    """Tasks, in order of name."""
    with where.client() as client:
        show_rows(client.items(client.context.path("/tasks")), TASK_COLUMNS, where.output)


@app.command(name="show")
def show_task(task: str, version: int = 0, *, where: Where = HERE) -> None:
    """Versions of a task; with a version, its manifest and files."""
    with where.client() as client:
        if not version:
            path = client.context.path(f"/tasks/{named(task)}/versions")
            show_rows(client.items(path), VERSION_COLUMNS, where.output)
            return
        found = client.get(client.context.path(f"/tasks/{named(task)}/versions/{version}"))
    files = "\n".join(
        f"  {row['kind']:9} {row['size']:>9} {row['digest'][:19]} {row['path']}"
        for row in found["files"]
    )
    head = f"{task} version {version} {found['state']} {found['digest']}"
    show(found, where.output, f"{head}\n{files}")


@app.command
def diff(task: str, before: int, after: int, *, where: Where = HERE) -> None:
    """What changed between two versions: files, fields of the manifest, lines of scripts."""
    if before == after:
        raise UsageWrong(f"version {before} does not differ from itself; name two versions")
    with where.client() as client:
        path = client.context.path(f"/tasks/{named(task)}/diff")
        found = client.get(path, **{"from": before, "to": after})
    files = [f"{row['change']:8} {row['kind']:9} {row['path']}" for row in found["files"]]
    show(found, where.output, "\n".join([*files, str(found["text"])]))
