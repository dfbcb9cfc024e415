"""The engines that whole models are measured on, behind one interface: ours, onnxruntime, MNN.

Each reads its own file in a folder that `prepare` filled, so that whoever measures converts nothing.
"""

import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.helpers.arrays import Array

type Feeds = dict[str, Array]


class Engine(ABC):
    """A loaded model.

    Attributes:
        session_s: Seconds from the file to the first result, less those of a later one.
    """

    session_s: float

    def _begin(self, load: Callable[[], None]) -> None:
        """Loads, and takes the time of what comes before the second run."""
        begin = time.perf_counter()
        load()
        self.run(0)
        first_s = time.perf_counter() - begin
        begin = time.perf_counter()
        self.run(1)
        self.session_s = max(0.0, first_s - (time.perf_counter() - begin))

    @abstractmethod
    def run(self, turn: int) -> object:
        """One run, on the inputs of a turn."""


def prepare(data: bytes, folder: Path) -> None:
    """Writes the model for every engine that takes it."""
    from cloud.compiler.compile import compile_onnx

    (folder / "model.onnx").write_bytes(data)
    (folder / "model.shoal").write_bytes(compile_onnx(data))
    # Not the package's own command: that installs a logging client and calls home. It leaves files where it stands.
    words = ["mnnconvert", "-f", "ONNX", "--modelFile", "model.onnx", "--MNNModel", "model.mnn"]
    convert = f"import _tools; _tools.mnnconvert({[*words, '--bizCode', 'bench']})"
    subprocess.run(
        [sys.executable, "-c", convert], cwd=folder, stdout=subprocess.DEVNULL, check=False
    )


class Ours(Engine):
    """The compiled file, mapped."""

    def __init__(self, folder: Path, feeds: list[Feeds], threads: int) -> None:
        from device_agent.engine.model import load_model
        from tests.helpers.arrays import tensor_of

        self._inputs = [{name: tensor_of(array) for name, array in one.items()} for one in feeds]

        def load() -> None:
            self.model = load_model(str(folder / "model.shoal"), threads=threads)

        self._begin(load)

    def run(self, turn: int) -> object:
        return self.model.run(self._inputs[turn % len(self._inputs)])


class OnnxRuntime(Engine):
    """All its graph optimisations, sequential execution."""

    def __init__(self, folder: Path, feeds: list[Feeds], threads: int) -> None:
        import onnxruntime as ort

        self._feeds = feeds
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3

        def load() -> None:
            self._session = ort.InferenceSession(
                folder / "model.onnx", options, providers=["CPUExecutionProvider"]
            )

        self._begin(load)

    def run(self, turn: int) -> object:
        return self._session.run(None, self._feeds[turn % len(self._feeds)])


class Mnn(Engine):
    """Its module interface with full precision; a run ends when its outputs were read."""

    def __init__(self, folder: Path, feeds: list[Feeds], threads: int) -> None:
        import MNN.expr as expressions
        import MNN.nn as networks
        import onnx

        graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
        outputs = [port.name for port in graph.output]
        names = list(feeds[0])
        self._inputs = [[_constant(expressions, one[name]) for name in names] for one in feeds]
        config = {"backend": "CPU", "precision": "high", "numThread": threads}

        def load() -> None:
            self._runtime = networks.create_runtime_manager((config,))
            self._module = networks.load_module_from_file(
                str(folder / "model.mnn"), names, outputs, runtime_manager=self._runtime
            )

        self._begin(load)

    def run(self, turn: int) -> object:
        made = self._module.forward(self._inputs[turn % len(self._inputs)])
        return [one.read() for one in (made if isinstance(made, list) else [made])]


def _constant(expressions: Any, array: Array) -> Any:
    if array.dtype == np.int64:  # it has no integers of 64 bits
        array, kind = array.astype(np.int32), expressions.int
    else:
        kind = expressions.float
    return expressions.const(np.ascontiguousarray(array), list(array.shape), expressions.NCHW, kind)


ENGINES: dict[str, type[Ours] | type[OnnxRuntime] | type[Mnn]] = {
    "ours": Ours,
    "onnxruntime": OnnxRuntime,
    "MNN": Mnn,
}
