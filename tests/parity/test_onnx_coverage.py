"""The ONNX project's own backend cases, from compiled files in a process that has what a device has.

Every case of every set runs nightly and is compared with the committed table; each day a sample of them runs.
"""

from pathlib import Path

import onnx
import pytest

from cloud.compiler.compile import compile_onnx
from cloud.compiler.errors import OnnxInvalid, OnnxUnsupported
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


@pytest.mark.slow  # it needs the cases, too
@pytest.mark.parametrize("more", [True, False], ids=["an axis more", "an axis less"])
def test_inputs_of_another_rank_compile_or_are_refused(more: bool) -> None:
    """Shape inference lets some through: then the operator's lowering says what it cannot do."""
    refused = 0
    for case in (case for case in node_cases() if not case.expanded):
        for i in range(len(case.model.graph.input)):
            model = onnx.ModelProto()
            model.CopyFrom(case.model)
            axes = model.graph.input[i].type.tensor_type.shape.dim
            if more:
                axes.add().dim_value = 2
            elif axes:
                del axes[-1]
            try:
                compile_onnx(model.SerializeToString())
            except (OnnxInvalid, OnnxUnsupported) as error:
                refused += "takes no inputs of shapes" in str(error)
    assert refused
