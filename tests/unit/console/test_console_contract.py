"""The console's own copies of what the cloud knows say the same: fields of the API, commands of each state."""

import dataclasses
import re
from pathlib import Path

import pytest

from cloud.admin.cli.main import app
from cloud.admin.operations import views
from cloud.rollout.machine import ALLOWED, Command, ReleaseState

SOURCE = Path(__file__).parents[3] / "cloud/console/src"
INTERFACE = re.compile(r"export interface (\w+)(?: extends (\w+))? \{\n(.*?)\n\}", re.S)
VIEWS = {
    "Namespace": views.NamespaceView,
    "Counts": views.CountsView,
    "Coverage": views.CoverageView,
    "Stage": views.StageView,
    "Release": views.ReleaseView,
    "CurvePoint": views.CoveragePoint,
    "Curve": views.CoverageCurve,
    "ReleaseEvent": views.ReleaseEventView,
    "ReleaseDevice": views.ReleaseDeviceView,
    "Device": views.DeviceView,
    "Why": views.WhyView,
    "Task": views.TaskView,
    "Version": views.VersionView,
    "VersionDetail": views.VersionDetail,
    "Notice": views.NoticeView,
    "KillSwitch": views.KillSwitchView,
    "Overview": views.OverviewView,
}


def interfaces() -> dict[str, tuple[str, set[str]]]:
    """Name -> (name of the interface that it extends, its own fields)."""
    text = (SOURCE / "api/types.ts").read_text()
    return {
        name: (base, set(re.findall(r"^  (\w+):", body, re.M)))
        for name, base, body in INTERFACE.findall(text)
    }


@pytest.mark.parametrize("name", VIEWS)
def test_the_api_sends_every_field_that_the_console_reads(name: str) -> None:
    base, fields = interfaces()[name]
    sent = {field.name for field in dataclasses.fields(VIEWS[name])}
    assert fields <= sent
    assert base == "" or base in VIEWS


def test_the_console_offers_what_the_machine_takes() -> None:
    text = (SOURCE / "ui/release-actions.tsx").read_text()
    table = re.search(r"const ALLOWED: .*? = \{\n(.*?)\n\};", text, re.S)
    assert table
    offered = {
        ReleaseState(state): {Command(name) for name in re.findall(r'"(\w+)"', commands)}
        for state, commands in re.findall(r"(\w+): \[(.*?)\]", table[1])
    }
    assert offered == {state: set(commands) for state, commands in ALLOWED.items()}


def test_the_console_asks_nobody_but_the_cloud() -> None:
    files = [*SOURCE.rglob("*.ts*"), *SOURCE.rglob("*.css"), SOURCE.parent / "index.html"]
    assert files
    for file in files:
        addresses = re.findall(r"https?://[^\s\"'`)]+", file.read_text())
        assert not addresses, f"{file.name} names {addresses}: everything comes with the console"


def test_the_commands_that_empty_pages_name_are_commands() -> None:
    named = {
        tuple(command.split())
        for file in SOURCE.rglob("*.tsx")
        for command in re.findall(r"<code>shoal ((?:[a-z]+ ?)+)", file.read_text())
    }
    assert ("release", "create") in named
    for command in named:
        chain, _, rest = app.parse_commands([*command])
        assert (chain, rest) == (command, []), f"there is no `shoal {' '.join(command)}`"


def test_the_lock_file_names_no_registry() -> None:
    text = (SOURCE.parent / "package-lock.json").read_text()
    assert '"integrity"' in text
    assert "http" not in text
