"""A model runs in a VM as it does outside, planned in another; and planning stays within its budget."""

import pytest

from cloud.compiler.compile import compile_onnx
from tests.helpers.vm_script import run_vm_script
from tests.helpers.walle_models import MODELS, bert

BUDGET_MS = 150
FEEDS = {
    "resnet50": "tensor.zeros((1, 3, 224, 224))",
    "bert": "[tensor.zeros((1, 256), 'int64'), tensor.full((1, 256), 1, 'int64')]",
    "small": "[tensor.zeros((2, 12), 'int64'), tensor.full((2, 12), 1, 'int64')]",
}


def planned_in_a_vm(data: bytes, feeds: str, folder: pytest.TempPathFactory) -> tuple[float, str]:
    """Milliseconds of the quickest of five plans that a VM asks for, and the shape of what the model makes."""
    path = folder.mktemp("model") / "m.shoalmodel"
    path.write_bytes(compile_onnx(data))
    done = run_vm_script(
        f"""
        source = '''
            import time
            from dataclasses import replace
            from device_agent.engine.asking import Request
            from shoal_task import emit, model, tensor
            from shoal_task.border import planner_of, resource_path
            def on_event(event):
                path = resource_path("m.shoalmodel")
                held, x = model.load("m.shoalmodel"), {feeds}
                made = held.run(x)[0]
                codes = {{"float32": 1, "int64": 3}}
                specs = [(n, codes[t.dtype], t.shape) for n, t in held.checked(x).items()]
                core, ask = held._main(None)._runners[0], planner_of(path)
                request = Request(address=(), at=0, level=core.level, threads=1, trials=0, specs=specs)
                best = 1e9
                for turn in range(5):
                    start = time.perf_counter()
                    answer = ask(replace(request, contents={{"turn": bytes([turn])}}).to_bytes())
                    best = min(best, time.perf_counter() - start)
                    assert answer.startswith(b'["stage"'), answer[:100]
                emit("out", f"{{1e3 * best}} {{made.shape}}".encode())
        '''
        async def main():
            pool = InterpreterPool(VmSettings(vms_max=2, runs_parallel_max=1))
            limits = VmLimits(wall_ms=60_000, memory_mib=256, engine_mib=256)
            spec = make_spec(source, key="k", resources={{"m.shoalmodel": {str(path)!r}}}, limits=limits)
            result = await pool.run(spec, make_event(b""))
            assert result.outcome == "ok", result
            print(result.emits[0].payload.decode())
            await pool.close()
        asyncio.run(main())
        """,
        timeout_s=120,
    )
    assert done.returncode == 0, done.stderr
    took, _, shape = done.stdout.strip().partition(" ")
    return float(took), shape


def test_a_small_encoder_is_planned_and_runs_in_a_vm(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    data = bert(layers=1, width=64, heads=4, tokens=12)
    _, shape = planned_in_a_vm(data, FEEDS["small"], tmp_path_factory)
    assert shape == "(2, 12, 2)"


@pytest.mark.slow  # building and compiling them takes seconds
@pytest.mark.parametrize("name", ["resnet50", "bert"])
def test_planning_in_a_vm_keeps_to_its_budget(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    took, _ = planned_in_a_vm(MODELS[name](), FEEDS[name], tmp_path_factory)
    assert took < BUDGET_MS
