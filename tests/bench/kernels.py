"""Single kernels against onnxruntime, one and two threads: convolutions and products of real models.

`python -m tests.bench.kernels` prints for each shape every algorithm's Gflop/s (of the plain convolution, so that
Winograd may pass the peak), the best one's ratio to the core's peak, and its ratio to onnxruntime's one-node model with
the same activation, measured in turns. Our times are of the kernel alone, with pictures in its layout; onnxruntime's
have the change to its own layout and back in them, as a model of one node needs.

Whoever measures is a process of its own, so that the peers' libraries start with their own settings.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from device_agent.engine.plan.costs import STRASSEN_MIN
from tests.bench.rows import BenchRow, interleaved, ratio_to
from tests.bench.run import show

if TYPE_CHECKING:
    from device_agent.engine import _core

ROUNDS = 7
SAMPLE_S = 0.02
TARGET = 0.9
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution of a model: square kernel and picture, same strides and pads both ways."""

    model: str
    in_channels: int
    out_channels: int
    size: int
    kernel: int
    stride: int = 1
    pad: int = 0
    groups: int = 1

    def out_size(self) -> int:
        return (self.size + 2 * self.pad - self.kernel) // self.stride + 1

    def flops(self) -> int:
        inner = self.in_channels // self.groups * self.kernel**2
        return 2 * inner * self.out_channels * self.out_size() ** 2

    def algorithms(self) -> tuple[tuple[str, int], ...]:
        """(algorithm, Winograd's unit) of those worth a look."""
        if self.groups == self.in_channels:
            return (("depthwise", 0), ("depthwise_plain", 0))
        if self.in_channels <= 4:
            return (("planar", 0), ("im2col", 0))
        if self.groups > 1:
            return (("im2col", 0),)
        if self.kernel == 3 and self.stride == 1:
            return (("direct", 0), ("winograd", 2), ("winograd", 4), ("winograd", 6))
        return (("direct", 0), ("im2col", 0))

    def __str__(self) -> str:
        groups = f" groups {self.groups}" if self.groups > 1 else ""
        return (
            f"{self.model} {self.kernel}x{self.kernel}/{self.stride} {self.in_channels}-{self.out_channels}"
            f" at {self.size}{groups}"
        )


CONVS = (
    Conv("ResNet-50", 3, 64, 224, 7, 2, 3),
    Conv("ResNet-50", 64, 64, 56, 3, 1, 1),
    Conv("ResNet-50", 64, 256, 56, 1),
    Conv("ResNet-50", 256, 64, 56, 1),
    Conv("ResNet-50", 128, 128, 56, 3, 2, 1),
    Conv("ResNet-50", 128, 128, 28, 3, 1, 1),
    Conv("ResNet-50", 256, 1024, 14, 1),
    Conv("ResNet-50", 256, 256, 14, 3, 1, 1),
    Conv("ResNet-50", 1024, 2048, 14, 1, 2),
    Conv("ResNet-50", 512, 512, 7, 3, 1, 1),
    Conv("SqueezeNet", 16, 64, 55, 1),
    Conv("SqueezeNet", 16, 64, 55, 3, 1, 1),
    Conv("SqueezeNet", 64, 256, 13, 3, 1, 1),
    Conv("SqueezeNet", 512, 1000, 13, 1),
    Conv("MobileNet-V2", 3, 32, 224, 3, 2, 1),
    Conv("MobileNet-V2", 32, 32, 112, 3, 1, 1, 32),
    Conv("MobileNet-V2", 96, 96, 112, 3, 2, 1, 96),
    Conv("MobileNet-V2", 144, 144, 56, 3, 1, 1, 144),
    Conv("MobileNet-V2", 24, 144, 56, 1),
    Conv("MobileNet-V2", 384, 384, 14, 3, 1, 1, 384),
    Conv("MobileNet-V2", 960, 320, 7, 1),
    Conv("ShuffleNet", 24, 112, 56, 1),
    Conv("ShuffleNet", 272, 68, 28, 1, 1, 0, 4),
    Conv("ShuffleNet", 68, 272, 28, 1, 1, 0, 4),
    Conv("ShuffleNet", 136, 136, 14, 3, 1, 1, 136),
    Conv("ShuffleNet-V2", 58, 58, 28, 1),
    Conv("Inception-v2", 64, 192, 56, 3, 1, 1),
    Conv("DenseNet-121", 128, 32, 28, 3, 1, 1),
)

# (m, k, n): a BERT of 768 wide over 256 tokens, one token, eight, and squares.
PRODUCTS = (
    (256, 768, 768),
    (256, 768, 3072),
    (256, 3072, 768),
    (1, 768, 3072),
    (8, 768, 3072),
    (128, 128, 128),
    (1024, 1024, 1024),
    (2048, 2048, 2048),
)


def rows() -> list[BenchRow]:
    """All rows of this module."""
    return [
        BenchRow(**row)
        for threads in (1, 2)
        for row in json.loads(_measured_apart("--json", "--threads", str(threads)))
    ]


def _measured_apart(*words: str) -> str:
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.bench.kernels", *words]
    made = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return made.stdout


def measured(threads: int, level: str | None = None, only: str = "") -> list[BenchRow]:
    """The rows, in this process."""
    made = _peak(level) if threads == 1 else []
    peak = made[0].value if made else 0.0
    for conv in CONVS:
        if only in str(conv):
            made += _conv_rows(conv, threads, peak, level)
    for product in PRODUCTS:
        if only in "product":
            made += _product_rows(product, threads, peak, level)
    return made


