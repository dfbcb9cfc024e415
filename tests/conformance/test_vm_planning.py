"""Models of tasks are planned by a VM of the host, on both kinds of VM: off the task's clock, once for all who ask."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from cloud.compiler.compile import compile_onnx
from device_agent.engine import _core
from device_agent.engine.calibrate import save_costs
from device_agent.engine.machine import machine_of, set_machine
from device_agent.vm import process
from device_agent.vm.interface import VmLimits, VmSpec
from device_agent.vm.pool import InterpreterPool, ProcessPool
from device_agent.vm.settings import VmSettings
from tests.helpers.conditions import until
from tests.helpers.graphs import node, onnx_model
from tests.helpers.tasks_in_vm import make_event, make_spec

pytestmark = pytest.mark.slow
process.install()
PATIENT = VmLimits(wall_ms=20_000, memory_mib=128)
NODES = 4_000
type AnyPool = InterpreterPool | ProcessPool


@pytest.fixture(params=[InterpreterPool, ProcessPool], ids=["interpreter", "process"])
async def pool(request: pytest.FixtureRequest) -> AsyncIterator[AnyPool]:
    made: AnyPool = request.param(VmSettings(vms_max=4))
    yield made
    await made.close()


def compiled(nodes: list[onnx.NodeProto], folder: Path, *ports: str) -> str:
    """A model from float vectors "x" (and others) of any length to "y"."""
    given = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", *ports)
    ]
    made = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])]
    graph = helper.make_graph(nodes, "graph", given, made)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "m.shoalmodel"
    path.write_bytes(compile_onnx(model.SerializeToString()))
    return str(path)


def chain(folder: Path, count: int) -> str:
    """y = x + count, one at a time."""
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    nodes = [helper.make_node("Constant", [], ["one"], value=one)]
    names = ["x", *(f"a{i}" for i in range(1, count)), "y"]
    for i in range(count):
        nodes.append(helper.make_node("Add", [names[i], "one"], [names[i + 1]]))
    return compiled(nodes, folder)


def spec_of(source: str, path: str, limits: VmLimits = PATIENT, key: str = "k") -> VmSpec:
    return make_spec(source, key=key, resources={"m.shoalmodel": path}, limits=limits)


RUN = """
    from shoal_task import emit, model, tensor
    held = model.load("m.shoalmodel")
    def on_event(event):
        made = held.run(tensor.full((len(event.payload),), 1.0))[0]
        emit("out", str(sum(made.tolist())).encode())
