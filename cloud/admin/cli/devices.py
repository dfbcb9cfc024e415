"""`shoal device …`, `shoal kill …`: the fleet, who may join it, and what must not run."""

from typing import Annotated

from cyclopts import App, Parameter

from cloud.admin.cli.output import Column, field, show, show_rows, time_field
from cloud.admin.cli.where import HERE, Where

app = App(name="device", help="Devices: list, explain, revoke, forget, enrol.")
tokens = App(name="token", help="One-time codes that devices enrol with.")
app.command(tokens)
kill = App(name="kill", help="Stop a task, or all, everywhere; travels outside releases.")

DEVICE_COLUMNS = (
    field("DEVICE", "id"),
    field("STATUS", "status"),
    Column("INSTALLED", lambda row: _installed(row.get("installed"))),
    Column("ATTRIBUTES", lambda row: _pairs(row.get("attributes"))),
    time_field("LAST SEEN (UTC)", "last_seen_at_ms"),
)
KILL_COLUMNS = (
    Column("TASK", lambda row: str(row["task"]) or "(all)"),
    time_field("SINCE (UTC)", "set_at_ms"),
    field("BY", "set_by"),
    field("REASON", "reason"),
)


def _installed(rows: object) -> str:
    if not isinstance(rows, list):
        return ""
    return ", ".join(f"{row['task']} v{row['version']} {row['state']}" for row in rows)


def _pairs(value: object) -> str:
    return " ".join(f"{k}={v}" for k, v in sorted(value.items())) if isinstance(value, dict) else ""


@app.command(name="list")
def list_devices(*, where: Where = HERE) -> None:
    """Devices, in order of id."""
    with where.client() as client:
        show_rows(client.items(client.context.path("/devices")), DEVICE_COLUMNS, where.output)


@app.command(name="show")
def show_device(device_id: str, *, where: Where = HERE) -> None:
    """One device."""
    with where.client() as client:
        found = client.get(client.context.path(f"/devices/{device_id}"))
    text = "\n".join(f"{name}: {value}" for name, value in found.items())
    show(found, where.output, text)


@app.command
def why(device_id: str, task: str, *, where: Where = HERE) -> None:
    """Why a device has, or has not, a task."""
    with where.client() as client:
        found = client.get(client.context.path(f"/devices/{device_id}/why"), task=task)
    lines = [f"{row['release_id']} {row['state']}: {row['reason']}" for row in found["releases"]]
    show(found, where.output, "\n".join([str(found["decision"]), *lines]))


@app.command
def revoke(device_id: str, *, reason: str, where: Where = HERE) -> None:
    """Refuse a device from now on."""
    with where.client() as client:
        path = client.context.path(f"/devices/{device_id}:revoke")
        show(client.post(path, {"reason": reason}), where.output, f"{device_id} is revoked")


@app.command
def forget(device_id: str, *, where: Where = HERE) -> None:
    """Delete a device and everything that is stored of it."""
    with where.client() as client:
        found = client.delete(client.context.path(f"/devices/{device_id}"))
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
    pairs = dict(pair.partition("=")[::2] for pair in attribute or [])
    with where.client() as client:
        body = {"attributes": pairs, "valid_for_s": valid_for_s, "count": 1}
        found = client.post(client.context.path("/enrolment-tokens"), body)
    show(found, where.output, str(found["items"][0]["code"] if "items" in found else found["code"]))


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
