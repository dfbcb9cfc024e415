"""The table of docs/reference/onnx-coverage.md: which ONNX operators run, measured by the ONNX project's own cases.

python -m tests.helpers.onnx_coverage > docs/reference/onnx-coverage.md
"""

import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping

import onnx

from tests.helpers.onnx_cases import SETS, Case, data_cases, node_cases, run_cases

HEAD = """\
# ONNX coverage

How many of the ONNX project's own backend cases (onnx {version}) give the right numbers from our compiled files, in a
process that can import neither numpy nor onnx nor onnxruntime. Made by `python -m tests.helpers.onnx_coverage`; a test
compares. *Float or integer*: every input and output is a tensor of such a type, and no operator is of ai.onnx.ml or of
training. `_expanded` cases are others with a function replaced by its body; they are counted apart.

"""


def table(verdicts: Mapping[str, Mapping[str, str]]) -> str:
    """The page: shares of the sets, then the node cases by operator, then what does not run and why."""
    lines = [HEAD.format(version=onnx.__version__), "## Sets\n\n"]
    lines.append("| set | cases | right | share |\n|---|---|---|---|\n")
    cases = node_cases()
    found = verdicts["node"]
    for title, chosen in (
        ("node, float or integer", [c for c in cases if c.eligible and not c.expanded]),
        ("node, float or integer, `_expanded`", [c for c in cases if c.eligible and c.expanded]),
        ("node, all", [c for c in cases if not c.expanded]),
        ("node, all, `_expanded`", [c for c in cases if c.expanded]),
    ):
        lines.append(_row(title, [found[c.name] for c in chosen]))
    lines += [_row(name, list(verdicts[name].values())) for name in SETS]
    lines.append("\n## Node cases by operator\n\n| operator | right | of |\n|---|---|---|\n")
    rows: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        if not case.expanded:
            rows[case.operator].append(found[case.name])
    for operator, some in sorted(rows.items()):
        lines.append(f"| {operator} | {some.count('right')} | {len(some)} |\n")
    lines.append("\n## What does not run\n\n| case | why |\n|---|---|\n")
    for name, verdict in sorted(_failures(cases, verdicts)):
        lines.append(f"| {name} | {_short(verdict)} |\n")
    return "".join(lines)


def _row(title: str, verdicts: list[str]) -> str:
    right = verdicts.count("right")
    share = 100 * right / max(1, len(verdicts))
    return f"| {title} | {len(verdicts)} | {right} | {share:.1f} % |\n"


def _failures(
    cases: Iterable[Case], verdicts: Mapping[str, Mapping[str, str]]
) -> Iterable[tuple[str, str]]:
    for case in cases:
        verdict = verdicts["node"][case.name]
        if verdict != "right" and not case.expanded:
            yield case.name, verdict
    for which in SETS:
        for name, verdict in verdicts[which].items():
            if verdict != "right":
                yield f"{which}/{name}", verdict


def _short(verdict: str) -> str:
    """A reason on one line without what changes from run to run."""
    lines = [line.strip() for line in verdict.splitlines() if line.strip()]
    text = lines[1] if len(lines) > 1 and "nodes cannot be compiled" in lines[0] else lines[0]
    text = re.sub(r" at '.*?':", ":", text).replace("|", "/")
    return text[:120]


def measured() -> dict[str, dict[str, str]]:
    """Runs everything."""
    verdicts = {"node": run_cases(node_cases())}
    for which in SETS:
        verdicts[which] = run_cases(list(data_cases(which)))
    return verdicts


if __name__ == "__main__":
    sys.stdout.write(table(measured()))
