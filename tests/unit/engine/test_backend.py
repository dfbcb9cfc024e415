"""The backend interface: who is chosen for a stage, what a plan's words say, and how much work they are."""

from collections.abc import Sequence

import numpy as np
import pytest

from cloud.compiler.compile import compile_onnx
from device_agent.engine import _core
from device_agent.engine.backend import NotHere, backend_of, register, registered
from device_agent.engine.format import encode_model
from device_agent.engine.model import CORE, Model
from device_agent.engine.plan.costs import typical
from device_agent.engine.plan.planned import Plan, PlanError
from device_agent.engine.plan.words import PlanRows, Space, read_plan, regions_of
from device_agent.engine.plan.work import core_seconds, work_of
from tests.helpers.arrays import tensor_of
from tests.helpers.graphs import node, onnx_model, two_layers

MACHINE = typical((16, 4, (0, 12, 12, 9, 7)), 190e9)


class CountingSession:
    def __init__(self, session: _core.Session, runs: list[str], name: str) -> None:
        self._session, self._runs, self._name = session, runs, name

    def run(self, inputs: Sequence[_core.Tensor], /) -> list[_core.Tensor]:
        self._runs.append(self._name)
        return self._session.run(inputs)


class Other:
    """A backend of atoms alone with a cost that the test sets; it runs them on the portable core."""

    target = None

    def __init__(self, name: str, seconds: float, *, lacks: str = "") -> None:
        self.name, self._seconds, self._lacks = name, seconds, lacks
        self.runs: list[str] = []

    def runner(self, file: _core.Tensor, threads: int) -> "Other":
        self._file, self._threads = file, threads
        return self

    def seconds(self, rows: PlanRows) -> float:
        return self._seconds * len(rows.body)

    def session(self, plan: Plan) -> CountingSession:
        if any(command.op == self._lacks for command in read_plan(plan.words).body):
            raise NotHere(f"{self.name} has no {self._lacks}")
        session = _core.session(plan.words, self._file, self._threads, "portable")
        return CountingSession(session, self.runs, self.name)


def run(*backends: str) -> list[float]:
    model = Model(_core.check_model(encode_model(two_layers())), backends=backends)
    x = tensor_of(np.ones((1, 3), np.float32))
    numbers = np.asarray(model.run(x)[1]).ravel()
    assert list(np.asarray(model.run(x)[1]).ravel()) == list(numbers)
    return [float(number) for number in numbers]


def test_the_cheapest_runs_a_stage() -> None:
    slow, fast = Other("slow", 1.0), Other("fast", 1e-12)
    register(slow)
    register(fast)
    assert {"slow", "fast"} <= set(registered())
    assert run(CORE, "slow", "fast") == run(CORE) == [0.0, 13.0]
    assert (slow.runs, fast.runs) == ([], ["fast", "fast"])
    assert run(CORE, "slow") == [0.0, 13.0]
    assert slow.runs == []
    assert run("slow") == [0.0, 13.0]
    assert slow.runs == ["slow", "slow"]


def test_what_one_lacks_runs_on_the_next() -> None:
    without = Other("without", 1e-12, lacks="softmax")
    register(without)
    assert run("without", CORE) == [0.0, 13.0]
    assert without.runs == []
    with pytest.raises(NotHere, match="without has no softmax"):
        run("without")
    register(Other("nor this", 1e-9, lacks="gemm"))
    with pytest.raises(NotHere, match=r"without has no softmax; nor this has no gemm"):
        run("without", "nor this")


def test_a_level_that_is_asked_for_is_the_cores() -> None:
    other = Other("other", 1e-12)
    register(other)
    model = Model(_core.check_model(encode_model(two_layers())), backends=["other"])
    model.run(tensor_of(np.ones((1, 3), np.float32)), level="portable")
    assert other.runs == []


def test_an_unknown_name_says_what_is_known() -> None:
    register(Other("here", 1.0))
    with pytest.raises(ValueError, match=r"no backend 'gone' is registered; known are: .*here"):
        backend_of("gone")
    with pytest.raises(ValueError, match="no backend 'gone'"):
        run("gone")


