"""The engine's speed: matrix products against numpy, and the digits models against onnxruntime, one thread each.

Whoever measures is a process of its own, so that the peers' libraries start with one thread and nobody's settings.
Each contender runs on the same numbers; calls are repeated until a sample lasts long enough to be read off a clock.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests.bench.rows import BenchRow, interleaved, ratio_to
from tests.bench.run import show

ROUNDS = 9
SAMPLE_S = 0.03
MODELS = Path(__file__).parents[2] / "docs" / "examples" / "digits" / "models"
# (m, k, n): one row against a layer, a batch against one, a square that fills the caches.
PRODUCTS = ((1, 256, 256), (64, 256, 256), (384, 384, 384))
BATCHES = (1, 64)


def rows() -> list[BenchRow]:
    """All rows of this module."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        environment.pop(name, None)
    made = subprocess.run(
        [sys.executable, "-m", "tests.bench.engine", "--json"],
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
    )
    return [BenchRow(**row) for row in json.loads(made.stdout)]


def measured() -> list[BenchRow]:
    """The rows, in this process."""
    return [*_products(), *_models()]


def _products() -> list[BenchRow]:
    from device_agent.engine import _core

    made = []
    for m, k, n in PRODUCTS:
        a, b = _numbers((m, k)), _numbers((k, n))
        x, y = (_core.frombuffer(array, shape=array.shape) for array in (a, b))
        ours, theirs = interleaved(
            ROUNDS, _seconds(partial(_core.matmul, x, y)), _seconds(partial(np.matmul, a, b))
        )
        name = f"product ({m}, {k}) @ ({k}, {n})"
        rate = 2 * m * k * n / ours / 1e9
        made.append(BenchRow(name=name, value=rate, unit="Gflop/s"))
        made.append(ratio_to("numpy, 1 thread", f"{name} / numpy", theirs / ours, 1.0))
    return made


def _models() -> list[BenchRow]:
    import onnxruntime as ort

    from cloud.compiler.compile import compile_onnx
    from device_agent.engine import _core
    from device_agent.engine.model import parse_model

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    made = []
    for path in sorted(MODELS.glob("*.onnx")):
        data = path.read_bytes()
        model = parse_model(compile_onnx(data))
        session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        ((port, dtype, shape),) = model.inputs
        for batch in BATCHES:
            # Pixels are whole numbers from 0 to 16.
            array = (_numbers((batch, *shape[1:])) * 17).astype(dtype)
            tensor = _core.frombuffer(array, dtype, array.shape)  # type: ignore[arg-type]  # a dtype's name
            feeds = {port: array}
            want, got = session.run(None, feeds)[0], np.asarray(model.run([tensor])[0])
            np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)
            ours, theirs = interleaved(
                ROUNDS,
                _seconds(partial(model.run, [tensor])),
                _seconds(partial(session.run, None, feeds)),
            )
            name = f"{path.stem}, batch {batch}"
            made.append(BenchRow(name=name, value=ours * 1e6, unit="us"))
            made.append(
                ratio_to("onnxruntime, 1 thread", f"{name} / onnxruntime", theirs / ours, 1.0)
            )
    return made


def _numbers(shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    return np.random.default_rng(7).random(shape).astype(np.float32)


def _seconds(call: Callable[[], object]) -> Callable[[], float]:
    """Seconds a call, over as many as fill a sample."""
    call()
    begin = time.perf_counter()
    call()
    repeats = max(1, round(SAMPLE_S / max(1e-7, time.perf_counter() - begin)))

    def measure() -> float:
        begin = time.perf_counter()
        for _ in range(repeats):
            call()
        return (time.perf_counter() - begin) / repeats

    return measure


def main() -> None:
    """Prints this module's rows alone."""
    as_json = "--json" in sys.argv
    show("engine", measured() if as_json else rows(), as_json=as_json)


if __name__ == "__main__":
    main()
