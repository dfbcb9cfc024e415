"""The ONNX project's own backend cases, from compiled files in a process that has what a device has.

Every case of every set runs nightly and is compared with the committed table; each day a sample of them runs.
"""

from pathlib import Path

import pytest

from tests.helpers.onnx_cases import SETS, data_cases, node_cases, run_cases
from tests.helpers.onnx_coverage import measured, table

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "onnx-coverage.md"


@pytest.mark.parametrize(
    "which", ["pytorch-converted", pytest.param("light", marks=pytest.mark.slow)]
)
def test_sets_that_run_whole(which: str) -> None:
    """The light models' weights are one number each: what tells equal channels apart by a bit, fails."""
    cases = list(data_cases(which))
    assert len(cases) > 8
    wrong = {name: v for name, v in run_cases(cases).items() if v != "right"}
    assert not wrong


def test_what_is_refused_says_where() -> None:
    cases = [case for which in ("simple", "pytorch-operator") for case in data_cases(which)]
    verdicts = run_cases(cases)
    assert set(verdicts.values()) > {"right"}
    for verdict in verdicts.values():
        assert verdict == "right" or verdict.startswith("refused: "), verdict


@pytest.mark.slow  # making the cases alone takes twenty seconds
def test_the_committed_table_is_what_is_measured() -> None:
    verdicts = measured()
    assert table(verdicts) == PAGE.read_text()
    eligible = [case for case in node_cases() if case.eligible]
    right = sum(verdicts["node"][case.name] == "right" for case in eligible)
    assert right >= 0.96 * len(eligible)
    assert set(SETS) < set(verdicts)