def _peak(level: str | None) -> list[BenchRow]:
    from device_agent.engine import _core

    kernel: Any = _core.kernel_peak
    rate = max(kernel(level=level) for _ in range(5))
    return [BenchRow(name="peak of a core, fp32", value=rate, unit="Gflop/s")]


def _conv_rows(conv: Conv, threads: int, peak: float, level: str | None) -> list[BenchRow]:
    x = _numbers((1, conv.in_channels, conv.size, conv.size))
    inner = conv.in_channels // conv.groups
    w = _numbers((conv.out_channels, inner, conv.kernel, conv.kernel))
    contenders = {
        name if unit == 0 else f"{name} {unit}": _ours(conv, x, w, name, unit, threads, level)
        for name, unit in conv.algorithms()
    }
    session = _conv_session(conv, w, threads)
    theirs = _seconds(partial(session.run, None, {"x": x}))
    *ours, peer = interleaved(ROUNDS, *contenders.values(), theirs)
    return _rows_of(
        str(conv), conv.flops(), dict(zip(contenders, ours, strict=True)), peer, threads, peak
    )


def _product_rows(
    product: tuple[int, int, int], threads: int, peak: float, level: str | None
) -> list[BenchRow]:
    from device_agent.engine import _core

    m, k, n = product
    a, b = _numbers((m, k)), _numbers((k, n))
    multiply: Any = _core.kernel_matmul
    kernel = partial(multiply, _tensor(a), _tensor(b), threads=threads, level=level)
    contenders = {"packed": _fastest(kernel)}
    if min(product) >= STRASSEN_MIN:
        contenders["strassen"] = _fastest(partial(kernel, algorithm="strassen"))
    session = _product_session(b, m, threads)
    theirs = _seconds(partial(session.run, None, {"x": a}))
    *ours, peer = interleaved(ROUNDS, *contenders.values(), theirs)
    seconds = dict(zip(contenders, ours, strict=True))
    name = f"product ({m}, {k}) @ ({k}, {n})"
    return _rows_of(name, 2 * m * k * n, seconds, peer, threads, peak)


def _rows_of(
    name: str, flops: int, ours: dict[str, float], peer: float, threads: int, peak: float
) -> list[BenchRow]:
    made = [
        BenchRow(name=f"{name}, {algorithm}, {threads} thr.", value=flops / s / 1e9, unit="Gflop/s")
        for algorithm, s in ours.items()
    ]
    best = min(ours.values())
    if peak:
        made.append(BenchRow(name=f"{name} / peak", value=flops / best / 1e9 / peak, unit="ratio"))
    against = f"onnxruntime, {threads} threads"
    made.append(ratio_to(against, f"{name} / onnxruntime", peer / best, TARGET))
    return made


def _ours(
    conv: Conv, x: Floats, w: Floats, name: str, unit: int, threads: int, level: str | None
) -> Callable[[], float]:
    from device_agent.engine import _core

    convolve: Any = _core.kernel_conv2d
    kernel = partial(
        convolve,
        _tensor(x),
        _tensor(w),
        None,
        strides=(conv.stride, conv.stride),
        pads=(conv.pad,) * 4,
        groups=conv.groups,
        algorithm=name,
        unit=max(unit, 1),
        activation="clip",
        high=3e38,
        threads=threads,
        level=level,
    )
    return _fastest(kernel)


def _fastest(kernel: Any) -> Callable[[], float]:
    """Seconds of the fastest of as many runs as fill a sample."""
    once = kernel(repeats=2)[1]
    repeats = max(2, round(SAMPLE_S / max(1e-7, once)))
    return lambda: kernel(repeats=repeats)[1]


def _seconds(call: Callable[[], object]) -> Callable[[], float]:
    """The same of a call from Python."""
    call()
    begin = time.perf_counter()
    call()
    repeats = max(2, round(SAMPLE_S / max(1e-7, time.perf_counter() - begin)))

    def measure() -> float:
        best = float("inf")
        for _ in range(repeats):
            begin = time.perf_counter()
            call()
            best = min(best, time.perf_counter() - begin)
        return best

    return measure


def _conv_session(conv: Conv, w: Floats, threads: int) -> Any:
    from onnx import helper

    node = helper.make_node(
        "Conv",
        ["x", "w"],
        ["c"],
        strides=[conv.stride] * 2,
        pads=[conv.pad] * 4,
        group=conv.groups,
    )
    shape = (1, conv.in_channels, conv.size, conv.size)
    return _session([node, helper.make_node("Relu", ["c"], ["y"])], shape, w, threads)


def _product_session(b: Floats, m: int, threads: int) -> Any:
    from onnx import helper

    return _session([helper.make_node("MatMul", ["x", "w"], ["y"])], (m, b.shape[0]), b, threads)


def _session(nodes: list[Any], shape: tuple[int, ...], w: Floats, threads: int) -> Any:
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(w, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _tensor(array: Floats) -> "_core.Tensor":
    from device_agent.engine import _core

    return _core.frombuffer(array, shape=array.shape)


def _numbers(shape: tuple[int, ...]) -> Floats:
    return np.random.default_rng(7).uniform(-1, 1, shape).astype(np.float32)


def main() -> None:
    """Prints this module's rows alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--level", default=None)
    parser.add_argument("--only", default="", help="shapes whose name has this in it")
    parser.add_argument("--json", action="store_true")
    words = parser.parse_args()
    made = measured(words.threads, words.level, words.only)
    show("kernels", made, as_json=words.json)


if __name__ == "__main__":
    main()