def plan_of(data: bytes, *arrays: np.ndarray) -> Plan:
    """The plan of atoms alone of a model's only stage."""
    register(Other("atoms", 1.0))
    model = Model(_core.check_model(compile_onnx(data)), backends=["atoms"])
    model.run([tensor_of(array) for array in arrays])
    (stage,) = model.plans()
    return stage.plan


def test_words_are_what_was_planned() -> None:
    nodes = [node("Transpose", "x", "turned", perm=[1, 0]), node("Relu", "turned", "y")]
    plan = plan_of(onnx_model(nodes, {"x": [2, 3]}, ["y"]), np.ones((2, 3), np.float32))
    rows = read_plan(plan.words)
    assert [command.op for command in rows.body] == ["raster", "relu"]
    assert len(rows.body) == plan.steps
    assert rows.arena_bytes == plan.arena_bytes
    (given,), (made,) = rows.inputs, rows.outputs
    assert (rows.tensors[given].shape, rows.tensors[made].shape) == ((2, 3), (3, 2))
    assert rows.tensors[made].space is Space.ARENA
    (region,) = regions_of(rows.body[0])
    places = {
        region.start + i * region.strides[0] + j * region.strides[1] + k * region.strides[2]: (
            region.source_start
            + i * region.source_strides[0]
            + j * region.source_strides[1]
            + k * region.source_strides[2]
        )
        for i in range(region.sizes[0])
        for j in range(region.sizes[1])
        for k in range(region.sizes[2])
    }
    assert [places[i] for i in range(6)] == [0, 3, 1, 4, 2, 5]


def test_other_words_are_refused() -> None:
    plan = plan_of(onnx_model([node("Relu", "x", "y")], {"x": [2]}, ["y"]), np.ones(2, np.float32))
    for words in (b"", plan.words[:-8], plan.words[8:], bytes(len(plan.words))):
        with pytest.raises(PlanError, match="another version or cut short"):
            read_plan(words)


def test_kernels_that_only_the_core_has_are_named() -> None:
    w = np.ones((64, 64), np.float32)
    data = onnx_model([node("MatMul", "x w", "y")], {"x": [64, 64]}, ["y"], {"w": w})
    model = Model(_core.check_model(compile_onnx(data)))
    model.run(tensor_of(w))
    (stage,) = model.plans()
    with pytest.raises(PlanError, match=r"kernel 20\d, which only the core has"):
        read_plan(stage.plan.words)


def test_work_is_counted() -> None:
    x, w = np.ones((1, 3, 8, 8), np.float32), np.ones((4, 3, 3, 3), np.float32)
    nodes = [node("Conv", "x w", "c", pads=[1] * 4), node("Exp", "c", "y")]
    rows = read_plan(plan_of(onnx_model(nodes, {"x": list(x.shape)}, ["y"], {"w": w}), x).words)
    (convolve, first), (exp, second) = work_of(rows)
    assert (convolve.op, exp.op) == ("convolution", "exp")
    assert first.flops == 2 * 4 * 64 * 27
    assert first.moved_bytes == 4 * (3 * 64 + 4 * 27 + 4 * 64)
    assert (second.flops, second.moved_bytes) == (4 * 64, 2 * 4 * 4 * 64)


def test_an_element_that_is_repeated_is_read_once() -> None:
    nodes = [node("Add", "x row", "y")]
    row = np.ones((1, 5), np.float32)
    data = onnx_model(nodes, {"x": [64, 5]}, ["y"], {"row": row})
    ((_, work),) = work_of(read_plan(plan_of(data, np.ones((64, 5), np.float32)).words))
    assert work.moved_bytes == 4 * (64 * 5 + 5 + 64 * 5)


@pytest.mark.parametrize("op", ["MatMul", "Gemm", "Conv", "Exp"])
def test_more_work_costs_more_on_the_core(op: str) -> None:
    def seconds(size: int) -> float:
        x = np.ones((1, 8, size, size) if op == "Conv" else (size, 32), np.float32)
        w = np.ones((8, 8, 3, 3) if op == "Conv" else (32, 48), np.float32)
        names = "x" if op == "Exp" else "x w"
        constants = {} if op == "Exp" else {"w": w}
        data = onnx_model([node(op, names, "y")], {"x": list(x.shape)}, ["y"], constants)
        return core_seconds(read_plan(plan_of(data, x).words), MACHINE, 1)

    assert 0 < seconds(16) < seconds(64) < seconds(128)
