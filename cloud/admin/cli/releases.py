"""`shoal release …`: make, command, watch and wait for releases."""

import secrets
import time
from collections.abc import Iterator
from threading import Event
from typing import Annotated

from cyclopts import App, Parameter

from cloud.admin.cli.client import Answer, RestClient
from cloud.admin.cli.errors import UsageWrong, WaitTimeout
from cloud.admin.cli.output import (
    Column,
    field,
    percent,
    show,
    show_line,
    show_rows,
    time_field,
)
from cloud.admin.cli.where import HERE, Where

app = App(name="release", help="Bring versions to devices in stages.")

WATCH_SECONDS = 0.5
PPM = 1_000_000
COLUMNS = (
    field("RELEASE", "id"),
    field("TASK", "task"),
    field("VERSION", "version"),
    field("STATE", "state"),
    Column("STAGE", lambda row: _stage(row)),
    Column("INSTALLED", lambda row: _installed(row)),
    time_field("CREATED (UTC)", "created_at_ms"),
    field("BY", "created_by"),
)


def _stage(row: object) -> str:
    assert isinstance(row, dict)
    stages, index = row["stages"], row["stage_index"]
    if index < 0:
        return f"- of {len(stages)}"
    return f"{index + 1} of {len(stages)} ({percent(stages[index]['share_ppm'])})"


def _installed(row: object) -> str:
    assert isinstance(row, dict)
    coverage = row["coverage"]
    failed = f", {coverage['failed']} failed" if coverage["failed"] else ""
    return f"{coverage['installed']}/{coverage['targeted']}{failed}"


def line(row: Answer) -> str:
    """A release in one line for people."""
    name = f"{row['id']} {row['task']} v{row['version']}"
    return f"{name} {row['state']}, stage {_stage(row)}, installed {_installed(row)}"


def parse_stages(text: str) -> list[dict[str, int]]:
    """Reads "40%,100%" or "5%@95%,100%": share of the fleet, and the installed share that promotes by itself.

    Raises:
        UsageWrong: it is not that form.
    """
    stages = []
    for part in text.split(","):
        share, _, promote = part.partition("@")
        stages.append({"share_ppm": _ppm(share), "promote_at_ppm": _ppm(promote) if promote else 0})
    return stages


def _ppm(text: str) -> int:
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise UsageWrong(
            f"{text!r} is not a share: write per cent, e.g. --stages 40%,100% or 5%@95%,100%"
        )
    return round(value * PPM / 100)


def parse_target(pairs: list[str]) -> dict[str, str]:
    """Reads "key=value" pairs. Raises UsageWrong."""
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageWrong(f"{pair!r} is not a target: write --target key=value")
        found[key] = value
    return found


@app.command
def create(
    task: str,
    version: int,
    *,
    stages: Annotated[str, Parameter(help="shares, e.g. 40%,100% or 5%@95%,100%")] = "100%",
    target: Annotated[
        list[str] | None, Parameter(help="attribute that must be equal, key=value")
    ] = None,
    rollback_version: Annotated[
        int | None, Parameter(help="0 removes the task [default: what the release before it ran]")
    ] = None,
    start: Annotated[bool, Parameter(negative="", help="start at once")] = False,
    idempotency_key: str = "",
    where: Where = HERE,
) -> None:
    """Make a release of a task's version."""
    body: dict[str, object] = {
        "task": task,
        "version": version,
        "stages": parse_stages(stages),
        "targeting": {"attributes": parse_target(target or [])},
        "start": start,
    }
    # Not sent, the cloud takes the version that ran before; 0 would remove the task.
    if rollback_version is not None:
        body["rollback_version"] = rollback_version
    key = idempotency_key or secrets.token_hex(16)
    with where.client() as client:
        made = client.post(client.context.path("/releases"), body, idempotency_key=key)
    show(made, where.output, line(made))


def _command(
    release_id: str,
    command: str,
    reason: str,
    if_revision: int,
    where: Where,
    rollback_version: int | None = None,
) -> None:
    body: dict[str, object] = {"command": command, "reason": reason}
    if rollback_version is not None:
        body["rollback_version"] = rollback_version
    with where.client() as client:
        path = client.context.path(f"/releases/{release_id}:command")
        after = client.post(path, body, if_revision=if_revision)
    show(after, where.output, line(after))


