"""Coverage-guided fuzzing of what reads bytes from outside: `make fuzz`, nightly. One target a run.

    python -m tests.fuzz.harness TARGET FOLDER SECONDS

Targets: `model` (our file, its checksum put right), `onnx` (the compiler's input), `plan` (what the core runs), and
`request` (what a VM asks to have planned). What is refused by name is fine, and so is what runs; another error, a
crash, a hang or two gigabytes end the run, and the input lies in FOLDER as crash-*, timeout-* or oom-*.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FunctionType, ModuleType

import atheris

from cloud.compiler.compile import compile_onnx
from device_agent.engine import _core
from device_agent.engine.errors import EngineError
from device_agent.engine.model import Model, parse_model
from device_agent.engine.planner import answer_request
from device_agent.engine.settings import LIMITS
from tests.helpers.graphs import sealed

SIZE_MAX = 64
TIMEOUT_S = 20
MEMORY_MIB = 2_048
ELEMENTS_MAX = 1 << 20
HEADER_BYTES = 64


def model(data: bytes) -> None:
    """A file; small inputs are run through what it describes."""
    if len(data) >= HEADER_BYTES:
        whole = bytearray(data)
        whole[16:24] = len(data).to_bytes(8, "little")
        data = sealed(whole)
    try:
        parsed = parse_model(data)
    except (EngineError, _core.ModelInvalid, _core.ModelUnsupported):
        return
    _run(parsed)


def onnx(data: bytes) -> None:
    """An ONNX model; what compiles is a file that is read."""
    try:
        made = compile_onnx(data)
    except EngineError:
        return
    _run(parse_model(made))


def plan(data: bytes) -> None:
    """The words of a plan, over the bytes of a real file."""
    try:
        session = _core.session(data, _FILE)
        session.run([])
    except (_core.PlanInvalid, ValueError, TypeError, MemoryError):
        return


def request(data: bytes) -> None:
    """What a VM asks; an answer, or an error that ends that VM's event alone."""
    with suppress(Exception):
        answer_request(str(_PATH), data)


def _run(parsed: Model) -> None:
    inputs = []
    for _, dtype, shape in parsed.inputs:
        small = tuple(2 if size < 0 else size for size in shape)
        if any(size > SIZE_MAX for size in small) or _elements(small) > ELEMENTS_MAX:
            return
        inputs.append(_core.zeros(small, dtype))  # type: ignore[arg-type]  # a dtype's name
    try:
        parsed.run(inputs)
    except (ValueError, TypeError, MemoryError):
        return


def _elements(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


TARGETS: dict[str, Callable[[bytes], None]] = {
    "model": model,
    "onnx": onnx,
    "plan": plan,
    "request": request,
}


def instrument() -> None:
    """Counts coverage in every function of the compiler and the engine.

    atheris' own hook for imports loses the counters of what an editable install loads.
    """
    for name, module in list(sys.modules.items()):
        if name.startswith(("cloud.compiler", "device_agent.engine")):
            for function in _functions(module):
                atheris.instrument_func(function)


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    for value in list(vars(module).values()):
        inside = vars(value).values() if isinstance(value, type) else [value]
        for one in inside:
            found = getattr(one, "__func__", getattr(one, "fget", one))
            if isinstance(found, FunctionType) and found.__module__ == module.__name__:
                yield found


def main() -> None:
    """Runs one target for a while over what its folder holds; ends with the fuzzer's own status."""
    name, folder, seconds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    options = [
        f"-max_total_time={seconds}",
        f"-timeout={TIMEOUT_S}",
        f"-rss_limit_mb={MEMORY_MIB}",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
        "-max_len=16384",
    ]
    # Tensors of 2 GiB are allowed; here the fuzzer's own limit of memory would end what is right.
    object.__setattr__(LIMITS, "tensor_bytes_max", ELEMENTS_MAX)
    instrument()
    atheris.Setup([sys.argv[0], *options, str(folder / name)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    from tests.fuzz.seeds import plant

    _PATH = plant(Path(sys.argv[2]))
    _FILE = _core.map_model(str(_PATH))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
