"""What fuzzing begins from: small models of every shape of graph that we have, as files, ONNX, plans and requests."""

from pathlib import Path

from cloud.compiler.compile import compile_onnx
from device_agent.engine import _core
from device_agent.engine.asking import Request
from device_agent.engine.errors import EngineError
from device_agent.engine.format import encode_model
from device_agent.engine.model import parse_model
from tests.helpers.graphs import node, onnx_model, two_layers
from tests.helpers.onnx_cases import data_cases

CASES = 40  # of the ONNX project's small ones
BYTES_MAX = 16_384


def plant(folder: Path) -> Path:
    """Writes seeds for every target into its folder; the file that plans and requests are of."""
    for target in ("model", "onnx", "plan", "request"):
        (folder / target).mkdir(parents=True, exist_ok=True)
    sources = {"chain": _chain()}
    for which in ("simple", "pytorch-operator", "pytorch-converted"):
        for case in list(data_cases(which))[:CASES]:
            data = case.model.SerializeToString()
            if len(data) < BYTES_MAX:
                sources[case.name] = data
    for name, data in sources.items():
        (folder / "onnx" / name).write_bytes(data)
        try:
            (folder / "model" / name).write_bytes(compile_onnx(data))
        except EngineError:  # it needs what we do not have
            continue
    whole = encode_model(two_layers())
    (folder / "model" / "two_layers").write_bytes(whole)
    path = folder / "planned.shoalmodel"
    path.write_bytes(whole)
    _plan(folder, whole)
    return path


def _plan(folder: Path, whole: bytes) -> None:
    model = parse_model(whole)
    ((name, dtype, shape),) = model.inputs
    given = _core.zeros(tuple(2 if size < 0 else size for size in shape), dtype)  # type: ignore[arg-type]
    for level in _core.levels():
        model.run([given], level=level)
        request = Request(
            address=(),
            at=0,
            level=level,
            threads=1,
            trials=0,
            specs=[(name, 1, given.shape)],
            contents={},
        )
        (folder / "request" / level).write_bytes(request.to_bytes())
    for i, stage in enumerate(model.plans()):
        (folder / "plan" / str(i)).write_bytes(stage.plan.words)


def _chain() -> bytes:
    return onnx_model(
        [
            node("Relu", "x", "a"),
            node("Softmax", "a", "b", axis=1),
            node("Transpose", "b", "c", perm=[1, 0]),
            node("MatMul", "x c", "y"),
        ],
        {"x": ["n", 3]},
        ["y"],
    )
