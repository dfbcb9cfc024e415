"""`make bench [ONLY=suite]`: runs the suites, prints a table, writes build/bench/<suite>.json.

A suite is a list of modules of tests/bench, each with `def rows() -> list[BenchRow]`. A missed target is printed as
missed; the exit code says only whether the benchmarks ran.
"""

import argparse
import importlib
import json
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.rows import BenchRow, write

ROOT = Path(__file__).parents[2]
SUITES = {
    "main": ["vm", "sync", "fleet"],
    "vm": ["vm_memory", "vm_tasks"],
    "engine": ["engine", "models", "roofline", "choices", "kernels"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help=f"one of {', '.join(SUITES)}")
    wanted = parser.parse_args().only
    if wanted and wanted not in SUITES:
        print(f"no suite {wanted!r}; there are: {', '.join(SUITES)}", file=sys.stderr)
        return 2
    console = Console(width=140)
    for suite in [wanted] if wanted else list(SUITES):
        rows: list[BenchRow] = []
        for module in SUITES[suite]:
            rows += importlib.import_module(f"tests.bench.{module}").rows()
        console.print(render(suite, rows))
        write(rows, ROOT / "build" / "bench" / f"{suite}.json")
    return 0


def show(suite: str, rows: list[BenchRow], *, as_json: bool) -> None:
    """Prints rows: as a table for people, or as one line for whoever runs a module apart."""
    if as_json:
        print(json.dumps([asdict(row) for row in rows]))
    else:
        Console(width=140).print(render(suite, rows))


def render(suite: str, rows: list[BenchRow]) -> Table:
    table = Table(title=f"bench {suite}", title_justify="left")
    for heading in ("what", "value", "unit", "target", "", "against"):
        table.add_column(heading, justify="right" if heading in ("value", "target") else "left")
    for row in rows:
        verdict = {True: "[green]holds[/]", False: "[red]missed[/]", None: ""}[row.holds]
        target = "" if row.target is None else f"{row.target:,.4g}"
        table.add_row(row.name, f"{row.value:,.4g}", row.unit, target, verdict, row.peer)
    return table


if __name__ == "__main__":
    sys.exit(main())