"""


async def test_what_planning_takes_is_not_the_tasks_time(pool: AnyPool, tmp_path: Path) -> None:
    spec = spec_of(RUN, chain(tmp_path, NODES), VmLimits(wall_ms=150, memory_mib=128))
    began = time.monotonic()
    result = await pool.run(spec, make_event(b"abc"))
    took_us = (time.monotonic() - began) * 1e6
    assert (result.outcome, result.message) == ("ok", "")
    assert result.emits[0].payload == str(3.0 * (1 + NODES)).encode()
    assert result.wall_us < 150_000 < took_us, "its VM, its imports and 4,000 operators take longer"


async def test_a_task_still_pays_for_its_own_time_after_a_plan(
    pool: AnyPool, tmp_path: Path
) -> None:
    source = RUN + "        while True: pass\n"
    spec = spec_of(source, chain(tmp_path, 3), VmLimits(wall_ms=200, memory_mib=128))
    result = await pool.run(spec, make_event(b"abc"))
    assert result.outcome == "WALL_LIMIT"
    assert 190_000 < result.wall_us < 1_000_000


async def test_vms_that_ask_the_same_share_a_plan(pool: AnyPool, tmp_path: Path) -> None:
    path = chain(tmp_path, 20)
    specs = [spec_of(RUN, path, key=f"k{i}") for i in range(3)]
    results = await asyncio.gather(*(pool.run(spec, make_event(b"ab")) for spec in specs))
    assert [result.emits[0].payload for result in results] == [b"42.0"] * 3
    assert len(pool._planner._kept) == 1
    again = await pool.run(specs[0], make_event(b"abc"))
    assert again.emits[0].payload == b"63.0"
    assert len(pool._planner._kept) == 2, "another shape is another plan"


async def test_a_model_can_run_while_the_task_loads(pool: AnyPool, tmp_path: Path) -> None:
    source = """
        from shoal_task import emit, model, tensor
        made = model.load("m.shoalmodel").run(tensor.full((2,), 1.0))[0].tolist()
        def on_event(event): emit("out", str(made).encode())
    """
    result = await pool.run(spec_of(source, chain(tmp_path, 5)), make_event())
    assert (result.outcome, result.emits[0].payload) == ("ok", b"[6.0, 6.0]")


async def test_parts_of_a_model_are_planned_where_they_run(pool: AnyPool, tmp_path: Path) -> None:
    def branch(name: str, op: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"])
        return helper.make_graph([helper.make_node(op, ["x"], [name])], name, [], [out])

    nodes = [
        helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        helper.make_node("Cast", ["s"], ["c"], to=TensorProto.BOOL),
        helper.make_node(
            "If", ["c"], ["y"], then_branch=branch("a", "Neg"), else_branch=branch("b", "Exp")
        ),
    ]
    source = """
        from shoal_task import emit, model, tensor
        held = model.load("m.shoalmodel")
        def on_event(event):
            made = held.run(tensor.tensor([float(byte) for byte in event.payload]))[0]
            emit("out", str(made.tolist()).encode())
    """
    spec = spec_of(source, compiled(nodes, tmp_path))
    for payload, want in ((b"\1\2", b"[-1.0, -2.0]"), (b"\0\0", b"[1.0, 1.0]")):
        assert (await pool.run(spec, make_event(payload))).emits[0].payload == want


async def test_numbers_that_a_shape_hangs_on_are_asked_for(pool: AnyPool, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["k"], ["sizes"], to=TensorProto.INT64),
        helper.make_node("Expand", ["x", "sizes"], ["y"]),
    ]
    source = """
        from shoal_task import emit, model, tensor
        held = model.load("m.shoalmodel")
        def on_event(event):
            sizes = tensor.tensor([float(byte) for byte in event.payload])
            emit("out", str(held.run({"x": tensor.full((1,), 2.0), "k": sizes})[0].shape).encode())
    """
    spec = spec_of(source, compiled(nodes, tmp_path, "k"))
    for payload, want in ((b"\3", b"(3,)"), (b"\2\4", b"(2, 4)")):
        assert (await pool.run(spec, make_event(payload))).emits[0].payload == want


async def test_what_does_not_fit_is_told_to_the_task(pool: AnyPool, tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["x", "k"], ["y"])]
    source = """
        from shoal_task import model, tensor
        held = model.load("m.shoalmodel")
        def on_event(event): held.run([tensor.zeros(2), tensor.zeros(3)])
    """
    result = await pool.run(spec_of(source, compiled(nodes, tmp_path, "k")), make_event())
    assert result.outcome == "TASK_ERROR"
    assert "add that makes 'y'" in result.message


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("('/etc/passwd', b'[]')", "models of its own bundle only"),
        ("(resource_path('m.shoalmodel'), b'no request')", "planning ended with TASK_ERROR"),
        ("(resource_path('m.shoalmodel'), b'[' * 100_000)", "planning ended with TASK_ERROR"),
    ],
)
async def test_nonsense_is_refused_and_harms_nobody(
    pool: AnyPool, tmp_path: Path, asked: str, said: str
) -> None:
    source = f"""
        import _shoal
        from shoal_task.border import resource_path
        def on_event(event): _shoal.plan(*{asked})
    """
    path = chain(tmp_path, 2)
    result = await pool.run(spec_of(source, path, key="bad"), make_event())
    assert result.outcome == "TASK_ERROR"
    assert said in result.message
    assert (await pool.run(spec_of(RUN, path), make_event(b"a"))).emits[0].payload == b"3.0"


async def test_a_planner_past_its_limit_is_replaced(tmp_path: Path) -> None:
    hurried = InterpreterPool(VmSettings(plan_ms=1))
    path = chain(tmp_path, NODES)
    for _ in range(2):
        result = await hurried.run(spec_of(RUN, path), make_event(b"a"))
        assert result.outcome == "TASK_ERROR"
        assert "planning ended with WALL_LIMIT" in result.message
    await hurried.close()


async def test_a_run_that_is_cancelled_does_not_wait_for_its_plan(
    pool: AnyPool, tmp_path: Path
) -> None:
    spec = spec_of(RUN, chain(tmp_path, NODES))
    running = asyncio.create_task(pool.run(spec, make_event(b"a")))
    await until(lambda: pool._planner._vm is not None, 10)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    other = await pool.run(spec_of(RUN, chain(tmp_path, 2), key="other"), make_event(b"a"))
    assert other.emits[0].payload == b"3.0"


async def test_a_task_cannot_set_what_kernels_cost(pool: AnyPool) -> None:
    """All tasks of the process are planned by it."""
    source = """
        from device_agent.engine import _core
        def on_event(event): _core.set_costs(_core.levels()[-1], 1.0, 1.0, 1.0, 1.0)
    """
    result = await pool.run(make_spec(source), make_event())
    assert result.outcome == "TASK_ERROR"
    assert "a task does not set them" in result.message


async def test_the_first_plan_brings_the_costs_of_the_machine(tmp_path: Path) -> None:
    level = _core.levels()[-1]
    before, costs = machine_of(level), tmp_path / "costs.json"
    save_costs(costs, {level: replace(before, call_s=3e-8)})
    pool = InterpreterPool(costs=costs)
    await pool.run(make_spec("def on_event(event): pass"), make_event())
    assert machine_of(level) == before, "no model, no costs"
    await pool.run(spec_of(RUN, chain(tmp_path, 2)), make_event(b"a"))
    await until(lambda: machine_of(level).call_s == 3e-8, 10)
    await pool.close()
    set_machine(level, before)


LEARN = """
    from shoal_task import emit, model, tensor, train
    held = model.load("m.shoalmodel")
    def on_event(event):
        trainer = train.Trainer(held, loss=train.MeanSquaredError(), optimizer={optimizer})
        x, y = tensor.full((64, 32), 0.5), tensor.full((64, 8), 1.0)
        losses = [trainer.step(x, y) for _ in range(3)]
        made = model.parse(trainer.to_bytes()).run(x)[0]
        emit("out", f"{{losses[0] > losses[1] > losses[2]}} {{made.shape}}".encode())
