"""`shoal device …`, `shoal kill …`: the fleet, who may join it, and what must not run."""

from collections.abc import Iterator
from itertools import islice
from typing import Annotated

from cyclopts import App, Parameter

from cloud.admin.cli.client import Answer, named
from cloud.admin.cli.errors import UsageWrong
from cloud.admin.cli.output import (
    Column,
    field,
    pairs_field,
    pairs_text,
    show,
    show_rows,
    time_field,
    utc,
)
from cloud.admin.cli.pairs import parse_pairs
from cloud.admin.cli.where import HERE, Where

app = App(name="device", help="Devices: list, explain, revoke, forget, enrol.")
tokens = App(name="token", help="One-time codes that devices enrol with.")
app.command(tokens)
kill = App(name="kill", help="Stop a task, or all, everywhere; travels outside releases.")

DEVICE_COLUMNS = (
    field("DEVICE", "id"),
    field("STATUS", "status"),
    Column("INSTALLED", lambda row: _installed(row.get("installed"))),
    pairs_field("ATTRIBUTES", "attributes"),
    time_field("LAST SEEN (UTC)", "last_seen_at_ms"),
)
KILL_COLUMNS = (
    Column("TASK", lambda row: str(row["task"]) or "(all)"),
    time_field("SINCE (UTC)", "set_at_ms"),
    field("BY", "set_by"),
    field("REASON", "reason"),
)


NOTICE_COLUMNS = (
    time_field("AT (UTC)", "at_ms"),
    field("DEVICE", "device_id"),
    field("CODE", "code"),
    field("MESSAGE", "message"),
)
CODE_COLUMNS = (
    field("CODE", "id"),
    pairs_field("ATTRIBUTES", "attributes"),
    field("BY", "created_by"),
    time_field("EXPIRES (UTC)", "expires_at_ms"),
    time_field("USED (UTC)", "used_at_ms"),
    field("USED BY", "used_by"),
)


def _installed(held: object) -> str:
    if not isinstance(held, dict):
        return ""
    return ", ".join(
        f"{task} v{one['version']} {one['state']}" for task, one in sorted(held.items())
    )


@app.command(name="list")
def list_devices(
    *,
    status: Annotated[
        str, Parameter(help="online, stale, offline or revoked; all when empty")
    ] = "",
    prefix: Annotated[str, Parameter(help="start of the ids")] = "",
    where: Where = HERE,
) -> None:
    """Devices, in order of id."""
    query = {name: text for name, text in (("status", status), ("id_prefix", prefix)) if text}
    with where.client() as client:
        rows = client.items(client.context.path("/devices"), **query)
        show_rows(rows, DEVICE_COLUMNS, where.output)


@app.command
def notices(
    device_id: str = "",
    *,
    limit: Annotated[int, Parameter(help="most of them")] = 50,
    where: Where = HERE,
) -> None:
    """What agents said of themselves, newest first: all of them, or one."""
    if limit < 1:
        raise UsageWrong("--limit is at least 1")
    query = {"device": device_id} if device_id else {}
    with where.client() as client:
        rows = client.items(client.context.path("/notices"), **query)
        show_rows(islice(rows, limit), NOTICE_COLUMNS, where.output)


@app.command(name="show")
def show_device(device_id: str, *, where: Where = HERE) -> None:
    """One device."""
    with where.client() as client:
        found = client.get(client.context.path(f"/devices/{named(device_id)}"))
    show(found, where.output, "\n".join(_lines(found)))


def _lines(device: Answer) -> Iterator[str]:
    """A device for people."""
    for name, value in device.items():
        if name.endswith("_at_ms"):
            yield f"{name.removesuffix('_at_ms').replace('_', ' ')}: {utc(value) or '-'}"
        elif name == "installed":
            yield f"installed: {_installed(value) or '-'}"
        else:
            yield f"{name}: {pairs_text(value) or '-' if isinstance(value, dict) else value}"


@app.command
def why(device_id: str, task: str, *, where: Where = HERE) -> None:
    """Why a device has, or has not, a task."""
    with where.client() as client:
        found = client.get(client.context.path(f"/devices/{named(device_id)}/why"), task=task)
    lines = [f"{row['release_id']} {row['state']}: {row['reason']}" for row in found["releases"]]
    show(found, where.output, "\n".join([str(found["decision"]), *lines]))


@app.command
def revoke(device_id: str, *, reason: str, where: Where = HERE) -> None:
    """Refuse a device from now on."""
    with where.client() as client:
        path = client.context.path(f"/devices/{named(device_id)}:revoke")
        show(client.post(path, {"reason": reason}), where.output, f"{device_id} is revoked")


@app.command
def forget(device_id: str, *, where: Where = HERE) -> None:
    """Delete a device and everything that is stored of it."""
    with where.client() as client:
        found = client.delete(client.context.path(f"/devices/{named(device_id)}"))
    show(found, where.output, f"{device_id} is forgotten")


@tokens.command(name="create")
def create_token(
    *,
    attribute: Annotated[
        list[str] | None, Parameter(help="what the device will be targeted by, key=value")
    ] = None,
    valid_for_s: Annotated[int, Parameter(name="--valid-for", help="seconds")] = 3600,
    where: Where = HERE,
) -> None:
    """Print a code that one device can enrol with, once."""
    pairs = parse_pairs(attribute or [], "--attribute")
    with where.client() as client:
        body = {"attributes": pairs, "valid_for_s": valid_for_s, "count": 1}
        found = client.post(client.context.path("/enrolment-tokens"), body)
    show(found, where.output, str(found["items"][0]["code"]))


@tokens.command(name="list")
def list_tokens(*, where: Where = HERE) -> None:
    """Codes that were made, used ones too; the codes themselves are not kept."""
    with where.client() as client:
        rows = client.items(client.context.path("/enrolment-tokens"))
        show_rows(rows, CODE_COLUMNS, where.output)


def _switch(task: str, killed: bool, reason: str, where: Where) -> None:
    with where.client() as client:
        body = {"task": task, "killed": killed, "reason": reason}
        found = client.post(client.context.path("/kill-switches"), body)
    what = task or "everything"
    show(
        found,
        where.output,
        f"{what} {'is stopped' if killed else 'may run again'} from epoch {found['epoch']} on",
    )


@kill.command(name="set")
def set_kill(task: str = "", *, reason: str, where: Where = HERE) -> None:
    """Stop a task; without a name, all tasks of the namespace."""
    _switch(task, True, reason, where)


@kill.command(name="clear")
def clear_kill(task: str = "", *, reason: str = "", where: Where = HERE) -> None:
    """Let it run again."""
    _switch(task, False, reason, where)


@kill.command(name="list")
def list_kills(*, where: Where = HERE) -> None:
    """What is stopped."""
    with where.client() as client:
        show_rows(client.items(client.context.path("/kill-switches")), KILL_COLUMNS, where.output)
