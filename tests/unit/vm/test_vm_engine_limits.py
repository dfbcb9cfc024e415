"""What a run's tensors may hold, and that its kernels stop when it is killed."""

import asyncio
from pathlib import Path

import pytest

from device_agent.engine.format import encode_model
from device_agent.engine.graph import Constant, Graph, Operator, Port
from device_agent.engine.ops import Dtype
from device_agent.vm.interface import VmLimits
from device_agent.vm.pool import InterpreterPool
from tests.helpers.tasks_in_vm import make_event, make_spec

MIB = 1024 * 1024
SMALL = VmLimits(wall_ms=20_000, engine_mib=8)
GREEDY = {
    "one tensor": "tensor.zeros(3_000_000)",
    "many tensors": "held.extend(tensor.zeros(1_000) for _ in range(10_000))",
    "kept between runs": "held.append(tensor.zeros(300_000))",
    "caught": "while True: catching()",
    "what a sort takes beside": "tensor.argsort(line)",
    "what a transform takes beside": "signal.fft(line)",
    "what a picture takes beside": "image.resize(dot, 200_000, 1)",
}
GREEDY_TASK = """
    from shoal_task import image, signal, tensor
    held = []
    line, dot = tensor.zeros(320_000), tensor.zeros((1, 1, 1))
    def catching():
        try: held.append(tensor.zeros(100_000))
        except BaseException: pass
    def on_event(event):
        if event.payload == b"good": return
        {body}
"""


def greedy(name: str) -> str:
    return GREEDY_TASK.format(body=GREEDY[name])


@pytest.mark.parametrize("name", GREEDY)
async def test_tensors_past_engine_mib_end_the_run_by_name(
    pool: InterpreterPool, name: str
) -> None:
    spec = make_spec(greedy(name), limits=SMALL)
    assert (await pool.run(spec, make_event(b"good"))).outcome == "ok"
    for _ in range(8):
        result = await pool.run(spec, make_event())
        if result.outcome != "ok":
            break
    assert result.outcome == "ENGINE_MEMORY_LIMIT", result
    assert "8 MiB" in result.message
    assert 0 < result.engine_bytes <= 8 * MIB
    assert pool.stats().vms == 0
    assert (await pool.run(spec, make_event(b"good"))).outcome == "ok"


async def test_tensors_that_are_dropped_are_given_back(pool: InterpreterPool) -> None:
    source = """
        from shoal_task import tensor
        def on_event(event):
            for _ in range(200): tensor.zeros(500_000) + 1.0
    """
    result = await pool.run(make_spec(source, limits=SMALL), make_event())
    assert result.outcome == "ok", result
    assert 4_000_000 <= result.engine_bytes < 5_000_000


async def test_tensors_are_not_the_vms_python_memory(pool: InterpreterPool) -> None:
    source = """
        from shoal_task import tensor
        held = [tensor.zeros(250_000) for _ in range(40)]
        def on_event(event): pass
    """
    limits = VmLimits(wall_ms=20_000, memory_mib=24, engine_mib=64)
    result = await pool.run(make_spec(source, limits=limits), make_event())
    assert result.outcome == "ok", result
    assert result.engine_bytes >= 40_000_000
    assert result.memory_bytes < 24 * MIB


async def test_a_neighbour_keeps_its_tensors(pool: InterpreterPool) -> None:
    neighbour = make_spec(
        """
        from shoal_task import emit, tensor
        held = tensor.ones(1_000_000)
        def on_event(event): emit("out", str(tensor.sum(held).item()).encode())
        """,
        limits=SMALL,
    )
    await pool.run(neighbour, make_event())
    spec = make_spec(greedy("caught"), limits=SMALL)
    results = await asyncio.gather(
        pool.run(spec, make_event()), *[pool.run(neighbour, make_event()) for _ in range(20)]
    )
    assert results[0].outcome == "ENGINE_MEMORY_LIMIT"
    assert {result.outcome for result in results[1:]} == {"ok"}
    assert {result.emits[0].payload for result in results[1:]} == {b"1000000.0"}