@app.command
def start(release_id: str, *, reason: str = "", if_revision: int = 0, where: Where = HERE) -> None:
    """Bring out the first stage."""
    _command(release_id, "start", reason, if_revision, where)


@app.command
def pause(release_id: str, *, reason: str = "", if_revision: int = 0, where: Where = HERE) -> None:
    """Hold: who has it keeps it, nobody new gets it."""
    _command(release_id, "pause", reason, if_revision, where)


@app.command
def resume(release_id: str, *, reason: str = "", if_revision: int = 0, where: Where = HERE) -> None:
    """Go on after a pause."""
    _command(release_id, "resume", reason, if_revision, where)


@app.command
def promote(
    release_id: str, *, reason: str = "", if_revision: int = 0, where: Where = HERE
) -> None:
    """Bring out the next stage."""
    _command(release_id, "promote", reason, if_revision, where)


@app.command
def abort(release_id: str, *, reason: str = "", if_revision: int = 0, where: Where = HERE) -> None:
    """End it: who has it keeps it."""
    _command(release_id, "abort", reason, if_revision, where)


@app.command
def rollback(
    release_id: str,
    *,
    to_version: Annotated[int, Parameter(help="0 takes the release's own")] = 0,
    reason: str = "",
    if_revision: int = 0,
    where: Where = HERE,
) -> None:
    """Send everyone who has it to the version named."""
    _command(release_id, "roll_back", reason, if_revision, where, to_version)


@app.command(name="list")
def list_releases(*, task: str = "", where: Where = HERE) -> None:
    """Releases, newest first."""
    with where.client() as client:
        query = {"task": task} if task else {}
        show_rows(client.items(client.context.path("/releases"), **query), COLUMNS, where.output)


@app.command(name="show")
def show_release(
    release_id: str,
    *,
    watch: Annotated[bool, Parameter(name=["--watch", "-w"], negative="")] = False,
    where: Where = HERE,
) -> None:
    """One release; with --watch a line at each change until it ends."""
    with where.client() as client:
        if not watch:
            found = client.get(client.context.path(f"/releases/{release_id}"))
            show(found, where.output, line(found))
            return
        for change in changes(client, release_id):
            show_line(change, where.output, line(change))


@app.command
def wait(
    release_id: str,
    *,
    condition: Annotated[
        str, Parameter(name="--for", help="state=completed or installed=all")
    ] = "state=completed",
    timeout_s: Annotated[float, Parameter(name="--timeout", help="seconds")] = 600.0,
    where: Where = HERE,
) -> None:
    """Wait for a condition; exit code 3 when the time runs out."""
    holds = parse_condition(condition)
    deadline = time.monotonic() + timeout_s
    with where.client() as client:
        for found in changes(client, release_id, deadline):
            if holds(found):
                show(found, where.output, line(found))
                return
    raise WaitTimeout(f"{condition} did not hold within {timeout_s:g} s: {line(found)}")


class Condition:
    """What `wait --for` waits for."""

    def __init__(self, name: str, value: str) -> None:
        self._name = name
        self._value = value

    def __call__(self, release: Answer) -> bool:
        """Whether the release fulfils it."""
        if self._name == "state":
            return bool(release["state"] == self._value)
        coverage = release["coverage"]
        wanted = coverage["targeted"] if self._value == "all" else int(self._value)
        return bool(wanted > 0 and coverage["installed"] >= wanted)


def parse_condition(text: str) -> Condition:
    """Reads "state=NAME", "installed=N" or "installed=all". Raises UsageWrong."""
    name, _, value = text.partition("=")
    if name == "state" and value:
        return Condition(name, value)
    if name == "installed" and (value == "all" or value.isdigit()):
        return Condition(name, value)
    raise UsageWrong(
        f"{text!r} is not a condition: write state=completed, installed=3 or installed=all"
    )


ENDED = {"completed", "aborted", "rolled_back", "superseded"}


def changes(client: RestClient, release_id: str, deadline: float | None = None) -> Iterator[Answer]:
    """The release now, and again whenever it changed, until it ended or the deadline passed."""
    path = client.context.path(f"/releases/{release_id}")
    pause_until, before = Event(), None
    while True:
        found = client.get(path)
        if found != before:
            yield found
            before = found
        if deadline is None and found["state"] in ENDED:
            return
        left = (
            WATCH_SECONDS if deadline is None else min(WATCH_SECONDS, deadline - time.monotonic())
        )
        if left <= 0:
            return
        pause_until.wait(left)