"""


def learner(folder: Path) -> str:
    """y = relu(x w) v, 32 inputs, 8 outputs."""
    random = np.random.default_rng(4)
    held = {
        name: random.normal(0, 0.2, shape).astype(np.float32)
        for name, shape in (("w", (32, 16)), ("v", (16, 8)))
    }
    nodes = [node("MatMul", "x w", "a"), node("Relu", "a", "b"), node("MatMul", "b v", "y")]
    path = folder / "m.shoalmodel"
    path.write_bytes(compile_onnx(onnx_model(nodes, {"x": ("n", 32)}, ["y"], held)))
    return str(path)


@pytest.mark.parametrize(
    "optimizer", ["train.Sgd(rate=0.1, momentum=0.9)", "train.Adam(rate=0.01)"]
)
async def test_steps_of_training_and_models_from_bytes_are_planned_elsewhere(
    pool: AnyPool, tmp_path: Path, optimizer: str
) -> None:
    spec = spec_of(LEARN.format(optimizer=optimizer), learner(tmp_path))
    result = await pool.run(spec, make_event())
    assert (result.outcome, result.message) == ("ok", "")
    assert result.emits[0].payload == b"True (64, 8)"
    paths = sorted(path for path, *_ in pool._planner._kept)
    assert paths == ["", spec.resources["m.shoalmodel"]], "the trained model; the step"


async def test_a_loss_of_the_tasks_own_is_planned_where_it_is(
    pool: AnyPool, tmp_path: Path
) -> None:
    """Nobody else has its code."""
    own = """
    from shoal_task import train
    class Own(train.MeanSquaredError): pass
    """
    source = own + LEARN.replace("train.MeanSquaredError()", "Own()").format(
        optimizer="train.Sgd(rate=0.1)"
    )
    result = await pool.run(spec_of(source, learner(tmp_path)), make_event())
    assert (result.outcome, result.message) == ("ok", "")
    assert [path for path, *_ in pool._planner._kept] == [""], "the trained model alone"


async def test_bytes_that_are_no_model_are_refused_before_they_are_sent(
    pool: AnyPool, tmp_path: Path
) -> None:
    source = """
        from shoal_task import emit, model
        def on_event(event):
            try: model.parse(b"junk")
            except ValueError as error: emit("out", str(error).encode())
    """
    result = await pool.run(spec_of(source, learner(tmp_path)), make_event())
    assert result.outcome == "ok"
    assert result.emits[0].payload
    assert not pool._planner._kept
