"""The ONNX project's cases with torch alone: right, or refused by name, and wrong only where the core is too."""

import pytest

from cloud.compiler.compile import compile_onnx
from cloud.compiler.errors import OnnxInvalid, OnnxUnsupported
from device_agent.engine import _core
from device_agent.engine.backend import NotHere
from device_agent.engine.model import CORE, Model
from device_agent.engine.plan.planned import PlanError
from tests.helpers.arrays import tensor_of
from tests.helpers.onnx_cases import Case, array_of, difference, node_cases

pytest.importorskip("torch", reason="5 GB: `make test-torch` installs it beside")
backend = pytest.importorskip("cloud.backends.torch_backend")

LEAST_RIGHT = 0.85  # of the eligible cases that compile


def verdict(case: Case, backend: str) -> str:
    """Right, why it was refused, or what is wrong."""
    try:
        file = _core.check_model(compile_onnx(case.model.SerializeToString()))
    except (OnnxUnsupported, OnnxInvalid):
        return "not compiled"
    model = Model(file, backends=[backend])
    try:
        made = model.run([tensor_of(array_of(value)) for value in case.inputs])
    except (NotHere, PlanError) as refusal:
        return f"refused: {refusal}"
    return difference(case, [(t.dtype, t.shape, t.tobytes()) for t in made])


def test_no_case_comes_out_wrong() -> None:
    backend.register_devices()
    cases = [case for case in node_cases() if case.eligible]
    verdicts = {case.name: verdict(case, "torch:cpu") for case in cases}
    wrong = [case for case in cases if verdicts[case.name].startswith("wrong")]
    assert [case.name for case in wrong if not verdict(case, CORE).startswith("wrong")] == []
    compiled = [v for v in verdicts.values() if v != "not compiled"]
    print(f"{compiled.count('right')} of {len(compiled)} right")
    assert compiled.count("right") >= LEAST_RIGHT * len(compiled)