async def test_weights_that_all_vms_share_are_charged_to_none(
    pool: InterpreterPool, tmp_path: Path
) -> None:
    side = 2_000
    weights = Constant(dtype=Dtype.FLOAT32, shape=(side, side), data=bytes(4 * side * side))
    graph = Graph(
        inputs=(Port(name="x", dtype=Dtype.FLOAT32, shape=(1, side)),),
        outputs=(Port(name="y"),),
        operators=(Operator(op="mat_mul", inputs=("x", "w"), outputs=("y",)),),
        constants={"w": weights},
    )
    path = tmp_path / "wide.shoalmodel"
    path.write_bytes(encode_model(graph))
    source = f"""
        from shoal_task import model, tensor
        wide = model.load("wide.shoalmodel")
        def on_event(event): wide.run(tensor.zeros((1, {side})))
    """
    for key in ("first", "second"):
        spec = make_spec(source, key=key, limits=SMALL, resources={"wide.shoalmodel": str(path)})
        result = await pool.run(spec, make_event())
        assert result.outcome == "ok", result
        assert 0 < result.engine_bytes < MIB


# Each takes far longer than a kill may, in one call.
KERNELS = {
    "matmul": ("a = tensor.ones((4_000, 4_000))", "a @ a"),
    "matmul of few rows": ("a, b = tensor.ones((60, 8_000)), tensor.ones((8_000, 16_000))", "a @ b"),
    "matmul of many": ("a = tensor.ones((20_000, 60, 60))", "a @ a"),
    "elementwise": ("a = tensor.ones(60_000_000)", "a + a"),
    "power": ("a = tensor.ones(20_000_000)", "a ** 2.5"),
    "sine": ("a = tensor.ones(30_000_000)", "tensor.sin(a)"),
    "sigmoid": ("a = tensor.ones(60_000_000)", "tensor.sigmoid(a)"),
    "comparison": ("a = tensor.ones(60_000_000)", "a < a"),
    "cast": ("a = tensor.ones(60_000_000)", "a.astype('int64')"),
    "transpose": ("a = tensor.ones((7_000, 7_000))", "a.transpose().reshape(-1)"),
    "concat": ("a = tensor.ones(40_000_000)", "tensor.concat([a, a, a])"),
    "reduce": ("a = tensor.ones((7_000, 7_000))", "tensor.sum(a, 0)"),
    "product": ("a = tensor.ones(60_000_000)", "tensor.prod(a)"),
    "softmax": ("a = tensor.ones(60_000_000)", "tensor.softmax(a)"),
    "argmax": ("a = tensor.ones(100_000_000)", "tensor.argmax(a)"),
    "running sum": ("a = tensor.ones(40_000_000)", "tensor.cumulative_sum(a)"),
    "sort": ("a = tensor.ones(20_000_000)", "tensor.argsort(a)"),
    "take": (
        "a, i = tensor.ones((1_000, 60)), tensor.full(1_000_000, 7, 'int64')", "tensor.take(a, i)",
    ),
    "fft": ("a = tensor.ones(2_097_152)", "signal.fft(a)"),
    "fft of a prime length": ("a = tensor.ones(1_299_709)", "signal.fft(a)"),
    "resize": ("a = tensor.ones((2_000, 2_000, 3))", "image.resize(a, 4_000, 4_000)"),
    "filling": ("", "tensor.zeros(100_000_000)"),
    "lists": ("a = tensor.ones(400_000)", "while True: tensor.tensor(a.tolist())"),
}  # fmt: skip
KERNEL_TASK = """
from shoal_task import image, signal, tensor
{before}
def on_event(event):
    if event.payload: return
    while True: {body}
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS)
async def test_a_kernel_stops_when_its_run_is_killed(pool: InterpreterPool, name: str) -> None:
    before, body = KERNELS[name]
    source = KERNEL_TASK.format(before=before, body=body.removeprefix("while True: "))
    limits = VmLimits(wall_ms=40, engine_mib=1_024, memory_mib=256)
    spec = make_spec(source, limits=limits)
    good = await pool.run(spec, make_event(b"good"))
    assert good.outcome == "ok", good
    result = await pool.run(spec, make_event())
    assert result.outcome == "WALL_LIMIT", result
    assert "quarantined" not in result.message, result
    assert pool.stats().vms == 0
    assert pool.stats().quarantined == 0
