"""The ONNX project's own backend test cases, run in a process without numpy, onnx and onnxruntime.

Rules of this module:

- A case is compiled here; its file, inputs and wanted outputs go to the runner as bytes. The runner (`onnx_runner.py`)
  refuses to import what a device does not have, and answers with the outputs' bytes.
- A case is *eligible* when all its tensors are float or integer and no operator is of ai.onnx.ml or of training.
"""

import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from cloud.compiler.compile import compile_onnx
from cloud.compiler.errors import OnnxInvalid, OnnxUnsupported
from cloud.compiler.source import DTYPES
from tests.helpers.arrays import Array
from tests.helpers.onnx_runner import read_answer, write_request

RUNNER = Path(__file__).with_name("onnx_runner.py")
DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
SETS = ("simple", "pytorch-operator", "pytorch-converted", "light")
_TYPES = frozenset(int(code) for code in DTYPES)
_OTHERS = frozenset({"ai.onnx.ml", "ai.onnx.preview.training"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One test of a backend."""

    name: str
    operator: str
    model: onnx.ModelProto
    inputs: tuple[object, ...]
    outputs: tuple[object, ...]
    rtol: float
    atol: float

    @property
    def expanded(self) -> bool:
        """Whether it is another case with a function replaced by its body."""
        return "_expanded" in self.name

    @property
    def eligible(self) -> bool:
        """Whether all its tensors are float or integer, and no operator is of another world."""
        graph = self.model.graph
        ports = (*graph.input, *graph.output)
        tensors = all(
            port.type.WhichOneof("value") == "tensor_type"
            and port.type.tensor_type.elem_type in _TYPES
            for port in ports
        )
        return tensors and not any(node.domain in _OTHERS for node in graph.node)


@cache
def node_cases() -> tuple[Case, ...]:
    """All cases of single operators; making them takes some twenty seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the makers warn of their own overflows
        from onnx.backend.test.case.node import collect_testcases

        return tuple(_node_case(case) for case in collect_testcases(None))


def _node_case(case: Any) -> Case:
    return Case(
        name=case.name,
        operator=_operator(case.name, case.model),
        model=case.model,
        inputs=tuple(case.data_sets[0][0]),
        outputs=tuple(case.data_sets[0][1]),
        rtol=case.rtol,
        atol=case.atol,
    )


def _operator(name: str, model: onnx.ModelProto) -> str:
    """The operator that a case tests; of an expanded one it is said in its nodes' names at best."""
    first = model.graph.node[0]
    prefix = f"{first.domain}." if first.domain else ""
    return f"{prefix}{first.op_type}" if "_expanded" not in name else name.split("_expanded")[0]


def data_cases(which: str) -> Iterator[Case]:
    """The cases of a set that lies in files."""
    if which == "light":
        yield from _light_cases()
        return
    for folder in sorted((DATA / which).iterdir()):
        model, tests = onnx.load(folder / "model.onnx"), folder / "test_data_set_0"
        inputs, outputs = _tensors(tests, "input"), _tensors(tests, "output")
        yield _case(folder.name, model, inputs, outputs)


def _case(
    name: str, model: onnx.ModelProto, inputs: tuple[object, ...], outputs: tuple[object, ...]
) -> Case:
    return Case(
        name=name,
        operator=name,
        model=model,
        inputs=inputs,
        outputs=outputs,
        rtol=1e-3,
        atol=1e-5,
    )


def _light_cases() -> Iterator[Case]:
    """Whole models with weights of one number; their input is what the project's runner makes for them."""
    for path in sorted((DATA / "light").glob("*.onnx")):
        model = onnx.load(path)
        weights = {tensor.name for tensor in model.graph.initializer}
        inputs = []
        for port in model.graph.input:
            if port.name not in weights:
                shape = tuple(dim.dim_value or 1 for dim in port.type.tensor_type.shape.dim)
                count = int(np.prod(shape))
                inputs.append((np.arange(count).reshape(shape) / count).astype(np.float32))
        want = onnx.TensorProto.FromString(path.with_name(f"{path.stem}_output_0.pb").read_bytes())
        yield _case(path.stem, model, tuple(inputs), (want,))


def _tensors(folder: Path, kind: str) -> tuple[object, ...]:
    files = sorted(folder.glob(f"{kind}_*.pb"), key=lambda path: int(path.stem.split("_")[1]))
    return tuple(onnx.TensorProto.FromString(path.read_bytes()) for path in files)


def array_of(value: object) -> Array:
    """A case's tensor as an array."""
    if isinstance(value, onnx.TensorProto):
        return np.asarray(numpy_helper.to_array(value))
    return np.asarray(value)


def run_cases(cases: Sequence[Case]) -> dict[str, str]:
    """How each case goes: "right", or why not. The files run in one process of their own."""
    verdicts: dict[str, str] = {}
    with subprocess.Popen(
        [sys.executable, str(RUNNER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as runner:
        assert runner.stdin is not None
        assert runner.stdout is not None
        for case in cases:
            try:
                compiled = compile_onnx(case.model.SerializeToString())
            except (OnnxUnsupported, OnnxInvalid) as refusal:
                verdicts[case.name] = f"refused: {refusal}"
                continue
            given = [array_of(value) for value in case.inputs]
            rows = [(a.dtype.name, a.shape, np.ascontiguousarray(a).tobytes()) for a in given]
            write_request(runner.stdin, compiled, rows)
            error, made = read_answer(runner.stdout)
            verdicts[case.name] = error or difference(case, made)
        runner.stdin.close()
        runner.wait(timeout=60)
    return verdicts


def difference(case: Case, made: Sequence[tuple[str, tuple[int, ...], bytes]]) -> str:
    """ "right", or in what the outputs (dtype, shape, bytes) differ from those wanted."""
    if len(made) != len(case.outputs):
        return f"wrong: {len(made)} outputs"
    for (name, shape, data), value in zip(made, case.outputs, strict=True):
        want = array_of(value)
        if (name, shape) != (want.dtype.name, want.shape):
            return f"wrong: {name} {shape} for {want.dtype.name} {want.shape}"
        got = np.frombuffer(data, want.dtype).reshape(shape)
        rtol = case.rtol
        if (
            want.dtype.name == "bfloat16"
        ):  # as the project's own runner has it: two units in the last place
            got, want, rtol = got.astype(np.float32), want.astype(np.float32), max(rtol, 2**-6)
        with np.errstate(all="ignore"):
            close = np.allclose(got, want, rtol=rtol, atol=case.atol, equal_nan=True)
        if not close:
            return "wrong: other numbers"
    return "right"
