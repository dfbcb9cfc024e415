"""ONNX's own node tests, through compiler and engine: right, or refused by name; never wrong, never a traceback.

Each case is tried as it is, and with all inputs but the first fixed to what its data says, for many of our rules want
shapes, axes and bounds to be constants. Tolerances are the cases' own.
"""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from cloud.compiler.compile import compile_onnx
from cloud.compiler.errors import OnnxInvalid, OnnxUnsupported
from cloud.compiler.rules import RULES
from device_agent.engine import _core
from tests.helpers.arrays import Array, tensor_of

node_cases = pytest.importorskip(
    "onnx.backend.test.case.node", reason="the onnx package has no node tests"
)
pytestmark = pytest.mark.slow


def fixed(
    model: onnx.ModelProto, feeds: dict[str, Array]
) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """The model with every input but its first as a constant, and what is left to feed."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    first = made.graph.input[0].name
    for name, array in feeds.items():
        if name != first:
            made.graph.initializer.append(numpy_helper.from_array(array, name))
    del made.graph.input[1:]
    return made, {first: feeds[first]} if first in feeds else {}


def outcome(model: onnx.ModelProto, feeds: dict[str, Array], case: object) -> str:
    """How it went: "right" or "refused"; what is wrong fails the test."""
    name, rtol, atol = case.name, case.rtol, case.atol  # type: ignore[attr-defined]  # onnx has no type for it
    try:
        compiled = _core.parse_model(compile_onnx(model.SerializeToString()))
    except OnnxInvalid:
        return "refused"
    except OnnxUnsupported as refusal:
        named = all(f"{row.operator} at " in str(refusal) for row in refusal.operators)
        return "refused" if named else "refused without saying where"
    tensors = {port: tensor_of(feeds[port]) for port, _, _ in compiled.inputs}
    wanted = case.data_sets[0][1]  # type: ignore[attr-defined]  # as above
    for got, want in zip(compiled.run(tensors), wanted, strict=True):
        made, expected = np.asarray(got), np.asarray(want)
        assert (made.shape, made.dtype) == (expected.shape, expected.dtype), name
        np.testing.assert_allclose(made, expected, rtol=rtol, atol=atol, err_msg=name)
    return "right"


@pytest.mark.filterwarnings("ignore")  # the cases' makers warn of their own overflows
@pytest.mark.parametrize("operator", sorted(RULES))
def test_node_cases(operator: str) -> None:
    outcomes = []
    for case in node_cases.collect_testcases(operator):
        inputs, _ = case.data_sets[0]
        names = [port.name for port in case.model.graph.input]
        feeds = {name: np.asarray(array) for name, array in zip(names, inputs, strict=False)}
        outcomes.append(outcome(case.model, feeds, case))
        outcomes.append(outcome(*fixed(case.model, feeds), case))
    assert set(outcomes) == {"right", "refused"} or outcomes.count("right") == len(outcomes) > 0
