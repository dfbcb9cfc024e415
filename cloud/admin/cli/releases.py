"""`shoal release …`: make, command, watch and wait for releases."""

import secrets
import time
from collections.abc import Iterator
from threading import Event
from typing import Annotated

from cyclopts import App, Parameter

from cloud.admin.cli.client import Answer, RestClient, named
from cloud.admin.cli.errors import ServerAway, ServerFailed, UsageWrong, WaitHopeless, WaitTimeout
from cloud.admin.cli.output import (
    Column,
    field,
    note,
    percent,
    show,
    show_line,
    show_rows,
    time_field,
)
from cloud.admin.cli.pairs import parse_pairs
from cloud.admin.cli.where import HERE, Where

app = App(name="release", help="Bring versions to devices in stages.")

WATCH_SECONDS = 0.5
PPM = 1_000_000
COUNT_CHARS_MAX = 18
# In the words of cloud/rollout/machine.py, which a command does not load; a test compares.
AFTER_END = {
    "completed": ("rolled_back", "superseded"),
    "aborted": ("rolled_back", "superseded"),
    "rolled_back": (),
    "superseded": (),
}
ENDED = tuple(AFTER_END)
STATES = ("draft", "running", "paused", *ENDED)
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

EVENT_COLUMNS = (
    time_field("AT (UTC)", "at_ms"),
    field("BY", "actor"),
    Column("STEP", lambda row: _step(row["event"])),
    field("AFTERWARDS", "message"),
)
DEVICE_COLUMNS = (
    field("DEVICE", "device_id"),
    field("OUTCOME", "outcome"),
    field("ERROR", "error_code"),
    time_field("NOTIFIED (UTC)", "notified_at_ms"),
    time_field("INSTALLED (UTC)", "installed_at_ms"),
)


def _step(event: object) -> str:
    assert isinstance(event, dict)
    reason = f" ({event['reason']})" if event.get("reason") else ""
    return str(event.get("command") or event["type"]) + reason


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
        share, at, promote = part.partition("@")
        stages.append({"share_ppm": _ppm(share), "promote_at_ppm": _ppm(promote) if at else 0})
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
        "targeting": {"attributes": parse_pairs(target or [], "--target")},
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
        path = client.context.path(f"/releases/{named(release_id)}:command")
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
            found = client.get(client.context.path(f"/releases/{named(release_id)}"))
            show(found, where.output, line(found))
            return
        for change in changes(client, release_id):
            show_line(change, where.output, line(change))


@app.command
def history(release_id: str, *, where: Where = HERE) -> None:
    """Every step of a release: who did what, when, why, and where it stood afterwards."""
    with where.client() as client:
        path = client.context.path(f"/releases/{named(release_id)}/events")
        show_rows(client.items(path), EVENT_COLUMNS, where.output)


@app.command
def devices(release_id: str, *, where: Where = HERE) -> None:
    """What devices acknowledged of a release."""
    with where.client() as client:
        path = client.context.path(f"/releases/{named(release_id)}/devices")
        show_rows(client.items(path), DEVICE_COLUMNS, where.output)


@app.command
def wait(
    release_id: str,
    *,
    condition: Annotated[
        str, Parameter(name="--for", help="state=completed, installed=3 or installed=all")
    ] = "state=completed",
    timeout_s: Annotated[float, Parameter(name="--timeout", help="seconds")] = 600.0,
    where: Where = HERE,
) -> None:
    """Wait for a condition; exit code 3 when the time runs out, 1 when it cannot happen any more."""
    holds = parse_condition(condition)
    if not 0 <= timeout_s < float("inf"):
        raise UsageWrong("--timeout is a number of seconds, 0 or more")
    with where.client() as client:
        for found in changes(client, release_id, time.monotonic() + timeout_s):
            if holds(found):
                show(found, where.output, line(found))
                return
            if not holds.can_still_hold(found):
                raise WaitHopeless(f"{condition} cannot hold any more: {line(found)}")
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

    def can_still_hold(self, release: Answer) -> bool:
        """Whether waiting makes sense: devices go on installing what is completed, not what is aborted."""
        if release["state"] not in ENDED:
            return True
        if self._name == "state":
            return self._value in AFTER_END[release["state"]]
        return bool(release["state"] == "completed")


def parse_condition(text: str) -> Condition:
    """Reads "state=NAME", "installed=N" or "installed=all". Raises UsageWrong."""
    name, _, value = text.partition("=")
    if name == "state" and value in STATES:
        return Condition(name, value)
    number = value.isdecimal() and len(value) <= COUNT_CHARS_MAX and int(value) > 0
    if name == "installed" and (value == "all" or number):
        return Condition(name, value)
    raise UsageWrong(
        f"{text!r} is not a condition: write installed=3, installed=all, or state= and one of "
        f"{', '.join(STATES)}"
    )


def changes(client: RestClient, release_id: str, deadline: float | None = None) -> Iterator[Answer]:
    """The release now, and again whenever it changed, until it ended or the deadline passed.

    A cloud that answered once and is away for a while (it restarts) is waited for.
    """
    path = client.context.path(f"/releases/{named(release_id)}")
    pause_until, before, away = Event(), None, False
    while True:
        try:
            found, away = client.get(path), False
        except (ServerAway, ServerFailed) as error:
            if before is None or (isinstance(error, ServerFailed) and error.http_status != 503):
                raise
            if not away:
                note(f"{error}; trying again")
            found, away = before, True
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
