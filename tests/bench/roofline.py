"""Where a run's time goes, against the peak of a core: every model of the zoo, one thread.

`python -m tests.bench.roofline [--only name]` prints a table for docs/performance/models.md.

Rules of this module:

- Operations are those of the graph's products and convolutions as they are defined, so that Winograd's and Strassen's
  savings show as more than they do. Times are the engine's own profile of a session, each step's fastest.
- A model with control flow is planned stage by stage; here its first stage is shown.
"""

import argparse
import os
from collections.abc import Mapping

import numpy as np

from cloud.compiler.compile import compile_onnx
from device_agent.engine import _core
from device_agent.engine.graph import Graph
from device_agent.engine.model import Tensors, parse_model
from device_agent.engine.ops import Dtype
from device_agent.engine.plan.planned import Stage
from device_agent.engine.plan.target import Target
from device_agent.engine.plan.words import read_plan
from device_agent.engine.plan.work import work_of
from device_agent.engine.planner import plan_part, target_of
from tests.bench.rows import BenchRow
from tests.bench.zoo import ZOO
from tests.helpers.arrays import tensor_of

ROUNDS = 25
PEAK_ROUNDS = 200_000
KINDS = {
    "convolve": "convolutions", "product": "products", "row_product": "products", "products": "products",
    "product_strassen": "products", "product_int8": "products", "attention": "products", "matmul": "products",
    "gemm": "products", "recurrent": "products", "to_blocked": "layouts", "to_plain": "layouts", "raster": "moves",
    "pool_picture": "pools", "pool": "pools",
}  # fmt: skip
COLUMNS = ("convolutions", "products", "layouts", "moves", "pools", "rest")


def rows() -> list[BenchRow]:
    """Each model's operations a second over the peak's."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    peak = peak_flops()
    return [
        BenchRow(name=f"{name}, of a core's peak", value=flops / seconds / peak, unit="ratio")
        for name in ZOO
        for flops, seconds, _ in [measured(name)]
    ]


def peak_flops() -> float:
    """Operations a second of one core, multiplying and adding only."""
    return 1e9 * max(_core.kernel_peak(rounds=PEAK_ROUNDS) for _ in range(5))


def measured(name: str) -> tuple[float, float, Mapping[str, float]]:
    """Operations of a run, its seconds, and the seconds of each kind of step."""
    data, feeds = ZOO[name]()
    file = _core.check_model(compile_onnx(data))
    model = parse_model(memoryview(file))
    given = model.checked({port: tensor_of(np.asarray(one)) for port, one in feeds[0].items()})
    level = _core.levels()[-1]
    atoms = _stage(model.graph, given, None)
    flops = sum(
        work.flops
        for command, work in work_of(read_plan(atoms.plan.words))
        if command.op in ("convolution", "matmul", "gemm")
    )
    stage = _stage(model.graph, given, target_of(level, 1))
    session = _core.session(stage.plan.words, file, 1, level)
    inputs = [given[port] for port in stage.inputs]
    steps = np.min([session.profile(inputs) for _ in range(ROUNDS)], axis=0) * 1e-9
    kinds = dict.fromkeys(COLUMNS, 0.0)
    commands = read_plan(stage.plan.words, kernels=True).body
    for command, seconds in zip(commands, steps, strict=True):
        kinds[KINDS.get(command.op, "rest")] += float(seconds)
    return flops, float(steps.sum()), kinds


def _stage(graph: Graph, given: Tensors, target: Target | None) -> Stage:
    specs = {name: (int(Dtype[t.dtype.upper()]), t.shape) for name, t in given.items()}

    def contents(name: str) -> bytes:
        return given[name].tobytes()

    return plan_part(graph, graph.constants, 0, specs, contents, target)


def table(only: str) -> str:
    """Markdown: operations, time, share of the peak, and of the time by kind."""
    peak = peak_flops()
    lines = [
        "| model | Gflop | ms | Gflop/s | of the peak | " + " | ".join(COLUMNS) + " |",
        "|---" * (5 + len(COLUMNS)) + "|",
    ]
    for name in ZOO:
        if only in name:
            flops, seconds, kinds = measured(name)
            shares = [f"{100 * kinds[kind] / seconds:.0f} %" for kind in COLUMNS]
            figures = [
                f"{flops / 1e9:.3g}",
                f"{seconds * 1e3:.3g}",
                f"{flops / seconds / 1e9:.0f}",
                f"{flops / seconds / peak:.2f}",
            ]
            lines.append("| " + " | ".join([name, *figures, *shares]) + " |")
    return "\n".join([*lines, "", f"Peak of a core: {peak / 1e9:.0f} Gflop/s."])


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    words = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    print(table(words.only))


if __name__ == "__main__":
    main()
