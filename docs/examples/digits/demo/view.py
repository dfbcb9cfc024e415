"""What the demo shows while it runs, and its summary.

Rules of this module:

- It prints what it is given; it computes shares and intervals from counts, and nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from docs.examples.digits.demo.scoreboard import Scoreboard
from docs.examples.digits.measure import Share, collaborative, device_only, never_left

Release = Mapping[str, Any]
BAR_WIDTH = 40


@dataclass(slots=True)
class State:
    """What the view shows."""

    step: str = "starting"
    devices: Sequence[Mapping[str, Any]] = ()
    releases: list[Release] = field(default_factory=list)
    digits: int = 0


def render(state: State, board: Scoreboard) -> RenderableType:
    """The live view."""
    return Group(
        Text(f"▸ {state.step}", style="bold"),
        _devices(state.devices),
        *(_release(release) for release in state.releases),
        _digits(board, state.digits),
    )


def _devices(devices: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("device", "status", "runs"):
        table.add_column(heading)
    for device in devices:
        installed = ", ".join(
            f"{row['task']} v{row['version']} ({row['state']})" for row in device["installed"] or ()
        )
        table.add_row(device["id"][:12], device["status"], installed or "-")
    return table


def _release(release: Release) -> Table:
    coverage, stages, index = release["coverage"], release["stages"], release["stage_index"]
    share = stages[index]["share_ppm"] / 10_000 if index >= 0 else 0
    grid = Table.grid(padding=(0, 1))
    grid.add_row(
        f"release of v{release['version']} {release['state']:>9}, stage {share:g} %",
        ProgressBar(
            total=max(1, coverage["targeted"]), completed=coverage["installed"], width=BAR_WIDTH
        ),
        f"{coverage['installed']}/{coverage['targeted']} installed",
    )
    return grid


def _digits(board: Scoreboard, total: int) -> Table:
    grid = Table.grid(padding=(0, 1))
    answered = len(board.answers)
    grid.add_row(
        f"digits fed {len(board.fed)} of {total}",
        ProgressBar(total=max(1, total), completed=answered, width=BAR_WIDTH),
        f"{answered} answered, {board.escalated} by the cloud",
    )
    return grid


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """All that the demo found out.

    Attributes:
        coverage: For each release, (seconds since it started, devices installed) points.
        install_ms: For each release, p50 and p99 of the time from release to installed.
        runs: Runs by version and outcome.
        cloud_only: Accuracy of the cloud's model on every digit of the test fold.
        seconds: How long it all took.
        console: Address of the console, with its one-time login.
    """

    coverage: Mapping[int, Sequence[tuple[float, int]]]
    install_ms: Mapping[int, tuple[float, float]]
    runs: Sequence[Mapping[str, Any]]
    cloud_only: Share
    seconds: float
    console: str


def render_summary(summary: Summary, board: Scoreboard) -> RenderableType:
    """The end of the demo."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for version, points in summary.coverage.items():
        curve = ", ".join(f"{count} at {at:.1f} s" for at, count in points)
        p50, p99 = summary.install_ms[version]
        table.add_row(f"coverage of v{version}", curve)
        table.add_row("  release to installed", f"p50 {p50:.0f} ms, p99 {p99:.0f} ms")
    for row in summary.runs:
        table.add_row(f"runs of v{row['version']}", f"{row['runs']} {row['outcome']}")
    table.add_row("digits", f"{len(board.fed)} fed, {board.lost} lost, {board.repeated} repeated")
    for version in sorted(summary.coverage):
        readings = board.readings(version)
        if readings:
            table.add_row(f"v{version}: device alone", str(device_only(readings)))
            table.add_row(f"v{version}: device and cloud", str(collaborative(readings)))
            table.add_row(f"v{version}: never left the device", str(never_left(readings)))
    table.add_row("cloud alone", str(summary.cloud_only))
    table.add_row("cloud escalations", str(board.escalated))
    table.add_row("took", f"{summary.seconds:.1f} s")
    return Panel(table, title="what happened", title_align="left")
